"""What mergekit's YAML says of the tokenizer and the chat template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from globa_tui.coefficients import RecipeError

KEYS = frozenset({"tokenizer_source", "tokenizer", "chat_template"})


def tokenizer_of(values: Mapping[str, Any], base: str, fine_tuned: Sequence[str]) -> dict[str, Any]:
    """Whose tokens and whose tokenizer the result has, as fields of a recipe.

    Raises
    ------
    RecipeError
        Naming what has no counterpart.
    """
    given = values.get("tokenizer")
    if given is not None and (not isinstance(given, dict) or set(given) != {"source"}):
        msg = f"tokenizer: {given!r:.80}: only source is read here; tokens keep the rows of their owners"
        raise RecipeError(msg)
    if given is not None and "tokenizer_source" in values:
        msg = "tokenizer: is given beside tokenizer_source; keep one of them"
        raise RecipeError(msg)
    source = given["source"] if given is not None else values.get("tokenizer_source")
    if source in (None, "base", base):
        return {}
    if source == "union":
        return {"vocab": "union"}
    if not isinstance(source, str):
        msg = f"tokenizer_source: {source!r:.80} is not read here; 'base', 'union' or the name of a model is"
        raise RecipeError(msg)
    owner = f"ft{fine_tuned.index(source) + 1}" if source in fine_tuned else None
    return {"tokenizer_from": source, "vocab": owner}


def chat_template_of(value: Any, models: Sequence[str]) -> str | None:
    """The Jinja text of the template: as given, or with ``auto`` the one that most models have.

    Raises
    ------
    RecipeError
        When it is one of the templates that come with mergekit, by name.
    """
    if value is None:
        return None
    if value == "auto":
        counts = Counter(found for model in models if (found := _template(model)) is not None)
        return counts.most_common(1)[0][0] if counts else None
    if not isinstance(value, str) or not ("{{" in value or "{%" in value):
        msg = f"chat_template: {value!r:.80} is no Jinja text; give the text, or auto"
        raise RecipeError(msg)
    return value


def _template(model: str) -> str | None:
    from store.checkpoints import open_checkpoint
    from store.errors import StoreError
    from store.merged import read_chat_template

    try:
        return read_chat_template(open_checkpoint(model))
    except StoreError as error:
        msg = f"chat_template: auto needs the templates of all models: {error}"
        raise RecipeError(msg) from None
