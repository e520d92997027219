"""Kill a writer with SIGKILL, again and again; run as a program of its own, because it forks.

    python -m tests.store.run_crash FOLDER points|random

`points` kills at every access to the disk while a group and a single layer are written: once before it and, for writes,
once after half of it; for files made on the disk and in memory. `random` kills at random moments after the first layer.
Each time the run is opened and resumed, and compared with what the writer had said was written. Prints what was seen as
JSON.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from store import files
from store.run import Run, RunWriter, array_writer, layer_file  # noqa: F401 - imported before forking: cheap rounds
from tests.store.run_samples import arrays, assert_layer, manifest, record

FUNCTIONS = ("write_some", "append_some", "cut", "sync", "rename")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


class KillAt:
    """Count accesses to the disk and die at one of them: before it, or after half of it.

    Of the many writes into a temporary file, which nobody sees, every sixth counts.
    """

    def __init__(self, point: int, half: bool) -> None:
        self.point, self.half, self.count, self.writes = point, half, 0, 0
        for name in FUNCTIONS:
            setattr(files, name, self.wrap(name, getattr(files, name)))

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            if not self.counts(name):
                return real(*args)
            self.count += 1
            if self.count == self.point:
                if self.half:
                    real(args[0], args[1][: len(args[1]) // 2], *args[2:])
                die()
            return real(*args)

        return counted

    def counts(self, name: str) -> bool:
        if name == "write_some":
            self.writes += 1
            return self.writes % 6 == 1
        return name == "append_some" or not self.half


def work(folder: Path, count: int, say: Callable[[int], None]) -> None:
    """Write what is not written: the first layers in a group, the others one by one."""
    with RunWriter.create_or_resume(folder, manifest(count)) as writer:
        todo = [index for index in range(count) if index not in writer.finished]
        if todo[:2] == [0, 1]:
            writer.write_layers([(record(index), arrays(index)) for index in (0, 1)])
            say(0)
            say(1)
            todo = todo[2:]
        for index in todo:
            writer.write_layer(record(index), arrays(index))
            say(index)
            writer.heartbeat()


def in_child(job: Callable[[int], None], kill_after: float | None = None) -> tuple[list[int], bool]:
    """Run a job in a child; return what it said, one byte each, and whether it was killed."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        try:
            job(write_end)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(write_end)
    said = b""
    if kill_after is not None:
        said = os.read(read_end, 1)
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    while part := os.read(read_end, 4096):
        said += part
    os.close(read_end)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return list(said), os.WIFSIGNALED(status)


def check(folder: Path, said: set[int], count: int) -> int:
    """Whatever was said to be written is there; whatever is there is whole. Return how many layers more are there."""
    if not (folder / "run.json").exists():
        assert not said
        return 0
    opened = Run.open(folder)
    done = {found["index"] for found in opened.records() if found["status"] == "done"}
    assert said <= done, (said, done)
    for index in done:
        assert_layer(opened.arrays(index), index)
        assert opened.record(index)["rank"] == [index, 2]
    with RunWriter.create_or_resume(folder, manifest(count)) as writer:
        assert done <= writer.finished, (done, writer.finished)
        finished = set(writer.finished)
        assert not [path for path in folder.rglob("*") if ".tmp-" in path.name]
    for index in finished:
        assert_layer(Run.open(folder).arrays(index), index)
    return len(finished - said)


def every_point(folder: Path) -> dict[str, int]:
    count, killed, unsaid = 3, 0, 0
    for half, small in itertools.product((False, True), (0, layer_file._SMALL)):
        point, was_killed = 0, True
        while was_killed:
            point += 1
            run = folder / f"{point}-{half}-{small}.globa"

            def job(pipe: int, run: Path = run, half: bool = half, point: int = point, small: int = small) -> None:
                layer_file._SMALL = small
                KillAt(point, half)
                work(run, count, lambda index: os.write(pipe, bytes([index])) and None)

            said, was_killed = in_child(job)
            killed += was_killed
            unsaid += check(run, set(said), count)
    return {"killed": killed, "unsaid": unsaid}


def at_random(folder: Path, rounds: int) -> dict[str, int]:
    count, killed, unsaid, layers = 250, 0, 0, 0
    generator = random.Random(0)
    run = folder / "random.globa"
    known: set[int] = set()

    def job(pipe: int) -> None:
        work(run, count, lambda index: os.write(pipe, bytes([index])) and None)

    for _ in range(rounds):
        said, was_killed = in_child(job, generator.uniform(0.0, 0.04))
        killed += was_killed
        layers += len(said)
        known |= set(said)
        unsaid += check(run, known, count)
        known = {found["index"] for found in Run.open(run).records() if found["status"] == "done"} if known else set()
    return {"killed": killed, "unsaid": unsaid, "layers": layers}


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(json.dumps(every_point(target) if sys.argv[2] == "points" else at_random(target, int(sys.argv[3]))))
