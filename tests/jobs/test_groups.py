"""Many small layers: several to a file, counted when written, none lost when the job is stopped."""

import pytest

from globa_tui.jobs import analyze
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.protocol import write_control
from globa_tui.jobs.reporter import JobCancelledError
from store.run import Run
from tests.jobs.test_analyze import request


@pytest.fixture
def grouped(monkeypatch):
    monkeypatch.setattr(analyze, "_MANY_LAYERS", 1)
    monkeypatch.setattr(analyze, "_WORK_PER_WRITE", 1e9)
    monkeypatch.setattr(analyze, "_GROUP_SECONDS", 1e9)


def files(asked) -> int:
    return len(list((asked.store / "layers").iterdir()))


def test_small_layers_share_files_and_say_the_same(tmp_path, grouped, monkeypatch):
    one, many = request(tmp_path / "one"), request(tmp_path / "many")
    assert run_analysis(one).computed == 13
    with monkeypatch.context() as patch:
        patch.setattr(analyze, "_MANY_LAYERS", 10_000)
        assert run_analysis(many).computed == 13
    assert files(many) == 13
    assert files(one) < 13
    different = {"seconds", "file", "stored"}
    pairs = zip(Run.open(one.store).records(), Run.open(many.store).records(), strict=True)
    for found, wanted in pairs:
        assert {k: v for k, v in found.items() if k not in different} == {
            k: v for k, v in wanted.items() if k not in different
        }


def test_a_cancelled_job_writes_what_it_finished(tmp_path, grouped, monkeypatch):
    monkeypatch.setattr(analyze, "_TOGETHER", 1)
    asked = request(tmp_path)
    seen = []

    def cancel(progress):
        if progress.current and progress.current not in seen:
            seen.append(progress.current)
            if len(seen) == 6:
                write_control(asked.store, "analyze", "cancel")

    with pytest.raises(JobCancelledError):
        run_analysis(asked, cancel)
    assert sum(record["status"] == "done" for record in Run.open(asked.store).records()) == 6
    assert run_analysis(asked).computed == 13 - 6
    assert files(asked) < 13


def test_a_full_group_is_written(tmp_path, grouped, monkeypatch):
    monkeypatch.setattr(analyze, "_GROUP_LAYERS", 4)
    asked = request(tmp_path)
    done = []
    run_analysis(asked, lambda progress: done.append(progress.done))
    # The first is written at once: until then nobody knows what a write takes.
    assert sorted(set(done)) == [0, 1, 5, 9, 13]
    assert files(asked) == 4
