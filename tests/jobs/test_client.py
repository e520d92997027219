"""A job outlives the terminal that started it, and answers from any shell."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from globa_tui.jobs import client
from globa_tui.jobs.client import JobNotRunningError, JobStartError
from globa_tui.jobs.protocol import JobStatus, Kind, liveness, log_path, read_control, read_status, write_status
from store import process
from store.errors import RunBusyError, StoreError

ROOT = Path(__file__).parents[2]
FAKE = "tests.jobs.fake_runner"


@pytest.fixture(autouse=True)
def find_the_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@contextlib.contextmanager
def started(folder: Path, mode: str) -> Iterator[subprocess.Popen[bytes]]:
    with client.start("analyze", [str(folder), mode], folder, module=FAKE) as job:
        try:
            yield job
        finally:
            job.kill()


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def now(folder: Path) -> JobStatus:
    found = read_status(folder, "analyze")
    assert found is not None
    return found


def test_a_large_log_makes_room(tmp_path: Path) -> None:
    log = log_path(tmp_path, "analyze")
    log.parent.mkdir()
    for size in (client._LOG_MOST_BYTES, client._LOG_MOST_BYTES + 1):
        log.write_bytes(b"x" * size)
        client.start("analyze", ["done"], tmp_path, module="tests.jobs.no_such_module").wait()
    assert log.with_name("analyze.log.1").stat().st_size == client._LOG_MOST_BYTES + 1
    assert b"no_such_module" in log.read_bytes()
    assert log.stat().st_size < 10_000
    log.unlink()
    log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="not a plain file"):
        client.start("analyze", ["done"], tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_job_is_followed_paused_resumed_and_cancelled(tmp_path: Path) -> None:
    with started(tmp_path, "long") as job:
        first = client.wait_started(job, tmp_path, "analyze")
        assert first.pid == job.pid
        assert liveness(first) == "alive"
        assert os.getsid(job.pid) == job.pid
        client.request(tmp_path, "analyze", "pause")
        wait_for(lambda: now(tmp_path).state == "paused")
        client.request(tmp_path, "analyze", "resume")
        wait_for(lambda: now(tmp_path).state == "running")
        asked = client.request(tmp_path, "analyze", "cancel")
        assert asked.state == "running"
        last = client.wait_ended(tmp_path, "analyze", timeout=30, poll=0.02)
        assert last is not None
        assert last.state == "cancelled"
        assert job.wait(30) == 130
    assert client.log_tail(tmp_path, "analyze") == ["hello from the job"]
    with pytest.raises(JobNotRunningError, match="cancelled, there is nothing to pause"):
        client.request(tmp_path, "analyze", "pause")


TERMINAL = """
import fcntl, signal, sys, termios, time
from pathlib import Path
from globa_tui.jobs import client
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
folder = Path(sys.argv[1])
job = client.start("analyze", [str(folder), "long"], folder, module=sys.argv[2])
client.wait_started(job, folder, "analyze")
print("started", flush=True)
time.sleep(60)
"""


def test_a_job_survives_the_terminal_it_was_started_from(tmp_path: Path) -> None:
    """The terminal hangs up: its foreground group gets SIGHUP and dies, the job goes on and obeys others."""
    terminal, line = pty.openpty()
    command = [sys.executable, "-c", TERMINAL, str(tmp_path), FAKE]
    with subprocess.Popen(command, stdin=line, stdout=line, stderr=line, start_new_session=True) as shell:
        os.close(line)
        assert b"started" in os.read(terminal, 1000)
        before = now(tmp_path)
        os.close(terminal)
        assert shell.wait(30) == -signal.SIGHUP
    wait_for(lambda: now(tmp_path).done > before.done)
    assert liveness(now(tmp_path)) == "alive"
    assert now(tmp_path).pid == before.pid
    client.request(tmp_path, "analyze", "cancel")
    last = client.wait_ended(tmp_path, "analyze", timeout=30, poll=0.02)
    assert last is not None
    assert last.state == "cancelled"


def test_a_job_survives_the_kill_of_the_group_that_started_it(tmp_path: Path) -> None:
    """As `tmux kill-session` or a batch system that kills a group."""
    command = [sys.executable, "-c", TERMINAL.replace("fcntl.ioctl", "0 and fcntl.ioctl"), str(tmp_path), FAKE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"started\n"
        before = now(tmp_path)
        os.killpg(shell.pid, signal.SIGHUP)
        assert shell.wait(30) == -signal.SIGHUP
    wait_for(lambda: now(tmp_path).done > before.done)
    client.request(tmp_path, "analyze", "cancel")
    assert client.wait_ended(tmp_path, "analyze", timeout=30, poll=0.02) is not None


def test_a_killed_job_is_noticed(tmp_path: Path) -> None:
    with started(tmp_path, "long") as job:
        client.wait_started(job, tmp_path, "analyze")
        job.send_signal(signal.SIGKILL)
        last = client.wait_ended(tmp_path, "analyze", timeout=30, poll=0.02)
        assert last is not None
        assert last.state in {"starting", "running"}
        assert liveness(last) == "dead"
        with pytest.raises(JobNotRunningError, match=f"gone .process {job.pid} on .* nothing to resume"):
            client.request(tmp_path, "analyze", "resume")
        assert read_control(tmp_path, "analyze") is None


def test_a_job_that_ends_before_it_starts_shows_its_last_words(tmp_path: Path) -> None:
    words = r"analyze\.log: .*code 3: no such checkpoint"
    with started(tmp_path, "crash") as job, pytest.raises(JobStartError, match=words):
        client.wait_started(job, tmp_path, "analyze")


def test_a_job_that_says_nothing_is_not_waited_for_forever(tmp_path: Path) -> None:
    with started(tmp_path, "silent") as job, pytest.raises(JobStartError, match=r"said nothing for 0\.1 s"):
        client.wait_started(job, tmp_path, "analyze", timeout=0.1)


def test_the_status_of_an_earlier_job_is_not_taken_for_this_one(tmp_path: Path) -> None:
    write_status(tmp_path, JobStatus.of_this_process("analyze", "complete"))
    with started(tmp_path, "short") as job:
        assert client.wait_started(job, tmp_path, "analyze").pid == job.pid


def test_there_is_nobody_to_ask(tmp_path: Path) -> None:
    with pytest.raises(JobNotRunningError, match="no analyze job was started"):
        client.request(tmp_path, "analyze", "pause")
    assert not (tmp_path / "jobs").exists()
    assert client.wait_ended(tmp_path, "analyze") is None


def test_a_job_on_another_host_can_be_asked(tmp_path: Path) -> None:
    """The control file lies on the disk that both see."""
    write_status(tmp_path, replace(JobStatus.of_this_process("analyze", "running"), host="gpu07", pid=1))
    assert client.request(tmp_path, "analyze", "pause").host == "gpu07"
    assert read_control(tmp_path, "analyze") == "pause"


def test_waiting_ends_in_time(tmp_path: Path) -> None:
    write_status(tmp_path, JobStatus.of_this_process("analyze", "running"))
    last = client.wait_ended(tmp_path, "analyze", timeout=0.05, poll=0.01)
    assert last is not None
    assert last.state == "running"


def test_the_end_of_a_long_log(tmp_path: Path) -> None:
    assert client.log_tail(tmp_path, "merge") == []
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "merge.log").write_bytes(b"".join(b"line %d \xff\n\n" % index for index in range(20_000)))
    assert client.log_tail(tmp_path, "merge", 2) == ["line 19998 \ufffd", "line 19999 \ufffd"]


def test_following_a_job_imports_no_torch() -> None:
    code = "import sys, globa_tui.jobs.client; print(sorted({'torch', 'h5py', 'numpy', 'textual'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert answer.stdout == "[]\n"


@pytest.mark.parametrize(("working", "refused"), [("sweep", "compare"), ("compare", "sweep"), ("sweep", "sweep")])
def test_jobs_that_share_journals_are_not_run_side_by_side(tmp_path: Path, working: Kind, refused: Kind) -> None:
    other = os.getppid()
    status = replace(JobStatus.of_this_process(working, "running"), pid=other, pid_started=process.start_time(other))
    write_status(tmp_path, status)
    with pytest.raises(RunBusyError, match=f"the {working} job of process {other}"):
        client.require_alone(tmp_path, refused)
    client.require_alone(tmp_path, "evaluate")
