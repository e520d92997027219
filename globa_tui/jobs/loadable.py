"""What transformers is not given: folders of strangers that fetch code, lead to another model, or never end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from globa_tui.diagnostics import printable
from store.checkpoints.files import inside
from store.checkpoints.folder import read_config
from store.errors import CheckpointError

MOST_BLOCKS = 4096
"""More of anything that a config counts is not tried: building it could take for ever."""


def require_loadable(folder: Path, *, trust_remote_code: bool = False) -> None:
    """Refuse a folder whose small files would make transformers do more than read it.

    Raises
    ------
    CheckpointError
        When one of its files is a link out of it; when ``config.json`` counts more layers than any model has, or names
        code of the Hub; when an ``adapter_config.json`` beside whole weights would load the model that it names.
    """
    config = read_config(folder)
    for path in folder.iterdir():
        inside(folder, path.name)
    if (folder / "adapter_config.json").exists():
        msg = f"{folder}: has whole weights and an adapter_config.json, which names another model; remove one of them"
        raise CheckpointError(msg)
    for count in counts(config):
        if count > MOST_BLOCKS:
            msg = f"{folder}: its config.json counts {count:,} layers or experts; no model has as many, fetch it again"
            raise CheckpointError(msg)
    for key, word in _implementations(config):
        if not trust_remote_code and not word.replace("_", "").isalnum():
            msg = f"{folder}: its config.json names code of the Hub ({key}: {printable(word)[:80]}); remove that line"
            raise CheckpointError(msg)


def counts(config: Mapping[str, object]) -> list[int]:
    """What a config counts: layers and experts, also of its parts."""
    found: list[int] = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            found += counts(value)
        elif type(value) is int and any(word in key for word in ("layer", "expert", "depth", "block")):
            found.append(value)
    return found


def _implementations(config: Mapping[str, object], under: str = "") -> Iterator[tuple[str, str]]:
    """Words such as ``sdpa`` that choose an implementation; one that names a repository is fetched and run."""
    for key, value in config.items():
        chooses = under or (key if "_implementation" in key else "")
        if isinstance(value, Mapping):
            yield from _implementations(value, chooses)
        elif chooses and isinstance(value, str):
            yield chooses, value
