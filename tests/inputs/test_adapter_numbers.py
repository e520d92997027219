"""Numbers in the config of an adapter that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from store.checkpoints import open_checkpoint
from store.errors import CheckpointError
from tests.inputs.adapters import adapter, factors


@pytest.mark.parametrize("key", ["r", "lora_alpha"])
@pytest.mark.parametrize("number", [10**400, float("inf"), float("nan"), True, None])
def test_what_is_no_finite_number_is_refused(key: str, number: object, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "ft", {"model.layers.0.self_attn.q_proj": factors(16, 16)})
    config = folder / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), key: number}))
    with pytest.raises(CheckpointError, match=rf"adapter_config.json: {key} is .*finite number"):
        open_checkpoint(str(folder))
