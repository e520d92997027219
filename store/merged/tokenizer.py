"""The tokenizer of a merged model that has tokens of several sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from store.checkpoints import Index
from store.checkpoints.files import inside
from store.checkpoints.json_text import read_object
from store.checkpoints.text import shown
from store.checkpoints.tokens import LIMIT, added_tokens
from store.errors import MismatchError


def require_union_tokens(index: Index) -> None:
    """Refuse a union that no tokenizer can express.

    An added token stands for itself. A token of the vocabulary proper comes with rules (merges, scores) that would
    change how every text is cut, so it cannot simply be added to another model's.

    Raises
    ------
    MismatchError
        Naming the first such token.
    """
    _added_entries(index)


def union_texts(index: Index) -> dict[str, str]:
    """Write the base's tokenizer files with the tokens that a union adds.

    Returns
    -------
    dict
        Text by file name; empty when the base has no ``tokenizer.json``.
    """
    entries = _added_entries(index)
    folder = index.base.folder
    texts: dict[str, str] = {}
    if not entries or not (folder / "tokenizer.json").is_file():
        return texts
    tokenizer = _read(index, "tokenizer.json")
    known = tokenizer.get("added_tokens")
    tokenizer["added_tokens"] = [*(known if isinstance(known, list) else []), *entries]
    texts["tokenizer.json"] = _text(tokenizer)
    if (folder / "tokenizer_config.json").is_file():
        config = _read(index, "tokenizer_config.json")
        decoder = config.get("added_tokens_decoder")
        if isinstance(decoder, dict):
            more = {str(entry["id"]): {key: entry[key] for key in entry if key != "id"} for entry in entries}
            texts["tokenizer_config.json"] = _text({**config, "added_tokens_decoder": {**decoder, **more}})
    if (folder / "added_tokens.json").is_file():
        numbers = {str(entry["content"]): entry["id"] for entry in entries}
        texts["added_tokens.json"] = _text({**_read(index, "added_tokens.json"), **numbers})
    return texts


def _added_entries(index: Index) -> list[dict[str, Any]]:
    """Entries for ``added_tokens``, as their owners have them, with the rows of the union."""
    vocabulary = index.vocabulary
    entries: list[dict[str, Any]] = []
    known: dict[int, Mapping[str, Mapping[str, object]]] = {}
    for token, (row, owner) in (vocabulary.added if vocabulary is not None else {}).items():
        if owner not in known:
            known[owner] = added_tokens(index.fine_tuned[owner])
        if token not in known[owner]:
            message = f"vocab union: {shown(repr(token))} belongs to the vocabulary proper of ft{owner + 1}, not to its"
            message += f" added tokens, and cannot join another tokenizer; choose --vocab base or ft{owner + 1}"
            raise MismatchError(message)
        entries.append({**known[owner][token], "id": row})
    return entries


def _read(index: Index, name: str) -> dict[str, object]:
    return read_object(inside(index.base.folder, name), "text", LIMIT, strict=False)


def _text(values: Mapping[str, object]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"
