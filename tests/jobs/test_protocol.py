"""Status and control files: whole or absent, and believed only as far as they can be checked."""

import json
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from globa_tui.jobs import protocol
from globa_tui.jobs.protocol import (
    COMMANDS,
    ENDED,
    KINDS,
    STATES,
    JobStatus,
    StatusWriter,
    clear_control,
    control_path,
    liveness,
    read_control,
    read_status,
    status_path,
    take_control,
    write_control,
    write_status,
)
from store import files
from store.errors import DiskFullError


def status(**values: Any) -> JobStatus:
    return JobStatus.of_this_process("analyze", "running", total=225, **values)


def full(*_args: object) -> int:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", STATES)
def test_a_status_comes_back(tmp_path: Path, kind: Any, state: Any) -> None:
    written = replace(
        status(done=3, failed=1, cost_total=1e9, cost_done=2.5, current="a/[b]\n", eta_seconds=12.5, output="/out"),
        kind=kind,
        state=state,
        message="all well",
    )
    write_status(tmp_path, written)
    assert read_status(tmp_path, kind) == written
    assert written.ended == (state in ENDED)
    assert [entry.name for entry in (tmp_path / "jobs").iterdir()] == [f"{kind}.json"]


def test_no_status_is_none(tmp_path: Path) -> None:
    assert read_status(tmp_path / "nothing", "analyze") is None
    write_status(tmp_path, status())
    assert read_status(tmp_path, "merge") is None


def raw(**changes: Any) -> bytes:
    values = {
        "kind": "analyze",
        "state": "running",
        "pid": 1,
        "pid_started": 1.0,
        "host": "h",
        "started": 1.0,
        "heartbeat": 1.0,
    }
    return json.dumps({**values, **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"\xff\xfe\x00",
        b"[" * 50_000,
        raw()[:-20],
        raw(kind="merge"),
        raw(kind="rm"),
        raw(kind=[]),
        raw(state="great"),
        raw(state=None),
        raw(pid="x"),
        raw(pid=None),
        raw(pid=math.inf),
        raw(heartbeat=math.nan),
        raw(heartbeat="soon"),
        raw(done=[]),
        raw(eta_seconds={}),
        b" " * 70_000 + raw(),
    ],
    ids=lambda content: repr(content[:30]),
)
def test_a_torn_or_hostile_status_is_none(tmp_path: Path, content: bytes) -> None:
    status_path(tmp_path, "analyze").parent.mkdir()
    status_path(tmp_path, "analyze").write_bytes(content)
    assert read_status(tmp_path, "analyze") is None


def test_keys_of_a_newer_version_are_left_out(tmp_path: Path) -> None:
    status_path(tmp_path, "analyze").parent.mkdir()
    status_path(tmp_path, "analyze").write_bytes(raw(colour="red"))
    found = read_status(tmp_path, "analyze")
    assert found is not None
    assert (found.pid, found.total, found.current, found.message) == (1, 0, None, "")


