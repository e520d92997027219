"""YAML of strangers: plain values only, no aliases, no repeated keys, bounded size and depth."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from globa_tui.coefficients import RecipeError
from globa_tui.diagnostics import printable

MAX_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """The safe loader, without what makes a small file large and without silently dropped keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            msg = "aliases (*name) are not allowed"
            raise yaml.constructor.ConstructorError(None, None, msg, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                msg = "a key must be one word"
                raise yaml.constructor.ConstructorError(None, None, msg, key.start_mark)
            if key.value in seen:
                msg = f"the key {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, msg, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=True)


def load(text: str, where: str = "recipe") -> dict[str, Any]:
    """Read one YAML mapping whose keys are words; whatever is wrong is one `RecipeError` of one line."""
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).splitlines())
        if problem == "but found another document":
            problem = "a second merge begins here; give each one a file of its own, and merge them in turn"
        place = f", line {mark.line + 1}" if mark else ""
        msg = f"{where}{place}: {problem}"
        raise RecipeError(msg) from None
    except (ValueError, RecursionError, OverflowError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        msg = f"{where}: cannot be read as YAML: {problem}"
        raise RecipeError(msg) from None
    if not isinstance(document, dict):
        msg = f"{where}: a recipe is a mapping of words to values, this is {type(document).__name__}"
        raise RecipeError(msg)
    for key in document:
        if not isinstance(key, str):
            msg = f"{where}: the key {key!r} is not a word"
            raise RecipeError(msg)
    return document


def read(path: Path) -> str:
    """The text of a file, refused when it is too large or not UTF-8."""
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        msg = f"{path}: larger than {MAX_BYTES:,} bytes; a recipe is a short YAML file"
        raise RecipeError(msg)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path}: not UTF-8 text (byte {error.start}); a recipe is a short YAML file"
        raise RecipeError(msg) from None


def dump(values: dict[str, Any]) -> str:
    """Write a mapping in its own order, without aliases."""
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    # PyYAML writes marks that reorder or hide text as they are. They stand in double quotes, where our escapes are
    # YAML's too.
    return "\n".join(map(printable, text.split("\n")))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # Other styles write some separators as they are, and readers fold those into blanks.
        style = None if printable(text) == text else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)

# YAML 1.1, which PyYAML reads, takes 1e-3 for a word.
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
