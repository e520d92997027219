"""A disk or a memory that does not suffice: said before, paused during, failed for one layer only."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest
import torch

from globa_tui import memory
from globa_tui.cli.progress import display
from globa_tui.jobs import analyze, layer_station, reporter, resources, runner, watch
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.progress import Progress
from globa_tui.jobs.protocol import read_status, write_control
from globa_tui.jobs.reporter import JobCancelledError
from globa_tui.jobs.settings import AnalysisRequest, SettingsError
from globa_tui.recipe import Recipe
from store.run import Run
from tests.jobs.family import family

GB = 1_000_000_000


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnalysisRequest:
    monkeypatch.setattr(reporter, "PAUSE_POLL_SECONDS", 0.01)
    monkeypatch.setattr(reporter, "HOLD_POLL_SECONDS", 0.05)
    base, fine_tuned = family(tmp_path, blocks=1)
    return AnalysisRequest(str(base), tuple(map(str, fine_tuned)), tmp_path / "run.globa")


def filling(monkeypatch: pytest.MonkeyPatch, after: int, empty_again: int | None = None) -> None:
    """The disk fills up at some look at it, and may empty at a later one."""
    looks = [0]

    def free(path: Path) -> int:
        looks[0] += 1
        full = looks[0] > after and (empty_again is None or looks[0] <= empty_again)
        return 1000 if full else 100 * GB

    for module in (analyze, watch):
        monkeypatch.setattr(module, "free_bytes", free)


def test_a_full_disk_pauses_and_space_goes_on(request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    filling(monkeypatch, after=3, empty_again=6)
    seen: list[Progress] = []
    summary = run_analysis(request_, seen.append)
    assert summary.done == summary.computed == 7
    paused = [progress for progress in seen if progress.state == "paused"]
    assert "the disk is full" in paused[0].message
    assert "goes on by itself" in paused[0].message
    assert seen[-1].state == "complete"
    status = read_status(request_.store, "analyze")
    assert status is not None
    assert "full" not in status.message


@pytest.mark.parametrize("word", ["resume", "cancel"])
def test_a_job_that_waits_for_space_obeys(
    request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    looks, asked = [0], threading.Event()

    def free(path: Path) -> int:
        """Full from the fourth look on, until the job was asked."""
        looks[0] += 1
        return 1000 if looks[0] > 3 and not asked.is_set() else 100 * GB

    for module in (analyze, watch):
        monkeypatch.setattr(module, "free_bytes", free)
    monkeypatch.setattr(reporter, "HOLD_POLL_SECONDS", 60.0)

    def ask() -> None:
        while (status := read_status(request_.store, "analyze")) is None or status.state != "paused":
            time.sleep(0.01)
        write_control(request_.store, "analyze", word)  # type: ignore[arg-type]
        asked.set()

    asking = threading.Thread(target=ask)
    asking.start()
    if word == "cancel":
        with pytest.raises(JobCancelledError):
            run_analysis(request_)
        assert sum(r["status"] == "done" for r in Run.open(request_.store).records()) >= 1
    else:
        assert run_analysis(request_).done == 7
    asking.join()


class OtherPrograms:
    """Memory of the machine: others take it when the second layer is done, and free it when the job has paused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, own: int = 0, free_again: bool = True) -> None:
        self.available, self.own, self.free_again = 64 * GB, 0, free_again
        self._own_then = own
        self.seen: list[Progress] = []
        monkeypatch.setattr(watch, "available_memory", lambda: (self.available, 64 * GB))
        monkeypatch.setattr(watch, "own_memory", lambda: self.own)

    @property
    def pauses(self) -> list[str]:
        """What they said, each once: a layer that ends meanwhile tells it again."""
        return list(dict.fromkeys(progress.message for progress in self.seen if progress.state == "paused"))

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        if progress.state == "paused" and self.free_again:
            self.available = 64 * GB
        elif progress.done == 2 and progress.state == "running" and not self.pauses:
            self.available, self.own = 1000, self._own_then


