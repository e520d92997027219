"""What runs beside what in a pipeline, shown by steps that wait for each other; no clock decides."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable

import pytest

from globa_tui.engine import pipeline
from globa_tui.engine.local import LocalEngine
from globa_tui.engine.memory import Memory, Stopped
from globa_tui.engine.work import Batch, Task, batches
from tests.engine.stations import CPU, SECONDS, Watched, tasks

PLENTY = 1 << 40


def gather(
    got: list[int],
    work: Watched,
    todo: Iterable[Batch],
    workers: int = 1,
    starting: Callable[[Batch], None] = lambda batch: None,
    each: Callable[[], None] = lambda: None,
) -> None:
    """Add results as they come, and call `each` in between."""
    with LocalEngine([CPU] * workers).run(work, todo, Memory(PLENTY), starting) as results:
        for _, result in results:
            got.append(result.value)
            each()


def run(
    work: Watched, todo: Iterable[Batch], *, limit: int = PLENTY, workers: int = 1, starting=lambda batch: None
) -> list[int]:
    with LocalEngine([CPU] * workers).run(work, todo, Memory(limit), starting) as results:
        return [result.value for _, result in results]


def test_the_next_task_is_read_while_one_is_computed():
    """A disk so slow that reading ends only when the computation beside it says so."""

    def on(step: str, item: int) -> None:
        if (step, item) == ("compute", 0):
            work.wait("read", 1)
        if (step, item) == ("read", 1):
            work.wait("compute", 0)

    work = Watched(on)
    assert run(work, tasks(3)) == [0, 1, 4]
    assert work.steps.index(("read", 1)) < work.steps.index(("computed", 0))


def test_without_memory_for_two_nothing_is_read_ahead():
    work = Watched()
    assert run(work, tasks(4, read=10, working=30), limit=39) == [0, 1, 4, 9]
    for item in range(3):
        assert work.steps.index(("computed", item)) < work.steps.index(("read", item + 1))


def test_with_just_enough_memory_the_next_is_read_ahead():
    work = Watched(lambda step, item: work.wait("read", 1) if (step, item) == ("compute", 0) else None)
    assert run(work, tasks(2, read=10, working=30), limit=40) == [0, 1]


def test_no_more_than_one_task_is_read_ahead_and_each_once():
    def on(step: str, item: int) -> None:
        if step == "read":
            computed = {i for s, i in work.steps if s == "compute"}
            assert len([i for s, i in work.steps if s == "read" and i not in computed]) <= 2

    work = Watched(on)
    assert run(work, tasks(20)) == [n * n for n in range(20)]
    assert [item for step, item in work.steps if step == "read"] == list(range(20))


def test_the_next_task_is_computed_while_a_result_is_written():
    work = Watched()
    with LocalEngine([CPU]).run(work, tasks(3), Memory(PLENTY)) as results:
        for task, result in results:
            assert result.value == task.item**2
            if task.item < 2:
                work.wait("computed", task.item + 1)


def test_results_that_wait_to_be_written_count_as_memory():
    work = Watched(nbytes=25)
    with LocalEngine([CPU]).run(work, tasks(4, read=0, working=80), Memory(100)) as results:
        for task, _ in results:
            with work.seen:
                assert not work.seen.wait_for(lambda after=task.item + 1: ("compute", after) in work.steps, 0.05)


def test_what_was_read_keeps_room_for_its_work():
    """Also in the moment between its reading and the start of its work."""
    memory = Memory(100)
    memory.reading(10, 120, lambda: True)
    other = threading.Thread(target=memory.reading, args=(10, 20, lambda: True), daemon=True)
    other.start()
    other.join(0.1)
    assert other.is_alive()
    memory.computing(10, 120)
    other.join(0.1)
    assert other.is_alive()
    memory.computed(120, 0)
    other.join(10)
    assert not other.is_alive()


@pytest.mark.parametrize("limit", [0, 35, 70, 200])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_limit_holds_and_nothing_locks_up(limit, workers):
    """What is read, computed and not yet written stays within the limit; without one, what a task takes alone."""
    held, lock, peaks = [0], threading.Lock(), []

    def hold(size: int) -> None:
        with lock:
            held[0] += size
            peaks.append(held[0])

    def on(step: str, item: int) -> None:
        changes = {"read": 10, "compute": 25, "computed": -35 + 8}
        hold(changes.get(step, 0))

    work = Watched(on, nbytes=8)
    with LocalEngine([CPU] * workers).run(work, tasks(12, read=10, working=35), Memory(limit)) as results:
        for _ in results:
            hold(-8)
    # One task alone always goes, and each worker's result or inputs may stand beside it.
    assert max(peaks) <= max(limit, 35 + workers * (10 + 8))
    assert held[0] == 0


def test_an_error_of_reading_comes_after_what_was_read_before_it():
    def on(step: str, item: int) -> None:
        if (step, item) == ("read", 2):
            raise OSError("torn")

    work, got = Watched(on), []
    with pytest.raises(OSError, match="torn"):
        gather(got, work, tasks(5))
    assert got == [0, 1]
    assert ("read", 3) not in work.steps


def test_what_another_worker_has_in_hand_is_handed_over_before_an_error():
    failed = threading.Event()
    beside: list[int] = []

    def on(step: str, item: int) -> None:
        if (step, item) == ("compute", 0):
            with work.seen:
                assert work.seen.wait_for(lambda: len(beside) > 0, SECONDS)
            failed.set()
            raise RuntimeError("broken")
        if step == "compute":
            beside.append(item)
            with work.seen:
                work.seen.notify_all()
            assert failed.wait(SECONDS)

    work, got = Watched(on), []
    with pytest.raises(RuntimeError, match="broken"):
        gather(got, work, tasks(9), workers=2)
    assert got == [item**2 for item in beside]
    assert len(got) < 8


def test_an_interruption_breaks_off_what_is_computed():
    def on(step: str, item: int) -> None:
        while step == "compute" and item == 1:
            time.sleep(0.01)

    def interrupt() -> None:
        work.wait("compute", 1)
        raise KeyboardInterrupt

    work = Watched(on)
    with pytest.raises(KeyboardInterrupt):
        gather([], work, tasks(5), each=interrupt)
    assert ("computed", 1) not in work.steps
    assert work.steps[-1] == ("close", -1)


def test_a_job_that_waits_before_a_task_can_be_interrupted():
    waiting = threading.Event()

    def starting(batch: Batch) -> None:
        while batch[0].item == 1:
            waiting.set()
            time.sleep(0.01)

    def interrupt() -> None:
        assert waiting.wait(SECONDS)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gather([], Watched(), tasks(5), starting=starting, each=interrupt)


def test_several_workers_do_every_task_once():
    work = Watched()
    assert sorted(run(work, tasks(40), workers=3)) == [n * n for n in range(40)]
    assert sorted(item for step, item in work.steps if step == "compute") == list(range(40))


def test_no_task_at_all():
    assert run(Watched(), []) == []


def test_small_tasks_go_together():
    sizes = [3, 3, 3, 3, 9, 20, 1]
    found = batches([Task(number, "", 0, size) for number, size in enumerate(sizes)], most=3, nbytes=10)
    assert [[task.item for task in batch] for batch in found] == [[0, 1, 2], [3], [4], [5], [6]]
    assert run(Watched(), batches([task for (task,) in tasks(7)], 3, 10)) == [n * n for n in range(7)]


def test_an_end_that_falls_into_a_callback_is_not_told(capsys, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)

    class Dies:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def __del__(self) -> None:
            raise self.error

    with pipeline._untold():
        Dies(Stopped())
        assert capsys.readouterr().err == ""
        Dies(ValueError("told"))
        assert "told" in capsys.readouterr().err
    Dies(Stopped())
    assert "Stopped" in capsys.readouterr().err
