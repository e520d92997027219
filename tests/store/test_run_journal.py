"""Journals of a run: what was added is there, what was torn is not, and nothing else is read for one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from store import files
from store.errors import DiskFullError, RunDamagedError
from store.run import journal
from store.run.journal import append_journal, read_journal

ROWS: list[dict[str, Any]] = [{"name": "a", "share": 0.5}, {"name": "two\nlines\u2028", "list": [1, None]}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """In a folder that does not exist yet."""
    return tmp_path / "sweeps" / "one.jsonl"


def test_what_was_added_is_read_in_order(path: Path) -> None:
    assert read_journal(path) == []
    for row in ROWS:
        append_journal(path, row)
    assert read_journal(path) == ROWS
    assert path.read_bytes().count(b"\n") == 2


def test_a_torn_line_is_left_out_and_does_not_swallow_the_next(path: Path) -> None:
    append_journal(path, ROWS[0])
    with path.open("ab") as file:
        file.write(b'{"name": "torn')
    assert read_journal(path) == ROWS[:1]
    append_journal(path, ROWS[1])
    assert read_journal(path) == ROWS


@pytest.mark.parametrize("line", [b"[1]", b"7", b"{", b"\xff", b"[" * 100_000, b""])
def test_a_line_that_is_no_object_is_left_out(path: Path, line: bytes) -> None:
    append_journal(path, ROWS[0])
    with path.open("ab") as file:
        file.write(line + b"\n")
    append_journal(path, ROWS[1])
    assert read_journal(path) == ROWS


def test_a_full_disk_leaves_it_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_journal(path, ROWS[0])

    def full(fd: int, data: memoryview) -> int:
        os.write(fd, data[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "append_some", full)
    with pytest.raises(DiskFullError, match=r"one\.jsonl"):
        append_journal(path, ROWS[1])
    assert read_journal(path) == ROWS[:1]
    assert path.read_bytes().count(b"\n") == 1


def test_nothing_but_a_plain_file_of_sensible_size_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_journal(path, ROWS[0])
    assert read_journal(path / "below a file") == []
    link = path.with_name("link.jsonl")
    link.symlink_to(path)
    with pytest.raises(RunDamagedError, match=r"link\.jsonl: cannot read: not a plain file"):
        read_journal(link)
    monkeypatch.setattr(journal, "_LIMIT", 10)
    with pytest.raises(RunDamagedError, match="larger than 10 bytes"):
        read_journal(path)
