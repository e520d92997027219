"""Evaluations as a whole: what is kept, what is measured again, what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

from globa_tui.jobs.evaluation import harness, job
from globa_tui.jobs.evaluation.job import run_evaluation
from globa_tui.jobs.evaluation.loading import find_model, load_model, model_hash
from globa_tui.jobs.evaluation.settings import EvaluationRequest, EvaluationSettings
from globa_tui.jobs.reporter import JobCancelledError
from store.errors import CheckpointError
from store.run.journal import EVALUATIONS, append_journal, read_journal
from tests.cli.records import call
from tests.evaluation.questions import DEMO, MODELS, sums, write_rows, write_text

SETTINGS = EvaluationSettings(window=64, limit=6, max_new_tokens=6, resamples=20)


def request(tmp_path, *models, **changes):
    write_rows(tmp_path / "sums.jsonl", sums(6))
    values = {
        "models": tuple(str(MODELS / model) for model in models),
        "data": (str(tmp_path / "sums.jsonl"), f"code={write_text(tmp_path / 'c.txt', 400)}"),
        "store": tmp_path / "run.globa",
        "settings": SETTINGS,
    }
    return EvaluationRequest(**{**values, **changes})


def test_what_is_known_is_not_measured_again(tmp_path, monkeypatch):
    first = run_evaluation(request(tmp_path, "math", "code"))
    assert [(m.task, m.known) for m in first] == [("sums", False), ("code", False)] * 2
    assert first[0].metrics["exact_match"].value > first[2].metrics["exact_match"].value

    def never(*_, **__):
        pytest.fail("loaded a model")

    monkeypatch.setattr(job, "load_model", never)
    moved = shutil.copytree(MODELS / "math", tmp_path / "copy")
    (moved / "README.md").write_text("a card changes no number", encoding="utf-8")
    again = run_evaluation(request(tmp_path, models=(str(moved), str(MODELS / "code"))))
    assert all(m.known for m in again)
    for before, after in zip(first, again, strict=True):
        wanted = {name: pytest.approx(metric.value) for name, metric in before.metrics.items()}
        assert {name: metric.value for name, metric in after.metrics.items()} == wanted
    assert len(read_journal(tmp_path / "run.globa" / EVALUATIONS)) == 4


@pytest.mark.parametrize("change", ["model", "data", "settings", "fresh"])
def test_what_changed_is_measured_again(tmp_path, change):
    moved = shutil.copytree(MODELS / "math", tmp_path / "copy")
    asked = request(tmp_path, models=(str(moved),), data=(str(write_text(tmp_path / "c.txt", 300)),))
    run_evaluation(asked)
    if change == "model":
        weights = load_file(moved / "model.safetensors")
        weights["model.norm.weight"] *= 2
        save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    elif change == "data":
        write_text(tmp_path / "c.txt", 301)
    changes = {"settings": EvaluationSettings(window=32, limit=6), "fresh": True}
    more = {change: changes[change]} if change in changes else {}
    again = run_evaluation(EvaluationRequest(**{**vars(asked), **more}))
    assert [m.known for m in again] == [False]


def test_a_stop_keeps_what_was_measured(tmp_path):
    def stop_at_the_second(reporter):
        real = reporter.layer_started

        def started(name):
            if name.endswith(": code"):
                reporter.stop()
            real(name)

        reporter.layer_started = started

    with pytest.raises(JobCancelledError):
        run_evaluation(request(tmp_path, "math"), on_start=stop_at_the_second)
    found = run_evaluation(request(tmp_path, "math"))
    assert [m.known for m in found] == [True, False]


def test_models_that_cannot_be_measured_are_refused(tmp_path):
    broken = shutil.copytree(MODELS / "math", tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    cpu = torch.device("cpu")
    with pytest.raises(CheckpointError, match=r"lack 1 weights .*model.layers.0.mlp.up_proj.weight"):
        load_model(find_model(str(broken)), cpu, torch.float32)
    (broken / "config.json").write_text('{"model_type": "nobody-knows"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="transformers cannot load it"):
        load_model(find_model(str(broken)), cpu, torch.float32)
    with pytest.raises(CheckpointError, match="not a folder of a whole model"):
        find_model(str(MODELS / "math" / "model.safetensors"))


def test_the_hash_is_of_what_decides(tmp_path):
    one = shutil.copytree(MODELS / "math", tmp_path / "one")
    before = model_hash(one)
    (one / "globa_recipe.yaml").write_text("method: globa", encoding="utf-8")
    assert model_hash(one) == before == model_hash(MODELS / "math")
    config = json.loads((one / "config.json").read_text(encoding="utf-8"))
    (one / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}), encoding="utf-8")
    assert model_hash(one) != before


def test_a_torn_line_is_left_out_and_swallows_nothing(tmp_path):
    path = tmp_path / "run" / EVALUATIONS
    append_journal(path, {"a": 1})
    path.write_bytes(path.read_bytes() + b'{"torn": ')
    append_journal(path, {"b": float("nan")})
    assert read_journal(path) == [{"a": 1}, {"b": None}]
    assert read_journal(tmp_path / "none") == []


def stand_in(monkeypatch, simple_evaluate):
    """Put modules in the place of lm-eval, with this as what measures."""
    parts = {"lm_eval": {"simple_evaluate": simple_evaluate}, "lm_eval.models": {}}
    parts["lm_eval.models.huggingface"] = {"HFLM": lambda **given: given}
    parts["lm_eval.tasks"] = {"TaskManager": lambda include_path: include_path}
    for name, members in parts.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(harness, "harness_version", lambda: "9.9")


def test_lm_eval_is_asked_for_and_read(tmp_path, monkeypatch):
    """A stand-in for the library; the real one was run by hand on a task of the demo's."""
    asked = {}

    def simple_evaluate(**given):
        asked.update(given)
        results = {"sums": {"alias": "sums", "acc,none": 0.5, "acc_stderr,none": 0.1, "em,strict": 1.0}}
        return {"results": results, "n-samples": {"sums": {"original": 9, "effective": 6}}}

    stand_in(monkeypatch, simple_evaluate)
    asked_for = EvaluationRequest((str(MODELS / "math"),), tasks=("sums",), settings=SETTINGS)
    monkeypatch.setattr(job, "versions", dict)
    (found,) = run_evaluation(asked_for)
    assert {name: (m.value, m.items) for name, m in found.metrics.items()} == {"acc": (0.5, 6), "em[strict]": (1.0, 6)}
    assert found.metrics["acc"].high == pytest.approx(0.696, abs=1e-4)
    assert (asked["tasks"], asked["limit"]) == (["sums"], 6)


