"""What a command loads, seen from a process of its own: start-up time and the borders between the packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.records import make_run

HEAVY = {
    "torch",
    "matplotlib",
    "textual",
    "h5py",
    "transformers",
    "numpy",
    "rich",
    "scipy",
    "huggingface_hub",
    "safetensors",
}
COMMANDS = (
    *(
        "inspect",
        "open",
        "analyze",
        "show",
        "represent",
        "merge",
        "check",
        "evaluate",
        "compare",
        "suggest",
        "sweep",
        "status",
        "pause",
        "resume",
        "cancel",
        "pack",
        "doctor",
    ),
)

PROGRAM = """
import json, sys
from globa_tui.__main__ import main
for line in json.loads(sys.argv[1]):
    sys.argv = ["globa-tui", *line]
    main()
print("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(*lines: tuple[str, ...], program: str = PROGRAM) -> set[str]:
    """Top-level packages that are loaded after these command lines."""
    result = subprocess.run(
        [sys.executable, "-c", program, json.dumps(lines)],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return set(json.loads(result.stdout.strip().splitlines()[-1]))


def test_help_is_light() -> None:
    """`--help`, of the program and of every command, loads nothing that takes long to load."""
    lines = [("--help",), ("-h",), ("--version",), *((command, "--help") for command in COMMANDS)]
    assert not loaded_by(*lines) & HEAVY


def test_looking_at_a_run_is_light(tmp_path: Path) -> None:
    """Tables for a pipe come from a few lines of JSON: neither torch nor h5py nor Rich."""
    run = str(make_run(tmp_path))
    lines = [("status", run), ("show", run), ("show", run, "--json"), ("show", run, "--csv"), ("pause", run)]
    assert not loaded_by(*lines) & (HEAVY - {"numpy"})


@pytest.mark.parametrize("module", ["globa_tui.tui", "globa_tui.tui.app"])
def test_the_terminal_interface_never_loads_torch(module: str) -> None:
    program = f"import json, sys, globa_tui._claim as c; c.claim(); import {module}\n"
    program += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    loaded = loaded_by(program=program)
    assert not loaded & {"torch", "transformers"}


def test_inspect_refuses_before_it_loads_anything(tmp_path: Path) -> None:
    """Without a terminal there is nothing to wait for."""
    run = str(make_run(tmp_path))
    assert not loaded_by(("inspect", "a", "b", "c"), ("open", run)) & (HEAVY - {"numpy"})


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("store", {"textual", "typer", "rich", "globa_tui", "analysis", "transformers"}),
        ("analysis", {"textual", "typer", "rich", "globa_tui", "store", "h5py", "transformers", "safetensors"}),
    ],
)
def test_the_packages_know_neither_terminal_nor_each_other(package: str, forbidden: set[str]) -> None:
    program = (
        f"import json, sys, pkgutil, importlib, {package}\n"
        f"for found in pkgutil.walk_packages({package}.__path__, '{package}.'):\n"
        "    importlib.import_module(found.name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    assert not loaded_by(program=program) & forbidden
