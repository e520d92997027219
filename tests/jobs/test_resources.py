"""A disk or a memory that does not suffice: said before, paused during, failed for one layer only."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch

from globa_tui import memory
from globa_tui.jobs import analyze, layer_station, reporter, resources
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.progress import Progress
from globa_tui.jobs.protocol import read_status, write_control
from globa_tui.jobs.reporter import JobCancelledError
from globa_tui.jobs.settings import AnalysisRequest, SettingsError
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

    monkeypatch.setattr(analyze, "free_bytes", free)


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

    monkeypatch.setattr(analyze, "free_bytes", free)
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
    real, calls = layer_station.analyse_layer, [0]

    def sometimes(*args: object, **more: object) -> object:
        calls[0] += 1
        if calls[0] == 3:
            raise error
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(layer_station, "analyse_layer", sometimes)
    summary = run_analysis(request_)
    assert (summary.done, len(summary.failed)) == (6, 1)
    (failed,) = (record for record in Run.open(request_.store).records() if record["status"] == "failed")
    assert failed["error"].startswith(f"{failed['name']}: {reason}")


def test_an_error_of_the_program_ends_the_job(request_: AnalysisRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(layer_station, "analyse_layer", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        run_analysis(request_)


def test_a_container_may_have_less_than_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = "MemTotal: 64000 kB\nMemAvailable: 32000 kB\nSwapTotal: 1000 kB\nSwapFree: 500 kB\nHugePages_Total: 0\n"
    (tmp_path / "meminfo").write_text(facts)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.available_memory() == (32500 * 1024, 65000 * 1024)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.available_memory() == (32500 * 1024, 65000 * 1024)
    (tmp_path / "memory.max").write_text("2000\n")
    assert memory.available_memory() == (1000, 2000)
    (tmp_path / "meminfo").unlink()
    assert memory.available_memory() is None
