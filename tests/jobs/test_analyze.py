"""The analysis of whole checkpoints: what it keeps, resumes, refuses and obeys."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from analysis.layer import LayerOptions, analyse_layer
from analysis.merge.globa import PATTERNS
from globa_tui.diagnostics import ExitCode
from globa_tui.jobs import analyze, runner, watch
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.protocol import JobStatus, read_status, write_control, write_status
from globa_tui.jobs.reporter import JobCancelledError
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings, SettingsError
from store import process
from store.errors import CheckpointError, DiskFullError, MismatchError, RunForeignError
from store.run import Run
from tests.jobs.family import family, tensors, tuned
from tests.store.make import single


def request(folder: Path, tasks: int = 2, **settings: Any) -> AnalysisRequest:
    base, fine_tuned = family(folder, tasks=tasks)
    return AnalysisRequest(str(base), tuple(map(str, fine_tuned)), folder / "run.globa", AnalysisSettings(**settings))


def analysed(folder: Path) -> list[dict]:
    return [record for record in Run.open(folder / "run.globa").records() if record["role"] == "matrix"]


def test_every_matrix_gets_a_record_and_its_arrays(tmp_path):
    summary = run_analysis(request(tmp_path))
    records = analysed(tmp_path)
    assert summary.done == len(records) == 13
    assert {record["status"] for record in records} == {"done"}
    run = Run.open(tmp_path / "run.globa")
    skipped = [record for record in run.records() if record["status"] == "skipped"]
    assert {record["reason"] for record in skipped} == {"not a matrix: merged by --skip-weights"}
    arrays = run.arrays(records[1]["index"])
    assert set(arrays) >= {
        "spectrum/1",
        "spectrum/2",
        "principal_angles/left",
        "type_map",
        "basis/left",
        "core/2/values",
    }
    status = read_status(tmp_path / "run.globa", "analyze")
    assert status is not None
    assert (status.state, status.done, status.total) == ("complete", 13, 13)


def test_records_hold_the_numbers_of_the_analysis(tmp_path):
    run_analysis(request(tmp_path))
    name = "model.layers.1.mlp.up_proj.weight"
    record = next(record for record in analysed(tmp_path) if record["name"] == name)
    weights = [load_file(tmp_path / model / "model.safetensors")[name] for model in ("base", "ft1", "ft2")]
    wanted = analyse_layer(weights[0], weights[1:], LayerOptions((0.9, 0.99), (0.95, 0.8)))
    assert record["rank"] == [svd.rank for svd in wanted.svds]
    assert record["basis_rank"] == [wanted.left.rank, wanted.right.rank]
    parts = {part.pattern: {"count": part.count, "energy": part.energy} for part in wanted.parts.components}
    assert record["patterns"] == {pattern: pytest.approx(parts[pattern]) for pattern in PATTERNS}
    assert sum(record["patterns"][t]["count"] for t in PATTERNS[1:]) == int((wanted.pruned[1] != 0).sum())
    norms = [float((weight - weights[0]).norm()) for weight in weights[1:]]
    assert record["norm"]["task_vectors"] == pytest.approx(norms, rel=1e-6)
    assert record["relative_size"] == pytest.approx([norm / float(weights[0].norm()) for norm in norms], rel=1e-6)
    overlap = wanted.pairs[0].overlap
    assert record["orthogonality"] == pytest.approx({"left": overlap.left, "right": overlap.right})
    assert sum(record["angles"]["left"]) == min(record["rank"])
    assert sum(record["blocks"].values()) == pytest.approx(1.0)


def test_running_again_computes_nothing(tmp_path):
    asked = request(tmp_path)
    assert run_analysis(asked).computed == 13
    before = {path.name: path.read_bytes() for path in (asked.store / "layers").iterdir()}
    assert run_analysis(asked).computed == 0
    assert {path.name: path.read_bytes() for path in (asked.store / "layers").iterdir()} == before


def test_a_cancelled_analysis_resumes_where_it_stopped(tmp_path):
    asked = request(tmp_path)
    started = []

    def cancel(progress):
        if progress.current and progress.current not in started:
            started.append(progress.current)
            if len(started) == 5:
                write_control(asked.store, "analyze", "cancel")

    with pytest.raises(JobCancelledError):
        run_analysis(asked, cancel)
    status = read_status(asked.store, "analyze")
    assert status is not None
    assert status.state == "cancelled"
    assert run_analysis(asked).computed == 13 - 5


def test_pause_waits_for_resume(tmp_path, monkeypatch):
    asked = request(tmp_path)
    states = []

    def steer(progress):
        states.append(progress.state)
        if progress.state == "running" and progress.done == 3 and "paused" not in states:
            write_control(asked.store, "analyze", "pause")
        if progress.state == "paused":
            write_control(asked.store, "analyze", "resume")

    assert run_analysis(asked, steer).computed == 13
    assert states.count("paused") == 1


@pytest.mark.parametrize("other", [{"eta": (0.5, 0.5)}, {"basis": "anchored"}, {"precision": "float64"}])
def test_other_settings_are_refused_unless_fresh(tmp_path, other):
    asked = request(tmp_path)
    run_analysis(asked)
    changed = AnalysisRequest(asked.base, asked.fine_tuned, asked.store, AnalysisSettings(**other))
    with pytest.raises(RunForeignError, match="--fresh"):
        run_analysis(changed)
    fresh = AnalysisRequest(asked.base, asked.fine_tuned, asked.store, AnalysisSettings(**other), fresh=True)
    assert run_analysis(fresh).computed == 13


def test_another_device_is_no_other_setting(tmp_path):
    asked = request(tmp_path)
    run_analysis(asked)
    again = AnalysisRequest(asked.base, asked.fine_tuned, asked.store, AnalysisSettings(device="cpu"))
    assert run_analysis(again).computed == 0


def test_a_changed_source_is_refused(tmp_path):
    asked = request(tmp_path)
    run_analysis(asked)
    weights = load_file(Path(asked.fine_tuned[0]) / "model.safetensors")
    single(Path(asked.fine_tuned[0]), {name: weight + 1 for name, weight in weights.items()})
    with pytest.raises(RunForeignError, match="another fine-tune 1 file model.safetensors"):
        run_analysis(asked)


def test_nan_fails_its_layer_only_and_is_named(tmp_path):
    asked = request(tmp_path)
    weights = load_file(Path(asked.fine_tuned[1]) / "model.safetensors")
    weights["model.layers.0.self_attn.k_proj.weight"][3, 4] = float("nan")
    single(Path(asked.fine_tuned[1]), weights)
    summary = run_analysis(asked)
    assert summary.failed == ("model.layers.0.self_attn.k_proj.weight",)
    assert summary.done == 12
    failed = next(record for record in analysed(tmp_path) if record["status"] == "failed")
    assert "holds 1 NaN or infinite entries of 256" in failed["error"]


def test_shapes_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    base = tensors()
    wrong = tuned(base, 1)
    wrong["model.layers.0.mlp.up_proj.weight"] = torch.zeros(25, 16)
    paths = [single(tmp_path / name, weights) for name, weights in (("b", base), ("f", tuned(base, 2)), ("w", wrong))]
    with pytest.raises(MismatchError, match=r"up_proj.*24.*16.*25.*16"):
        run_analysis(AnalysisRequest(str(paths[0]), (str(paths[1]), str(paths[2])), tmp_path / "run.globa"))
    assert not (tmp_path / "run.globa").exists()


def test_a_stranger_raises_a_loud_warning(tmp_path):
    base = tensors()
    paths = [single(tmp_path / n, w) for n, w in (("b", base), ("f", tuned(base, 2)), ("s", tensors(seed=9)))]
    asked = AnalysisRequest(str(paths[0]), (str(paths[1]), str(paths[2])), tmp_path / "run.globa")
    warnings = run_analysis(asked).warnings
    assert len(warnings) == 1
    assert "ft2 does not look like a fine-tune of this base" in warnings[0]
    assert any(finding["code"] == "unrelated" for finding in Run.open(asked.store).manifest["findings"])


def test_frozen_tensors_are_told_apart(tmp_path):
    base = tensors()
    half = tuned(base, 1) | {name: base[name] for name in base if "self_attn" in name}
    paths = [single(tmp_path / n, w) for n, w in (("b", base), ("h", half), ("f", tuned(base, 2)))]
    run_analysis(AnalysisRequest(str(paths[0]), (str(paths[1]), str(paths[2])), tmp_path / "run.globa"))
    for record in analysed(tmp_path):
        assert record["frozen"] == ["self_attn" in record["name"], False]


def test_include_and_exclude_choose_layers(tmp_path):
    summary = run_analysis(request(tmp_path, include=("mlp",), exclude=("layers.1",)))
    assert summary.done == 2
    reasons = {record.get("reason") for record in analysed(tmp_path) if record["status"] == "skipped"}
    assert reasons == {"left out by --include or --exclude"}


def test_three_fine_tunes(tmp_path):
    run_analysis(request(tmp_path, tasks=3))
    record = analysed(tmp_path)[3]
    assert len(record["rank"]) == 3
    assert [pair["task"] for pair in record["pairs"]] == [2, 3]
    total = sum(pair["patterns"]["E"]["count"] for pair in record["pairs"])
    assert record["patterns"]["E"]["count"] == total
    assert len(record["effect"]["labels"]) == 13


def test_without_factors_nothing_large_is_kept(tmp_path):
    run_analysis(request(tmp_path, factors=False))
    run = Run.open(tmp_path / "run.globa")
    names = set(run.arrays(analysed(tmp_path)[0]["index"]))
    assert not [name for name in names if name.startswith(("basis/", "core/"))]


@pytest.mark.parametrize(("dtype", "kept"), [(torch.bfloat16, np.float16), (torch.float32, np.float32)])
def test_factors_of_sixteen_bit_weights_take_sixteen_bits(tmp_path, dtype, kept):
    base, fine_tuned = family(tmp_path, dtype=dtype)
    run_analysis(AnalysisRequest(str(base), tuple(map(str, fine_tuned)), tmp_path / "run.globa"))
    arrays = Run.open(tmp_path / "run.globa").arrays(analysed(tmp_path)[0]["index"])
    assert arrays["basis/left"].dtype == kept


def test_a_disk_too_small_for_the_factors_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(analyze, "free_bytes", lambda path: 1000)
    asked = request(tmp_path)
    with pytest.raises(DiskFullError, match=r"bytes needed, 1,000 free.*--no-factors"):
        run_analysis(asked)
    monkeypatch.setattr(watch, "free_bytes", lambda path: 1000)
    monkeypatch.setattr(watch, "_RESERVE", 0)
    assert run_analysis(
        AnalysisRequest(asked.base, asked.fine_tuned, asked.store, AnalysisSettings(factors=False))
    ).done


def test_a_source_that_changes_while_the_job_runs_is_named(tmp_path):
    asked = request(tmp_path)

    def cut(progress):
        if progress.done == 4:
            file = Path(asked.fine_tuned[0]) / "model.safetensors"
            file.write_bytes(file.read_bytes()[:-64])

    with pytest.raises(CheckpointError, match="ft1"):
        run_analysis(asked, cut)
    status = read_status(asked.store, "analyze")
    assert status is not None
    assert status.state == "failed"
    assert "ft1" in status.message


def test_an_anchor_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="--anchor is 3, but there are 2"):
        run_analysis(request(tmp_path, anchor=3))
    with pytest.raises(SettingsError, match="sees 0 CUDA devices"):
        run_analysis(request(tmp_path, device="cuda:0"))


def test_one_fine_tune_alone_has_nothing_to_be_compared_with() -> None:
    with pytest.raises(SettingsError, match="name two or more, or merge one by --method task_arithmetic"):
        AnalysisSettings().for_tasks(1)
    assert AnalysisSettings().for_tasks(2).svd_energy == AnalysisSettings.svd_energy


def test_a_second_job_leaves_the_status_of_the_first_alone(tmp_path, capsys):
    asked = request(tmp_path)
    run_analysis(asked)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        first = JobStatus.of_this_process("analyze", "running", total=13)
        started = process.start_time(sleeper.pid)
        write_status(asked.store, replace(first, pid=sleeper.pid, pid_started=started))
        assert runner.main(["analyze", *asked.argv()]) == ExitCode.STORE
        status = read_status(asked.store, "analyze")
        assert status is not None
        assert (status.pid, status.state) == (sleeper.pid, "running")
        assert f"process {sleeper.pid}" in capsys.readouterr().err
    finally:
        sleeper.kill()
        sleeper.wait()
    assert runner.main(["analyze", *asked.argv()]) == ExitCode.DONE


def test_a_word_said_while_the_job_starts_is_heard(tmp_path, monkeypatch):
    asked = request(tmp_path)
    real = analyze.open_index

    def slow(*sources, **options):
        write_control(asked.store, "analyze", "cancel")
        return real(*sources, **options)

    monkeypatch.setattr(analyze, "open_index", slow)
    assert runner.main(["analyze", *asked.argv()]) == ExitCode.INTERRUPTED
    monkeypatch.setattr(analyze, "open_index", real)
    write_control(asked.store, "analyze", "cancel")  # for a job that is over
    assert runner.main(["analyze", *asked.argv()]) == ExitCode.DONE


def test_resuming_needs_space_for_what_is_left_only(tmp_path, monkeypatch):
    asked = request(tmp_path)
    run_analysis(asked)
    first = next(record for record in analysed(tmp_path) if record["status"] == "done")
    summary = asked.store / "summary.jsonl"
    lines = [line for line in summary.read_text().splitlines(keepends=True) if first["name"] not in line]
    summary.write_text("".join(lines))
    (asked.store / first["file"]).unlink()
    monkeypatch.setattr(watch, "_RESERVE", 0)
    for module in (analyze, watch):
        monkeypatch.setattr(module, "free_bytes", lambda path: 20_000)
    assert run_analysis(asked).computed >= 1
    with pytest.raises(DiskFullError):
        run_analysis(AnalysisRequest(asked.base, asked.fine_tuned, asked.store, fresh=True))


def test_an_analysis_of_nothing_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"leave no matrix to analyse; kinds there are: embed, down_proj"):
        run_analysis(request(tmp_path, include=("nomatch",)))
    assert not (tmp_path / "run.globa").exists()
