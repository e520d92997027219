"""Where a merged model comes from: names of its sources and the licences that their cards state."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from globa_tui import safe_yaml
from globa_tui.diagnostics import ProgramError, printable
from store.checkpoints import Checkpoint
from store.checkpoints.files import inside, read_small
from store.errors import StoreError

_LIMIT = 1_000_000
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
"""A licence as the Hub writes it: apache-2.0, llama3.1, other."""
_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


@dataclass(frozen=True)
class Source:
    """One model that went into a merge."""

    name: str
    """Hub id where it is known, else the last part of its path."""
    hub_id: str | None
    licence: str | None
    """Identifier that its card states; None when it states none that can be read."""
    licence_name: str | None
    """Name of a licence that has no identifier."""


def source_of(checkpoint: Checkpoint) -> Source:
    """What is known of a source, from its place and from the head of its ``README.md``; nothing of it is trusted."""
    front = _front_matter(checkpoint.folder)
    licence, name = front.get("license"), front.get("license_name")
    stated = licence if isinstance(licence, str) and _IDENTIFIER.fullmatch(licence.lower()) else None
    return replace(
        source_at(checkpoint.path),
        licence=stated.lower() if stated is not None else None,
        licence_name=printable(name)[:100] if isinstance(name, str) and name else None,
    )


def source_at(path: Path) -> Source:
    """What is known of a source that is not there, from its place alone."""
    hub_id = _hub_id(path)
    return Source(name=hub_id or path.name or "model", hub_id=hub_id, licence=None, licence_name=None)


def common_licence(sources: Sequence[Source]) -> str | None:
    """The licence that every source states; None where one differs or states none: then people must decide."""
    found = {(source.licence, source.licence_name) for source in sources}
    licence = sources[0].licence if len(found) == 1 else None
    return None if licence in ("other", "unknown") else licence


def code(text: object) -> str:
    """The text as a Markdown code span for a table: nothing in it is read as markup."""
    return "`" + printable(text).replace("`", "'").replace("|", "\\|") + "`"


def _front_matter(folder: Path) -> Mapping[str, object]:
    if not (folder / "README.md").is_file():
        return {}
    try:
        text = read_small(inside(folder, "README.md"), _LIMIT).decode("utf-8", "replace")
        match = _FRONT.match(text)
        return safe_yaml.load(match[1], "README.md") if match is not None else {}
    except (ProgramError, StoreError, ValueError, RecursionError):
        return {}


def _hub_id(path: Path) -> str | None:
    """The id of a model that lies in the Hub's cache: ``models--org--name/snapshots/<commit>``."""
    repository = path.parent.parent.name
    if path.parent.name != "snapshots" or not repository.startswith("models--"):
        return None
    name = repository.removeprefix("models--").replace("--", "/")
    return name if _HUB_ID.fullmatch(name) else None
