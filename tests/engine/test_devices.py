"""Devices that this machine does not have, shown by fakes: what is asked of torch, and what when memory ends."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from globa_tui.engine.devices import Copier, is_out_of_memory, resolve_devices
from globa_tui.engine.local import MOST_SHARING, LocalEngine
from globa_tui.engine.memory import Memory
from globa_tui.engine.work import Task
from globa_tui.jobs import resources
from globa_tui.jobs.settings import SettingsError
from store.checkpoints import Layer
from tests.engine.stations import CPU, Watched, tasks

META = torch.device("meta")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("auto", ["cuda:0", "cuda:1"]),
        ("cuda", ["cuda:0", "cuda:1"]),
        ("cuda:1", ["cuda:1"]),
        ("cuda:1, cuda:0", ["cuda:1", "cuda:0"]),
        ("cpu,cpu", ["cpu", "cpu"]),
    ],
)
def test_names_of_devices(two_gpus, name, found):
    assert list(map(str, resolve_devices(name))) == found


@pytest.mark.parametrize("name", ["cuda:2", "cuda:", "cuda:²", "gpu", "", "cpu,", "mps"])
def test_devices_that_are_not_there_are_refused(two_gpus, name):
    with pytest.raises(SettingsError, match=f"--device is '{name.rpartition(',')[2]}'"):
        resolve_devices(name)


def test_auto_is_the_processor_where_there_is_no_gpu():
    assert resolve_devices("auto") == [CPU]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUSOLVER_STATUS_ALLOC_FAILED, when calling `syevd`")],
)
def test_what_does_not_fit_is_computed_on_the_processor_and_said(error):
    def on(step: str, item: int) -> None:
        if (step, item) == ("compute on meta", 1):
            raise error

    said: list[str] = []
    with LocalEngine([META], warn=said.append).run(Watched(on), tasks(3), Memory(0)) as results:
        found = [(result.value, result.place) for _, result in results]
    assert found == [(0, ""), (1, "meta"), (4, "")]
    assert said == ["layer 1: out of memory on meta; computed on the CPU instead"]


def test_what_does_not_fit_beside_its_batch_is_tried_alone():
    left = {1: 1, 2: 2}
    """How often each runs out of memory."""

    def on(step: str, item: int) -> None:
        if step == "compute on meta" and left.get(item, 0):
            left[item] -= 1
            raise torch.OutOfMemoryError

    said: list[str] = []
    batch = tuple(Task(number, f"layer {number}") for number in range(4))
    work = Watched(on)
    with LocalEngine([META], warn=said.append).run(work, [batch], Memory(0)) as results:
        found = [(result.value, result.place) for _, result in results]
    assert found == [(0, ""), (1, ""), (4, "meta"), (9, "")]
    assert said == ["layer 2: out of memory on meta; computed on the CPU instead"]
    assert [item for step, item in work.steps if step == "read"] == [0, 1, 2, 3, 1, 2, 2, 3]


def test_the_processor_has_nowhere_else_to_go():
    def on(step: str, item: int) -> None:
        if step == "compute":
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError), LocalEngine([CPU]).run(Watched(on), tasks(3), Memory(0)) as results:
        list(results)


def test_another_error_of_a_device_ends_the_job():
    def on(step: str, item: int) -> None:
        if step.startswith("compute on"):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"), LocalEngine([META]).run(Watched(on), tasks(3), Memory(0)) as got:
        list(got)
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_float32_stays_float32():
    torch.set_float32_matmul_precision("medium")
    try:
        with LocalEngine([CPU]):
            assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_threads_are_shared_by_the_workers_and_given_back():
    before, seen = torch.get_num_threads(), []
    engine = LocalEngine([CPU, CPU], threads=6)
    work = Watched(lambda step, item: seen.append(torch.get_num_threads()) if step == "compute" else None)
    with engine, engine.run(work, tasks(4), Memory(0)) as results:
        list(results)
    assert set(seen) == {3}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("devices", "threads", "shares", "workers", "each"),
    [
        ((CPU,), 3, True, 3, 1),
        ((CPU,), 9, True, MOST_SHARING, 2),
        ((CPU,), 3, False, 1, 3),
        ((CPU, CPU), 6, True, 2, 3),
    ],
)
def test_tasks_that_share_the_processor_get_workers_of_their_own(devices, threads, shares, workers, each):
    seen: list[int] = []
    work = Watched(lambda step, item: seen.append(torch.get_num_threads()) if step == "compute" else None)
    before, engine = torch.get_num_threads(), LocalEngine(devices, threads=threads)
    with engine, engine.run(work, tasks(6), Memory(0), shares=shares) as results:
        assert sorted(result.value for _, result in results) == [item**2 for item in range(6)]
    assert work.steps.count(("close", -1)) == workers
    assert set(seen) == {each}
    assert torch.get_num_threads() == before


class FakeStream:
    """Notes what is done with it."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def synchronize(self) -> None:
        self.log.append("synchronize")


def test_copies_to_a_gpu_are_pinned_and_have_their_own_stream(monkeypatch):
    log: list[str] = []

    @contextmanager
    def within(stream):
        log.append("enter")
        yield
        log.append("leave")

    class Tensor:
        def pin_memory(self):
            log.append("pin")
            return self

        def to(self, device, non_blocking):
            log.append(f"copy to {device}{' without waiting' if non_blocking else ''}")
            return self

        def record_stream(self, stream):
            log.append(f"used by {stream}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(log))
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: f"the stream of {device}")
    copier = Copier(torch.device("cuda", 1))
    copier(Tensor())  # type: ignore[arg-type]
    copier.finish()
    copied = ["enter", "pin", "copy to cuda:1 without waiting", "leave", "used by the stream of cuda:1"]
    assert log == [*copied, "synchronize"]


def test_a_gpu_that_may_be_too_small_is_said_but_not_refused(monkeypatch):
    layer = Layer(0, "w", (4096, 4096), "BF16", "q_proj", 0, "matrix", ("w", "w"), None)
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100_000_000, 100_000_000))
    ((text, refuse),) = resources.memory_trouble([layer], "float32", [gpu])
    assert not refuse
    assert text.startswith("w (4096x4096) can need")
    assert "cuda:0" in text
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80_000_000_000, 80_000_000_000))
    assert not list(resources.memory_trouble([layer], "float32", [gpu, gpu]))