def test_memory_that_others_take_pauses_and_freed_goes_on(
    request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = OtherPrograms(monkeypatch)
    assert run_analysis(request_, others).done == 7
    assert len(others.pauses) == 1
    assert "can need" in others.pauses[0]
    assert "1 kB are left by other programs" in others.pauses[0]
    assert (others.seen[-1].state, others.seen[-1].message) == ("complete", "all layers analysed")


def test_memory_that_the_job_itself_holds_does_not_pause_it(
    request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is small from the beginning is warned of, and waiting would never end."""
    others = OtherPrograms(monkeypatch, own=63 * GB)
    assert run_analysis(request_, others).done == 7
    assert others.pauses == []


def test_a_job_that_waits_for_memory_is_told_to_go_on_once(
    request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = OtherPrograms(monkeypatch, free_again=False)

    def resume(progress: Progress) -> None:
        others(progress)
        if progress.state == "paused":
            write_control(request_.store, "analyze", "resume")

    assert run_analysis(request_, resume).done == 7
    assert len(others.pauses) == 1


def test_a_merge_waits_for_disk_and_memory(request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(base=request_.base, fine_tuned=request_.fine_tuned, method="linear")
    out = request_.store.with_name("out")
    others = OtherPrograms(monkeypatch)
    monkeypatch.setattr(watch, "free_bytes", lambda place: 100 * GB if others.pauses else 1000)

    def first_disk_then_memory(progress: Progress) -> None:
        others(progress)
        if progress.state == "paused" and len(others.pauses) == 1:
            others.available = 1000

    run_merge(recipe, out, listener=first_disk_then_memory)
    assert len(others.pauses) == 2
    assert "the disk is full" in others.pauses[0]
    assert "left by other programs" in others.pauses[1]
    assert others.seen[-1].state == "complete"


def test_the_log_of_a_job_says_that_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    tell = runner._pauses()
    for state, message in (
        ("running", ""),
        ("paused", "no \x1b[memory"),
        ("paused", ""),
        ("running", ""),
        ("complete", ""),
    ):
        tell(Progress(state, 7, 1, 0, 7.0, 1.0, message=message))
    waits, goes_on = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"globa-tui: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  paused: no \\x1b\[memory", waits)
    assert goes_on.endswith("  goes on")


def test_a_pause_is_shown_at_once_where_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with display("analyze") as shown:
        for state in ("running", "paused", "running", "running"):
            shown.follow(Progress(state, 7, 1, 0, 7.0, 1.0, message="the disk is full" if state == "paused" else ""))
    lines = capsys.readouterr().err.splitlines()
    assert [("the disk is full" in line) for line in lines] == [False, True, False]


def test_memory_that_may_not_suffice_is_said_and_memory_that_cannot_is_refused(
    request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(resources, "available_memory", lambda: (GB // 2, 64 * GB))
    assert run_analysis(request_, warn=said.append).done == 7
    assert "can need" in said[0]
    monkeypatch.setattr(resources, "available_memory", lambda: (GB // 2, GB // 2))
    with pytest.raises(SettingsError, match=r"model\.\S+ \(\d+x\d+\) needs at least .* --exclude"):
        run_analysis(request_)
    monkeypatch.setattr(resources, "available_memory", lambda: None)
    assert run_analysis(request_).done == 7


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
            "out of memory",
        ),
        (torch.linalg.LinAlgError("failed\nto converge"), "a decomposition did not converge (failed to converge)"),  # type: ignore[attr-defined]
    ],
)
def test_one_layer_fails_and_the_others_go_on(
    request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    real, calls = layer_station.measure_tasks, [0]

    def sometimes(*args: object, **more: object) -> object:
        calls[0] += 1
        if calls[0] == 3:
            raise error
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(layer_station, "measure_tasks", sometimes)
    summary = run_analysis(request_)
    assert (summary.done, len(summary.failed)) == (6, 1)
    (failed,) = (record for record in Run.open(request_.store).records() if record["status"] == "failed")
    assert failed["error"].startswith(f"{failed['name']}: {reason}")


def test_an_error_of_the_program_ends_the_job(request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(layer_station, "measure_tasks", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        run_analysis(request_)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of a machine with 65 MB of memory, of which half are available, and no control groups."""
    facts = "MemTotal: 64000 kB\nMemAvailable: 32000 kB\nSwapTotal: 1000 kB\nSwapFree: 500 kB\nHugePages_Total: 0\n"
    write(tmp_path / "meminfo", facts)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "fs")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_machine_without_limits(machine: Path) -> None:
    assert memory.available_memory() == (32500 * 1024, 65000 * 1024)
    write(machine / "groups", "0::/user.slice\n1:memory:/user\nnonsense\n")
    write(machine / "fs/user.slice/memory.max", "max\n")
    write(machine / "fs/user.slice/memory.current", "1000\n")
    write(machine / "fs/memory/user/memory.limit_in_bytes", "9223372036854771712\n")
    write(machine / "fs/memory/user/memory.usage_in_bytes", "1000\n")
    assert memory.available_memory() == (32500 * 1024, 65000 * 1024)
    (machine / "meminfo").unlink()
    assert memory.available_memory() is None


@pytest.mark.parametrize("folder", ["", "slurm/job 7", "slurm/job 7/step"])
def test_any_group_around_this_process_may_have_less(machine: Path, folder: str) -> None:
    write(machine / "groups", "0::/slurm/job 7/step\n")
    write(machine / "fs" / folder / "memory.max", "2000\n")
    write(machine / "fs" / folder / "memory.current", "1000\n")
    assert memory.available_memory() == (1000, 2000)
    write(machine / "fs" / folder / "memory.stat", "anon 600\ninactive_file 300\nactive_file 100\n")
    assert memory.available_memory() == (1400, 2000)


def test_groups_of_the_first_version(machine: Path) -> None:
    write(machine / "groups", "4:cpu,memory:/job\n0::/\n")
    write(machine / "fs/memory/job/memory.limit_in_bytes", "2000\n")
    write(machine / "fs/memory/job/memory.usage_in_bytes", "2500\n")
    assert memory.available_memory() == (0, 2000)
    stat = "inactive_file 1\nactive_file 1\ntotal_inactive_file 600\ntotal_active_file 100\n"
    write(machine / "fs/memory/job/memory.stat", stat)
    assert memory.available_memory() == (200, 2000)


def test_a_group_of_the_world_outside_a_container(machine: Path) -> None:
    """Its path does not exist inside, where the root is the container's own group."""
    write(machine / "groups", "0::/docker/4f1\n")
    write(machine / "fs/memory.max", "2000\n")
    write(machine / "fs/memory.current", "1000\n")
    assert memory.available_memory() == (1000, 2000)


def test_what_this_process_holds() -> None:
    before = memory.own_memory()
    block = torch.ones(1 << 23)
    assert before > 0
    assert memory.own_memory() - before > block.nbytes // 2
