"""Other people's `analysis` and `store` do not get in: every way to start us computes our number.

A folder or file of that name in the working folder, or on PYTHONPATH, is found before ours by Python itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from globa_tui.jobs.settings import AnalysisRequest
from tests.cli.models import write_family
from tests.cli.records import call

THEIRS = "def analyse_layer(*a, **k): raise SystemExit('theirs')\nclass LayerOptions: pass\n"


def _package(folder: Path) -> None:
    """Packages with our modules' names and a function of ours in them."""
    for name, modules in (("analysis", ("layer", "errors", "spectrum")), ("store", ("errors", "run", "checkpoints"))):
        (folder / name).mkdir()
        for module in ("__init__", *modules):
            (folder / name / f"{module}.py").write_text(THEIRS)


def _plain_folder(folder: Path) -> None:
    for name in ("analysis", "store"):
        (folder / name).mkdir()
        (folder / name / "results.csv").write_text("a,b\n")


def _module(folder: Path) -> None:
    for name in ("analysis", "store"):
        (folder / f"{name}.py").write_text(THEIRS)


SHADOWS = {"package": _package, "folder": _plain_folder, "module": _module}
STARTS = {
    "-m in that folder": [sys.executable, "-m", "globa_tui", "analyze"],
    "script with PYTHONPATH": [str(Path(sys.executable).with_name("globa-tui")), "analyze"],
    "job in that folder": [sys.executable, "-m", "globa_tui.jobs.runner", "analyze"],
}


def _first_layer(run: str) -> object:
    layer = json.loads(call("show", run, "--json").out)["layers"][0]
    return layer["status"], layer["patterns"], layer["orthogonality"]


def test_every_start_computes_our_number(tmp_path: Path) -> None:
    if not Path(STARTS["script with PYTHONPATH"][0]).exists():
        pytest.skip("globa-tui is not installed as a script beside this Python")
    family = write_family(tmp_path / "models")
    plain = str(tmp_path / "plain.globa")
    assert call("analyze", *family, "--store", plain, "--quiet").code == 0
    processes = {}
    for shadow, build in SHADOWS.items():
        (tmp_path / shadow).mkdir()
        build(tmp_path / shadow)
        for start, command in STARTS.items():
            if start.startswith("job") and shadow != "module":
                continue  # the same Python, the same way in
            run = str(tmp_path / f"{len(processes)}.globa")
            job = AnalysisRequest(family[0], family[1:], Path(run)).argv()
            words = job if start.startswith("job") else [*family, "--store", run, "--quiet"]
            outside = start.startswith("script")
            processes[shadow, start] = (
                run,
                subprocess.Popen(
                    [*command, *words],
                    cwd=tmp_path if outside else tmp_path / shadow,
                    env={**os.environ, "OMP_NUM_THREADS": "1"}
                    | ({"PYTHONPATH": str(tmp_path / shadow)} if outside else {}),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                ),
            )
    expected = _first_layer(plain)
    for way, (run, process) in processes.items():
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, (way, said)
        assert _first_layer(run) == pytest.approx(expected), way


def test_without_the_claim_theirs_would_run(tmp_path: Path) -> None:
    """The other direction: in that folder Python by itself finds theirs."""
    _module(tmp_path)
    code = "import sys; sys.path.insert(0, ''); import analysis; print(analysis.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).parent == tmp_path
