"""The whole files that `tests.trust.fuzz` starts from, and the folder that holds them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACE = "GLOBA_FUZZ_PLACE"


def place() -> Path:
    """Folder of models, a run and recipes, one of whose files is fuzzed."""
    return Path(os.environ[PLACE])


@contextmanager
def made() -> Iterator[None]:
    """Make that folder, for the block."""
    from tests.trust.kitchen import CONFIG, TOKENIZER, Kitchen
    from tests.trust.test_hostile import MERGEKIT, OURS
    from tests.trust.test_hostile_keymap import TEXT

    with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as folder:
        kitchen = Kitchen(Path(folder))
        (kitchen.tuned / "config.json").write_text(json.dumps(CONFIG))
        for model in (kitchen.tuned, kitchen.folder / "shards"):
            (model / "tokenizer.json").write_text(json.dumps(TOKENIZER))
            (model / "tokenizer_config.json").write_text(
                json.dumps({"added_tokens_decoder": {"5": {"content": "<s>"}}})
            )
        names = {"run": kitchen.run, "base": "base", "ft1": "ft1", "ft2": "ft2"}
        (kitchen.folder / "recipe.yaml").write_text(OURS.format(**names))
        (kitchen.folder / "mergekit.yaml").write_text(MERGEKIT.format(**names))
        (kitchen.folder / "config.toml").write_text(TEXT)
        lock = {"pid": 1, "pid_started": 1.0, "namespace": "", "host": "gpu07", "heartbeat": 1.0, "token": "t"}
        (kitchen.run / "lock").write_text(json.dumps(lock))
        (kitchen.run / "jobs" / "analyze.control").write_text("pause")
        os.environ[PLACE] = folder
        yield