def test_a_status_that_is_replaced_all_the_time_is_never_torn(tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            write_status(tmp_path, status(message="x" * 5000))

    write_status(tmp_path, status())
    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert all(read_status(tmp_path, "analyze") is not None for _ in range(500))
    finally:
        stop.set()
        thread.join()


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    write_status(tmp_path, status(eta_seconds=math.inf, cost_total=math.nan))
    found = read_status(tmp_path, "analyze")
    assert found is not None
    assert (found.eta_seconds, found.cost_total) == (None, 0.0)


def test_a_full_disk_keeps_the_old_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(tmp_path, status(done=1))
    monkeypatch.setattr(files, "write_some", full)
    with pytest.raises(DiskFullError):
        write_status(tmp_path, status(done=2))
    found = read_status(tmp_path, "analyze")
    assert found is not None
    assert found.done == 1


# Is it alive?


def test_this_process_is_alive() -> None:
    assert liveness(status()) == "alive"


def test_a_process_that_is_silent_is_lost() -> None:
    old = replace(status(), heartbeat=time.time() - 31)
    assert liveness(old) == "lost"
    assert liveness(old, lost_after=100) == "alive"


def test_a_clock_that_was_set_back_does_not_matter() -> None:
    assert liveness(replace(status(), heartbeat=time.time() + 3600)) == "alive"


def test_a_process_that_ended_is_dead_at_once() -> None:
    """Also before its parent, this test, has taken notice of the end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = protocol.process.start_time(child.pid)
        assert started is not None
        seen = replace(status(), pid=child.pid, pid_started=started)
        assert liveness(seen) == "alive"
        assert liveness(replace(seen, pid_started=started - 3)) == "dead"
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert liveness(seen) == "dead"
    assert liveness(seen) == "dead"


@pytest.mark.parametrize("pid", [0, -1, -12345, 2**40])
def test_a_number_that_is_no_process_is_dead(pid: int) -> None:
    assert liveness(replace(status(), pid=pid)) == "dead"


def test_another_host_is_remote() -> None:
    assert liveness(replace(status(), host="gpu07", pid=1, heartbeat=0.0)) == "remote"


# The writer of a status.


def test_a_status_is_written_at_most_every_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    writer = StatusWriter(tmp_path, status())
    seen = []
    for step in range(1, 41):
        now = 1000.0 + step / 10
        writer.update(done=step)
        found = read_status(tmp_path, "analyze")
        assert found is not None
        seen.append(found.done)
    assert len(set(seen)) == 5
    assert seen[-1] == 40
    assert writer.status.done == 40


def test_a_change_of_state_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    writer = StatusWriter(tmp_path, status())
    for state in ("paused", "running", "complete"):
        writer.update(state=state)
        found = read_status(tmp_path, "analyze")
        assert found is not None
        assert found.state == state


def test_a_full_disk_does_not_stop_the_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StatusWriter(tmp_path, status())
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_some", full)
        writer.update(state="paused")
    writer.update(state="running")
    found = read_status(tmp_path, "analyze")
    assert found is not None
    assert found.state == "running"


def test_beats_take_the_time() -> None:
    first = replace(status(), heartbeat=5.0)
    second = first.beat(done=7)
    assert second.heartbeat > 1e9
    assert (second.done, first.done) == (7, 0)
    assert second.age < 5 < first.age


# What a job is asked for.


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_read_and_taken_once(tmp_path: Path, command: Any) -> None:
    assert read_control(tmp_path, "merge") is None
    assert take_control(tmp_path, "merge") is None
    write_control(tmp_path, "merge", command)
    assert read_control(tmp_path, "merge") == command
    assert read_control(tmp_path, "analyze") is None
    assert take_control(tmp_path, "merge") == command
    assert take_control(tmp_path, "merge") is None
    assert list((tmp_path / "jobs").iterdir()) == []


def test_the_last_command_counts(tmp_path: Path) -> None:
    write_control(tmp_path, "merge", "pause")
    write_control(tmp_path, "merge", "cancel")
    assert take_control(tmp_path, "merge") == "cancel"


def test_a_command_can_be_forgotten(tmp_path: Path) -> None:
    clear_control(tmp_path, "merge")
    write_control(tmp_path, "merge", "pause")
    clear_control(tmp_path, "merge")
    assert read_control(tmp_path, "merge") is None


@pytest.mark.parametrize("content", [b"", b"kill", b"\xff", b"pause" * 100, b"PAUSE"])
def test_an_unknown_command_is_none_and_goes_away(tmp_path: Path, content: bytes) -> None:
    control_path(tmp_path, "merge").parent.mkdir()
    control_path(tmp_path, "merge").write_bytes(content)
    assert read_control(tmp_path, "merge") is None
    assert take_control(tmp_path, "merge") is None
    assert not control_path(tmp_path, "merge").exists()


def test_a_command_may_end_in_a_newline(tmp_path: Path) -> None:
    """As `echo pause > RUN.globa/jobs/analyze.control` writes it."""
    control_path(tmp_path, "analyze").parent.mkdir()
    control_path(tmp_path, "analyze").write_text("pause\n")
    assert take_control(tmp_path, "analyze") == "pause"


def test_an_unknown_command_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'stop'.*pause, resume, cancel"):
        write_control(tmp_path, "merge", "stop")  # type: ignore[arg-type]


def test_a_command_given_while_another_is_taken_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_control(tmp_path, "merge", "pause")
    real = protocol._read_command

    def slow(path: Path) -> Any:
        monkeypatch.setattr(protocol, "_read_command", real)
        write_control(tmp_path, "merge", "cancel")
        return real(path)

    monkeypatch.setattr(protocol, "_read_command", slow)
    assert take_control(tmp_path, "merge") == "pause"
    assert take_control(tmp_path, "merge") == "cancel"