@pytest.mark.parametrize(("name", "ends"), [("acc", (0.0, 0.3)), ("bleu", (-0.1, 0.3))])
def test_intervals_of_shares_end_where_shares_do(name, ends):
    found = harness.harness_metrics({"results": {"t": {f"{name},none": 0.1, f"{name}_stderr,none": 0.2 / 1.959964}}})
    assert (found[name].low, found[name].high) == pytest.approx(ends)


@pytest.mark.parametrize(("error", "hint"), [(ConnectionError("no net"), True), (IndexError("no such choice"), False)])
def test_a_task_that_fails_says_why_and_whether_fetching_would_help(monkeypatch, capsys, error, hint):
    def simple_evaluate(**given):
        print("a bar of its own", file=sys.stderr)
        raise error

    stand_in(monkeypatch, simple_evaluate)
    with pytest.raises(harness.HarnessError) as raised:
        harness.run_harness("sums", None, None, None, SETTINGS, download=False)
    assert str(error) in str(raised.value)
    assert ("--download" in str(raised.value)) == hint
    assert capsys.readouterr().err == ""


def test_without_lm_eval_its_tasks_say_what_to_install(monkeypatch):
    def missing(name):
        raise harness.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(harness.metadata, "version", missing)
    result = call("evaluate", str(MODELS / "math"), "--tasks", "gsm8k", "-q")
    assert result.code == 2
    assert "pip install 'globa-tui[eval]'" in result.err


def test_the_command_prints_a_table_csv_and_json(tmp_path):
    data = str(write_rows(tmp_path / "sums.jsonl", sums(4)))
    words = ("evaluate", str(MODELS / "base"), "--data", data, "--no-generate", "--window", "64")
    words += ("--store", str(tmp_path / "run"), "-q")
    table = call(*words)
    assert table.code == 0, table.err
    assert table.out.splitlines()[0].split() == ["task", "metric", "model", "value", "interval", "items"]
    rows = call(*words, "--csv").out.splitlines()
    assert rows[0] == "task,metric,model,value,low,high,items"
    assert [row.split(",")[1] for row in rows[1:]] == ["forced_match", "answer_bits_per_byte"]
    (one,) = json.loads(call(*words, "--json").out)["evaluations"]
    assert one["known"]
    assert one["data"]["kind"] == "answer"
    assert one["metrics"]["forced_match"]["items"] == 4
    assert call("status", str(tmp_path / "run")).code == 0


def test_nothing_to_measure_is_a_usage_error():
    result = call("evaluate", str(DEMO / "models" / "base"))
    assert (result.code, "nothing to measure" in result.err) == (2, True)
