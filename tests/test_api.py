"""The names that are imported from ``globa_tui``, and the example of docs/python.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import globa_tui

ROOT = Path(__file__).parent.parent


def test_every_name_is_there_and_says_what_it_does() -> None:
    for name in globa_tui.__all__:
        found = getattr(globa_tui, name)
        assert name.startswith("__") or found.__doc__
    assert set(globa_tui.__all__) <= set(dir(globa_tui))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        globa_tui.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, globa_tui; print(sorted({'torch', 'numpy', 'store', 'h5py'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_the_example_of_the_docs_runs(tmp_path, monkeypatch, capsys) -> None:
    text = (ROOT / "docs" / "python.md").read_text()
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "docs/python.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "False 38"
    assert sum(line.startswith(("careful passed", "plain passed")) for line in lines) == 2
    assert (tmp_path / "careful" / "model.safetensors").exists()


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, capsys) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out == program.splitlines()[-1].removeprefix("# ") + "\n"
    assert (tmp_path / "plain" / "model.safetensors").exists()


@pytest.mark.parametrize("form", ["package", "module"])
def test_a_package_of_the_same_name_is_refused_not_used(form, tmp_path) -> None:
    if form == "package":
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "__init__.py").write_text("")
    else:
        (tmp_path / "analysis.py").write_text("")
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\nfrom globa_tui import open_run"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "globa_tui needs its own package" in done.stderr.splitlines()[-1]
