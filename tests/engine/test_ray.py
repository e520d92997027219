"""The same jobs on a Ray cluster: same bytes, lost workers, two machines. One cluster for the whole module."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from demo import family as demo_family
from globa_tui.engine.memory import Memory
from globa_tui.engine.on_ray import ClusterError, RayEngine
from globa_tui.engine.work import Task
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.evaluation.settings import EvaluationSettings
from globa_tui.jobs.merge import MergeOptions, run_merge
from globa_tui.jobs.protocol import write_control
from globa_tui.jobs.reporter import JobCancelledError
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings, EngineChoice, SettingsError
from globa_tui.jobs.sweep.job import run_sweep
from globa_tui.jobs.sweep.measurer import Measurer
from globa_tui.jobs.sweep.settings import SweepRequest
from globa_tui.recipe import Recipe
from store.run import Run
from tests.engine.on_cluster import Meeting, Numbers
from tests.evaluation.questions import write_text
from tests.jobs.family import family

pytestmark = [pytest.mark.xdist_group("ray")]

ON_RAY = EngineChoice("ray")
PLENTY = 1 << 40


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two machines of one processor each, as Ray sees them."""
    # A socket's path holds 107 characters, so not below pytest's folder.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=node)
        made.add_node(**{key: value for key, value in node.items() if key != "include_dashboard"})
        ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def run(work, count: int) -> list:
    with RayEngine(ON_RAY, "cpu") as engine:
        todo = [(Task(number, f"layer {number}"),) for number in range(count)]
        with engine.run(work, todo, Memory(PLENTY)) as results:
            return [result for _, result in results]


def test_both_machines_work_at_the_same_time_whatever_memory_this_one_has(cluster, tmp_path):
    todo = [(Task(number, f"layer {number}", read=10, working=100),) for number in range(2)]
    with RayEngine(ON_RAY, "cpu") as engine, engine.run(Meeting(tmp_path), todo, Memory(50)) as results:
        assert {found.value for _, found in results} == {node["NodeID"] for node in ray.nodes()}


def test_a_worker_that_is_killed_in_a_task_is_replaced(cluster, tmp_path):
    """Layer 2 kills its process the first time; the others know nothing of it."""
    assert sorted(result.value for result in run(Numbers(dies=2, mark=tmp_path / "died"), 6)) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "died").read_text() == "x"


def test_a_task_that_always_kills_its_worker_ends_the_job_and_is_named(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("globa_tui.engine.on_ray.RETRIES", 1)
    with pytest.raises(ClusterError, match="layer 2: lost on the cluster"):
        run(Numbers(dies=2, mark=tmp_path / "died", times=9), 6)
    assert (tmp_path / "died").read_text() == "xx"


def test_an_error_of_a_task_is_that_error(cluster):
    with pytest.raises(SettingsError, match="number 3 is not wanted"):
        run(Numbers(refuses=3), 6)


def test_nodes_with_other_versions_are_refused(cluster, monkeypatch):
    monkeypatch.setattr("globa_tui.engine.on_ray.versions", lambda: {"torch": "0.1"})
    with pytest.raises(SettingsError, match="install the same on every node"):
        run(Numbers(), 2)


def test_a_cluster_without_gpus_is_no_place_for_cuda(cluster):
    with pytest.raises(ClusterError, match="has no GPU"), RayEngine(ON_RAY, "cuda"):
        pass
    with pytest.raises(ClusterError, match="Ray chooses which"):
        RayEngine(ON_RAY, "cuda:1")
    with RayEngine(ON_RAY, "auto") as engine:
        assert engine.device == "cpu"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, tuple[str, ...]]:
    base, tuned = family(tmp_path_factory.mktemp("models"), blocks=1)
    return str(base), tuple(map(str, tuned))


def layer_files(run: Path) -> dict[int, dict]:
    opened = Run.open(run)
    free = {"seconds", "file", "stored"}
    return {
        record["index"]: {
            **{key: value for key, value in record.items() if key not in free},
            "arrays": {n: (v.dtype.str, v.tobytes()) for n, v in opened.arrays(record["index"]).items()}
            if record["status"] == "done"
            else {},
        }
        for record in opened.records()
    }


@pytest.fixture(scope="module")
def runs(cluster, models, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same analysis by both engines."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("local", "ray"):
        choice = EngineChoice(name, threads=1)
        run_analysis(AnalysisRequest(models[0], models[1], folder / f"{name}.globa", engine=choice))
    return folder / "local.globa", folder / "ray.globa"


def test_an_analysis_is_the_same_to_the_bit(runs):
    here, there = map(layer_files, runs)
    assert len(here) > 7
    assert here == there


@pytest.mark.parametrize("method", ["globa", "ties", "stored"])
def test_a_merge_is_the_same_to_the_byte(cluster, models, runs, tmp_path, method):
    recipe = (
        Recipe(run=str(runs[1])) if method == "stored" else Recipe(base=models[0], fine_tuned=models[1], method=method)
    )
    if method == "ties":
        recipe = Recipe(base=models[0], fine_tuned=models[1], method="ties", params={"trim": "global", "density": 0.4})
    written = []
    for name in ("local", "ray"):
        result = run_merge(recipe, tmp_path / name, MergeOptions(engine=EngineChoice(name, threads=1)))
        written.append((tmp_path / name / "model.safetensors").read_bytes())
        assert result.drift
    assert written[0] == written[1]


def test_a_job_on_a_cluster_is_cancelled_and_resumed(cluster, models, tmp_path):
    asked = AnalysisRequest(models[0], models[1], tmp_path / "run.globa", engine=ON_RAY)
    started: list[str] = []

    def cancel(progress) -> None:
        if progress.current and progress.current not in started:
            started.append(progress.current)
            write_control(asked.store, "analyze", "cancel")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("globa_tui.engine.on_ray.TOGETHER", 1)
        with pytest.raises(JobCancelledError):
            run_analysis(asked, cancel)
    done = sum(record["status"] == "done" for record in Run.open(asked.store).records())
    assert 1 <= done < 7
    assert run_analysis(asked).computed == 7 - done


def test_a_sweep_measures_the_same_and_this_process_alone_writes(cluster, tmp_path, monkeypatch):
    """Two copies of a run, one swept here, one on the cluster; here nothing is measured for the second."""
    demo = Path(demo_family.__file__).parent / "models"
    settings = AnalysisSettings(include=("layers.0.self_attn.q",))
    sources = tuple(str(demo / name) for name in ("math", "code"))
    run_analysis(AnalysisRequest(str(demo / "base"), sources, tmp_path / "here.globa", settings))
    shutil.copytree(tmp_path / "here.globa", tmp_path / "there.globa")
    write_text(tmp_path / "code.txt", 200)
    found = {}
    for name, engine in (("here", EngineChoice("local", threads=1)), ("there", EngineChoice("ray", threads=1))):
        if engine.name == "ray":
            monkeypatch.setattr(Measurer, "measure", lambda *_: pytest.fail("measured here"))
        data = (f"code={tmp_path / 'code.txt'}",)
        wanted = EvaluationSettings(window=64, generate=False)
        asked = SweepRequest(tmp_path / f"{name}.globa", data, settings=wanted, test=(f"new={tmp_path / 'code.txt'}",))
        found[name] = run_sweep(asked, engine=engine)
    here, there = ({t.candidate.key(): t.values for t in found[name].results.trials} for name in found)
    assert len(here) == 18
    assert here == there
    assert found["here"].results.references == found["there"].results.references
    assert found["here"].best.candidate == found["there"].best.candidate
    assert found["there"].test is not None
    assert len(found["there"].test.trials) == 1
