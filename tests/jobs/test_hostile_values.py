"""What fuzzing found: each of these ended in an error that nobody foresaw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from store.checkpoints.adapter_config import read_adapter_config
from store.errors import CheckpointError
from tests.cli.models import write_family
from tests.cli.records import call


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return write_family(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
def test_a_weight_beyond_float32_is_said_to_be_too_large(family: tuple[str, ...], tmp_path: Path, method: str) -> None:
    found = call("merge", *family, "-o", str(tmp_path / "o"), "--method", method, "--param", "weight=1e308", "--quiet")
    assert found.code in (1, 2), found
    assert "too large" in found.err or "not finite" in found.err or "leave the range" in found.err, found.err
    assert "--debug" not in found.err


MANIFESTS: list[tuple[tuple[Any, ...], Any]] = [
    (("sources", 0, "path"), 7),
    (("sources", 1, "path"), None),
    (("sources", 0, "files"), None),
    (("sources", 0, "files"), [{}]),
    (("sources", 0, "files", 0, "size"), "many"),
    (("sources", 1, "files", 0, "header_sha256"), None),
    (("sources", 1, "files", 0), []),
    (("sources",), []),
]


@pytest.mark.parametrize(("place", "value"), MANIFESTS)
def test_a_manifest_with_other_sources(
    family: tuple[str, ...], tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    run = tmp_path / "r.globa"
    assert call("analyze", *family, "--store", str(run), "--quiet", "--include", "q_proj").code == 0
    manifest = json.loads((run / "run.json").read_text())
    holder: Any = manifest
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    (run / "run.json").write_text(json.dumps(manifest))
    for words in (["merge", str(run), "-o", str(tmp_path / "o"), "--quiet"], ["resume", str(run)], ["show", str(run)]):
        found = call(*words)
        assert found.code in (0, 4), found
        assert "--debug" not in found.err, found.err


@pytest.mark.parametrize("pattern", ["[[a]b", "a{99999999999}", "(?P<x>", "(a+)+b"])
def test_an_expression_of_an_adapter(tmp_path: Path, pattern: str) -> None:
    config = {"peft_type": "LORA", "r": 2, "alpha_pattern": {pattern: 4}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        read_adapter_config(tmp_path)  # a warning would be an error here
