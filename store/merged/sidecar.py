"""The small files that make weights a model: config, tokenizer, chat template."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from store.checkpoints.files import inside, unreadable
from store.checkpoints.folder import is_alone
from store.checkpoints.model import Checkpoint

_MODEL_PATTERNS = (
    "config.json",
    "generation_config.json",
    "*preprocessor_config.json",
    "processor_config.json",
    "preprocessor.json",
    "image_processor_config.json",
    "video_processor_config.json",
    "modules.json",
    "sentence_bert_config.json",
)
_TOKENIZER_PATTERNS = (
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
    wanted = [name for name in names if _matches(name, _MODEL_PATTERNS + _TOKENIZER_PATTERNS)]
    return tuple(path for path in (inside(folder, name) for name in wanted) if path.is_file())


def is_tokenizer_file(path: Path) -> bool:
    """Whether a sidecar belongs to the tokenizer, with its chat template, and not to the model."""
    return _matches(path.name, _TOKENIZER_PATTERNS)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
