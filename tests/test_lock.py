"""The lock of CI fits what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / ".ci" / "lock.txt"
LINE = re.compile(r"([a-z0-9-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")


def locked() -> dict[str, str]:
    _, *lines = LOCK.read_text().splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    return {match[1]: match[2] for match in found if match}


def unfit(requirements: list[str]) -> list[str]:
    """Requirements that the locked version does not meet; what is not locked is installed by its range."""
    versions = locked()
    parsed = [Requirement(text) for text in requirements]
    named = [(one, versions.get(canonicalize_name(one.name))) for one in parsed]
    return [str(one) for one, version in named if version and not one.specifier.contains(version, prereleases=True)]


def test_every_line_is_one_file_and_its_hash() -> None:
    lines = LOCK.read_text().splitlines()
    assert lines[0].startswith("# cpython 3 ")
    assert len(locked()) == len(lines) - 1 > 50
    assert "torch" not in locked()


def test_the_lock_meets_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert unfit([*project["dependencies"], *project["optional-dependencies"]["dev"]]) == [], "run make lock"


@pytest.mark.parametrize("text", ["numpy<1", "Ruff==0.0.1"])
def test_what_does_not_fit_is_told(text: str) -> None:
    assert unfit([text]) == [str(Requirement(text))]
