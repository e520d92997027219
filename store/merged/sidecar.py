"""The small files that make weights a model: config, tokenizer, chat template."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from store.checkpoints.files import inside, unreadable
from store.checkpoints.folder import is_alone
from store.checkpoints.model import Checkpoint

_PATTERNS = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer*.model",
    "*.tiktoken",
    "spiece.model",
    "sentencepiece*.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "*preprocessor_config.json",
    "processor_config.json",
)


def sidecar_files(checkpoint: Checkpoint) -> tuple[Path, ...]:
    """List the config, tokenizer and processor files beside a checkpoint's weights; never code.

    Returns
    -------
    tuple of Path
        Sorted by name. Empty for a lone file that shares its folder with other models.

    Raises
    ------
    CheckpointError
        When one of them is a link out of the folder.
    """
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    if folder is not checkpoint.path and not is_alone(checkpoint.path):
        return ()
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from error
    wanted = [name for name in names if any(fnmatchcase(name, pattern) for pattern in _PATTERNS)]
    return tuple(path for path in (inside(folder, name) for name in wanted) if path.is_file())
