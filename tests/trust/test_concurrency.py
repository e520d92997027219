"""Several processes on one run, other machines, and clocks and files that change under a job."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from store import process
from store.run import Run
from tests.jobs.family import family
from tests.trust.command import Command, one_line
from tests.trust.scale import note, rounds
from tests.trust.trial import Bench, layer_digests, leftovers, records_of

pytestmark = [
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux"),
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("trust"),
]


@contextmanager
def stopped(bench: Bench, folder: Path, *words: object, plan: str, **options: Any) -> Iterator[Command]:
    """A command that stopped itself at an access to the disk, and goes on after the block."""
    command = bench.zygote.start(folder, *words, plan=plan, **options)
    try:
        end = time.monotonic() + 30
        while Path(f"/proc/{command.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < end, command.err
            time.sleep(0.01)
        yield command
    finally:
        command.kill(signal.SIGCONT)
        command.wait()


def analyze(bench: Bench, run: Path) -> list[object]:
    return ["analyze", *bench.sources, "--store", run, "--quiet"]


def put_lock(run: Path, **changes: Any) -> None:
    run.mkdir(parents=True, exist_ok=True)
    pid = os.getpid()
    info = {"pid": pid, "pid_started": process.start_time(pid), "namespace": process.pid_namespace()}
    info |= {"host": process.host_name(), "heartbeat": time.time(), "token": "another", **changes}
    (run / "lock").write_text(json.dumps(info))


def assert_whole(bench: Bench, run: Path) -> None:
    assert layer_digests(run) == bench.layers
    assert records_of(run) == bench.records
    assert not leftovers(run)


def test_a_second_job_is_refused_and_told_of_the_first(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run.globa"
    with stopped(bench, tmp_path, *analyze(bench, run), plan="write:SIGSTOP:12") as first:
        for more in ([], ["--fresh"]):
            second = bench.zygote.run(tmp_path, *analyze(bench, run), *more)
            assert second.code == 4
            assert f"process {first.pid} on {process.host_name()}" in one_line(second.err)
            note("analyze", "second job on one run", "refused, naming the first")
    assert first.code == 0
    assert_whole(bench, run)


def test_two_merges_to_one_place_leave_one_whole_result(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    merge = ["merge", *bench.sources, "-o", out, "--quiet", "--method", "linear"]
    with stopped(bench, tmp_path, *merge, plan="write:SIGSTOP:4") as first:
        second = bench.zygote.run(tmp_path, *merge)
        assert second.code == 0, second.err
        kept = {path.name: path.read_bytes() for path in out.iterdir()}
    assert first.code == 2
    assert "already exists" in one_line(first.err)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == kept
    assert not leftovers(tmp_path)
    note("merge", "second job on one run", "one whole result, the other refused")


def test_readers_while_a_job_writes(bench: Bench, tmp_path: Path) -> None:
    """Readers see whole layers only, and do not disturb the writer."""
    for _ in range(rounds(1, 10)):
        run = tmp_path / "run.globa"
        job = bench.zygote.start(tmp_path, *analyze(bench, run))
        looks, seen = 0, 0
        end = time.monotonic() + 30
        while seen < len([r for r in bench.records if r["status"] == "done"]) and time.monotonic() < end:
            if not (run / "run.json").exists():
                continue
            opened = Run.open(run)
            done = [record["index"] for record in opened.records() if record["status"] == "done"]
            assert len(done) >= seen
            for index in done[-2:]:
                opened.arrays(index)
            looks, seen = looks + 1, len(done)
        shown = bench.zygote.run(tmp_path, "show", run, "--json")
        assert shown.code == 0
        assert job.wait() == 0
        assert looks > 3
        assert_whole(bench, run)
        note("show", "while a job writes", "reads whole layers only", looks)
        shutil.rmtree(run)


@pytest.mark.parametrize("words", [["show"], ["show", "--json"], ["show", "--csv"], ["status"], ["status", "--json"]])
def test_readers_change_nothing(bench: Bench, tmp_path: Path, words: list[str]) -> None:
    """On a folder where every change is refused they read as ever; and they do not even try to change anything."""
    found = bench.zygote.run(tmp_path, *words, bench.whole, plan="any:EROFS:1+", watched=bench.whole)
    assert (found.code, found.counts) == (0, {}), found.err
    note("show", "on a read-only folder", "reads, writes nothing")


def test_a_merge_from_a_read_only_run(bench: Bench, tmp_path: Path) -> None:
    """Its status cannot be shown then; the merge itself needs nothing of the run but to read it."""
    merge = ["merge", bench.whole, "-o", tmp_path / "out", "--quiet"]
    found = bench.zygote.run(tmp_path, *merge, plan="open:EROFS:1+", watched=bench.whole)
    assert found.code == 0, found.err
    assert (tmp_path / "out" / "model.safetensors").exists()
    note("merge", "on a read-only folder", "merges")


@pytest.mark.parametrize("jump", [3600.0, 86400.0 * 400])
def test_a_clock_that_jumps(bench: Bench, tmp_path: Path, jump: float) -> None:
    run = tmp_path / "run.globa"
    with stopped(bench, tmp_path, *analyze(bench, run), plan="write:SIGSTOP:12", clock=jump) as first:
        second = bench.zygote.run(tmp_path, *analyze(bench, run), clock=jump)
        assert second.code == 4, "a clock that jumps must not make a living process look dead"
        assert str(first.pid) in one_line(second.err)
        shown = bench.zygote.run(tmp_path, "status", run, clock=-jump)
        assert shown.code == 0
        assert "died" not in shown.out
    assert first.code == 0
    assert_whole(bench, run)
    note("analyze", "clock jumps by an hour or a year", "as if nothing had happened")


def test_the_lock_of_a_reused_pid_is_taken_over(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run.globa"
    started = process.start_time(os.getpid())
    assert started is not None
    put_lock(run, pid_started=started - 100)
    found = bench.zygote.run(tmp_path, *analyze(bench, run))
    assert found.code == 0, found.err
    assert_whole(bench, run)
    note("analyze", "pid of a dead job used again", "taken over")


def test_a_store_that_another_host_writes(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run.globa"
    put_lock(run, host="gpu07", pid=1, heartbeat=time.time() - 60)
    found = bench.zygote.run(tmp_path, *analyze(bench, run))
    assert found.code == 4
    said = one_line(found.err)
    assert "on gpu07" in said
    assert f"delete {run}/lock" in said
    (run / "lock").unlink()
    assert bench.zygote.run(tmp_path, *analyze(bench, run)).code == 0
    assert_whole(bench, run)
    note("analyze", "store moved from another host", "refused, naming it; goes on after its lock is deleted")


@pytest.mark.parametrize("change", ["rewritten", "grown", "gone"])
@pytest.mark.parametrize("command", ["analyze", "merge"])
def test_a_source_that_changes_under_a_job(bench: Bench, tmp_path: Path, command: str, change: str) -> None:
    # More than is read ahead of the write at which the job stops.
    base, fine_tuned = family(tmp_path / "models", blocks=8)
    sources = [base, *fine_tuned]
    weights = fine_tuned[1] / "model.safetensors"
    words: list[object] = [command, *sources, "--quiet"]
    words += (
        ["--store", tmp_path / "run.globa"] if command == "analyze" else ["-o", tmp_path / "out", "--method", "linear"]
    )
    plan = "write:SIGSTOP:12" if command == "analyze" else "write:SIGSTOP:5"
    with stopped(bench, tmp_path, *words, plan=plan) as job:
        data = weights.read_bytes()
        if change == "gone":
            weights.unlink()
        else:
            weights.write_bytes(data[:-4] + b"abcd" + (b"more" if change == "grown" else b""))
    assert job.code == 1
    assert str(weights) in one_line(job.err)
    assert not (tmp_path / "out").exists()
    note(command, "source changed under the job", "one line naming the file, exit 1")
    if command == "analyze" and change == "rewritten":
        again = bench.zygote.run(tmp_path, *words)
        assert again.code == 4
        assert "model.safetensors mtime_ns" in one_line(again.err)
