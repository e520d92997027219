"""The chat template of a model: read, and put in another's place."""

from __future__ import annotations

import json
from collections.abc import Mapping

from store.checkpoints.files import inside
from store.checkpoints.json_text import read_object
from store.checkpoints.model import Checkpoint
from store.checkpoints.tokens import LIMIT

TEMPLATE_FILE = "chat_template.jinja"
_CONFIG = "tokenizer_config.json"


def read_chat_template(checkpoint: Checkpoint) -> str | None:
    """The Jinja text of the chat template, from its own file or from the tokenizer's config; None where there is none.

    Raises
    ------
    CheckpointError
        When a file cannot be read.
    """
    folder = checkpoint.folder
    if (folder / TEMPLATE_FILE).is_file():
        return inside(folder, TEMPLATE_FILE).read_text(encoding="utf-8")
    for name in ("chat_template.json", _CONFIG):
        if (folder / name).is_file():
            found = read_object(inside(folder, name), "text", LIMIT, strict=False).get("chat_template")
            if isinstance(found, str):
                return found
    return None


def template_texts(template: str, tokenizer: Checkpoint, written: Mapping[str, str]) -> dict[str, str]:
    """The files that give a model this template, and no other.

    Parameters
    ----------
    template : str
        Jinja text.
    tokenizer : Checkpoint
        Whose tokenizer goes with the model.
    written : mapping
        Texts that replace files of that tokenizer.
    """
    texts = {TEMPLATE_FILE: template}
    folder = tokenizer.folder
    if _CONFIG in written or (folder / _CONFIG).is_file():
        config = (
            json.loads(written[_CONFIG])
            if _CONFIG in written
            else read_object(inside(folder, _CONFIG), "text", LIMIT, strict=False)
        )
        if "chat_template" in config:
            kept = {key: value for key, value in config.items() if key != "chat_template"}
            texts[_CONFIG] = json.dumps(kept, ensure_ascii=False, indent=2) + "\n"
    return texts
