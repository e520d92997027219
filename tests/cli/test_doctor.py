"""A report of a problem has all it needs, and nothing that is nobody's business."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from globa_tui.cli import doctor
from tests.cli.records import call


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking torch takes seconds; test_commands does it once."""
    monkeypatch.setattr(doctor, "_torch", lambda: {"devices": ["cpu"]})


def test_it_has_what_a_report_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    report = json.loads(call("doctor", str(tmp_path), "--json").out)
    assert {"globa-tui", "python", "torch", "h5py", "HDF5", "textual"} <= set(report["versions"])
    assert {"system", "processors", "memory"} <= set(report["machine"])
    assert report["environment"]["OMP_NUM_THREADS"] == "3"
    assert {"interface", "size", "TERM"} <= set(report["terminal"])
    assert "free in" in report["disk"]["runs"]
    text = call("doctor", str(tmp_path)).out
    assert "versions" in text.splitlines()
    assert "HDF5" in text


def test_it_shows_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hf_abcdefSECRET"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "SSH_CONNECTION"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("HOME", str(tmp_path / "secretive-user"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "secretive-user" / "hf"))
    for words in ([], ["--json"]):
        text = call("doctor", str(tmp_path / "secretive-user" / "runs"), *words).out
        assert secret not in text
        assert "secretive-user" not in text
        assert "~/runs" in text


def test_an_hdf5_that_cannot_be_loaded_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py.version", None)
    assert doctor._hdf5().startswith("cannot be loaded")


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_wait_asleep_unless_the_user_says_otherwise(given: str | None) -> None:
    script = "import globa_tui.__main__, os; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (given or "PASSIVE")
