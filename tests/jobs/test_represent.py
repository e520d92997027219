"""Hidden states of real models, against transformers and peft used plainly; and that nothing is run twice."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from demo.family import MODELS
from globa_tui.jobs import client, loaded_model, represent
from globa_tui.jobs.hidden_states import run_model
from globa_tui.jobs.loaded_model import ModelError, load
from globa_tui.jobs.progress import Progress
from globa_tui.jobs.protocol import JobStatus, StatusWriter, read_status
from globa_tui.jobs.reporter import JobCancelledError
from globa_tui.jobs.represent import RepresentRequest, run_represent
from store.checkpoints import open_checkpoint
from store.errors import MismatchError, RunBusyError, RunForeignError
from store.run import read_states
from tests.inputs.adapters import lora

TEXTS = ("12+7=19", "def f(x):\n    return x + 1", "In the beginning God created the heaven and the earth.")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "texts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS))
    return path


def request(data: Path, *names: str, store: Path | None = None, **options: Any) -> RepresentRequest:
    sources = [str(MODELS / name) for name in ("base", *(names or ("math", "code", "prose")))]
    return RepresentRequest(sources[0], tuple(sources[1:]), (data,), store, **options)


@functools.cache
def plainly(folder: Path | str) -> np.ndarray:
    """Inputs × layers × (last, mean) × width: one input at a time, no padding, the whole model with its head."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).float()
    return states_of(model, folder)


def states_of(model: Any, folder: Path | str) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    found = []
    for text in TEXTS:
        with torch.inference_mode():
            output = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        found.append([[state[0, -1].numpy(), state[0].mean(dim=0).numpy()] for state in output.hidden_states])
    return np.array(found)


@pytest.fixture(scope="module")
def stored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("run") / "r.globa"
    return folder, run_represent(request(data, store=folder))


@pytest.mark.parametrize(("index", "name"), enumerate(("base", "math", "code", "prose")))
def test_states_are_those_of_transformers(stored: tuple[Path, dict[str, Any]], index: int, name: str) -> None:
    found = read_states(stored[0], index)
    assert found is not None
    wanted = plainly(MODELS / name)
    np.testing.assert_allclose(found[1]["hidden/last"], wanted[:, :, 0], rtol=0, atol=2e-4)
    np.testing.assert_allclose(found[1]["hidden/mean"], wanted[:, :, 1], rtol=0, atol=2e-4)


def test_the_document_is_the_papers(stored: tuple[Path, dict[str, Any]]) -> None:
    """Every number of the last layer, worked out from the models run plainly."""
    h = {name: plainly(MODELS / name)[:, -1, 0].astype(np.float64) for name in ("base", "math", "code", "prose")}
    document = stored[1]
    measured = document["last"]
    tuned = [h["math"], h["code"], h["prose"]]
    d = [[np.linalg.norm(a - b, axis=1).mean() for b in tuned] for a in tuned]
    np.testing.assert_allclose(measured["distance"], d, rtol=1e-4, atol=1e-6)
    from_base = [np.linalg.norm(a - h["base"], axis=1).mean() for a in tuned]
    np.testing.assert_allclose(measured["from_base"]["distance"], from_base, rtol=1e-4)
    apart = [d[0][1], d[0][2], d[1][2]]
    similar = (max(apart) - np.array(apart)) / (max(apart) - min(apart))
    assert measured["hidden_sim"][0][1:] == pytest.approx(similar[:2], abs=1e-3)
    delta = max(np.sqrt((np.linalg.norm(a - b, axis=1) ** 2).mean()) for a in tuned for b in tuned)
    assert measured["diameter"] == pytest.approx(delta, rel=1e-4)
    assert measured["bounds"]["low"] == pytest.approx(delta**2 / 4, rel=1e-4)
    assert measured["bounds"]["high"] == pytest.approx(128 / 258 * delta**2, rel=1e-4)
    assert (document["width"], document["layers"]) == (128, [0, 1, 2, 3, 4])
    assert [one["layer"] for one in measured["by_layer"]] == [0, 1, 2, 3, 4]
    assert measured["by_layer"][-1]["distance"] == measured["distance"]


def test_nothing_is_run_twice(
    stored: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reused while inputs and files are the same; run again when one of them is not."""
    folder = shutil.copytree(stored[0], tmp_path / "r.globa")
    loaded: list[str] = []

    def watched(checkpoint: Any, *rest: Any) -> Any:
        loaded.append(Path(checkpoint.source).name)
        return load(checkpoint, *rest)

    monkeypatch.setattr(loaded_model, "load", watched)
    again = run_represent(request(data, store=folder))
    assert loaded == []
    assert again["last"] == stored[1]["last"]
    states = folder / "representation" / "00000002.h5"
    states.write_bytes(states.read_bytes()[:-100])
    assert run_represent(request(data, store=folder))["last"] == stored[1]["last"]
    assert loaded == ["code"], "only what was damaged"
    data_2 = tmp_path / "more.jsonl"
    data_2.write_text(data.read_text() + '{"prompt": "one more"}\n')
    run_represent(request(data_2, "math", "code", store=folder))
    assert loaded == ["code", "base", "math", "code"]
    assert not (folder / "representation" / "00000003.h5").exists(), "of a model that is not compared any more"


def test_what_was_run_before_a_failure_is_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "r.globa"

    def failing(model: Any, *rest: Any, **options: Any) -> Any:
        if read_states(folder, 1) is not None:
            raise ModelError("no more")
        return run_model(model, *rest, **options)

    monkeypatch.setattr("globa_tui.jobs.hidden_states.run_model", failing)
    with pytest.raises(ModelError, match="no more"):
        run_represent(request(data, store=folder))
    monkeypatch.undo()
    result = run_represent(request(data, store=folder))
    assert [model["reused"] for model in result["models"]] == [True, True, False, False]


def test_a_job_that_is_stopped_keeps_the_models_that_were_run(data: Path, tmp_path: Path) -> None:
    """It ends after the batch in work, says so in its status, and the next one goes on after those models."""
    folder, jobs = tmp_path / "r.globa", []

    def stopping(progress: Progress) -> None:
        if progress.done == len(TEXTS) + 1:
            jobs[0].stop()

    with pytest.raises(JobCancelledError):
        run_represent(request(data, store=folder, batch=1), stopping, jobs.append)
    status = read_status(folder, "represent")
    assert (status.state, status.done, status.total) == ("cancelled", len(TEXTS) + 1, 4 * len(TEXTS))
    result = run_represent(request(data, store=folder, batch=1))
    assert [model["reused"] for model in result["models"]] == [True, False, False, False]


def test_a_second_job_on_a_run_refuses(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "r.globa"
    StatusWriter(folder, dataclasses.replace(JobStatus.of_this_process("represent", "running"), pid=os.getppid()))
    monkeypatch.setattr(client, "is_working", lambda status: True)
    with pytest.raises(RunBusyError, match=f"the represent job of process {os.getppid()} on .* is still running"):
        run_represent(request(data, store=folder))


def test_a_batch_gives_what_single_inputs_give(data: Path) -> None:
    one, many = (run_represent(request(data, "math", "code", batch=size)) for size in (1, 3))
    np.testing.assert_allclose(one["last"]["distance"], many["last"]["distance"], rtol=1e-4)
    np.testing.assert_allclose(one["mean"]["distance"], many["mean"]["distance"], rtol=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
def test_a_lora_adapter_is_what_peft_makes_of_it(data: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    base = load_file(MODELS / "base" / "model.safetensors")
    folder = lora(base, tmp_path / "adapter", ("q_proj", "down_proj"), seed=3)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["q_proj", "down_proj"]}))
    result = run_represent(
        RepresentRequest(str(MODELS / "base"), (str(folder), str(MODELS / "code")), (data,), tmp_path / "r.globa")
    )
    assert result["models"][1]["adapter"]
    model = transformers.AutoModelForCausalLM.from_pretrained(MODELS / "base", local_files_only=True).float()
    wanted = states_of(PeftModel.from_pretrained(model, folder).merge_and_unload(), MODELS / "base")
    found = read_states(tmp_path / "r.globa", 1)
    assert found is not None
    np.testing.assert_allclose(found[1]["hidden/last"], wanted[:, :, 0], rtol=0, atol=5e-4)
    assert result["last"]["from_base"]["distance"][0] > 0.01, "the adapter does something"


def tiny(folder: Path, make: Callable[[], Any]) -> Path:
    """A random model saved as a program would, with the tokenizer of the demo."""
    torch.manual_seed(0)
    make().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODELS / "base" / name, folder / name)
    return folder


def bert(**sizes: int) -> transformers.BertConfig:
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return transformers.BertConfig(vocab_size=259, max_position_embeddings=64, **(small | sizes))


def test_heads_are_left_out(tmp_path: Path) -> None:
    """A classifier and its bare encoder give the same states; of T5 the encoder is run."""
    classifier = tiny(tmp_path / "head", lambda: transformers.BertForSequenceClassification(bert()).eval())
    plain = transformers.BertForSequenceClassification.from_pretrained(classifier, local_files_only=True).eval()
    checkpoint = open_checkpoint(str(classifier))
    ids = [[3, 4, 5], [6, 7, 8, 9, 10]]
    run = {"last_only": False, "pad": 0, "batch_ended": lambda inputs: None}
    found = run_model(load(checkpoint, checkpoint, torch.float32, CPU), ids, 2, **run)
    for row, one in enumerate(ids):
        with torch.inference_mode():
            wanted = plain(input_ids=torch.tensor([one]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(found.last[row], torch.stack([state[0, -1] for state in wanted]), atol=1e-5, rtol=0)
    config = transformers.T5Config(vocab_size=259, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
    t5 = open_checkpoint(str(tiny(tmp_path / "t5", lambda: transformers.T5ForConditionalGeneration(config))))
    assert run_model(load(t5, t5, torch.float32, CPU), ids, 2, **run).last.shape == (2, 3, 16)


def broken(folder: Path, drop: str) -> Path:
    shutil.copytree(MODELS / "code", folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in tensors.items() if name != drop}, folder / "model.safetensors")
    return folder


def test_missing_weights_are_not_made_up(data: Path, tmp_path: Path) -> None:
    folder = broken(tmp_path / "broken", "model.layers.1.mlp.up_proj.weight")
    with pytest.raises(ModelError, match=r"1 weights are missing, the first is .*layers\.1\.mlp\.up_proj\.weight"):
        run_represent(RepresentRequest(str(MODELS / "base"), (str(MODELS / "math"), str(folder)), (data,)))


def test_nan_is_named(data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS / "code", tmp_path / "nan")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match="NaN") as caught:
        run_represent(RepresentRequest(str(MODELS / "base"), (str(MODELS / "math"), str(folder)), (data,)))
    assert any(str(folder) in note for note in caught.value.__notes__)


def test_code_of_a_folder_is_never_run(data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS / "code", tmp_path / "remote")
    mark = tmp_path / "executed"
    (folder / "modeling_own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: pass\nclass OwnConfig: pass\n")
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.Own"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    with pytest.raises(ModelError, match="does not load"):
        run_represent(RepresentRequest(str(MODELS / "base"), (str(MODELS / "math"), str(folder)), (data,)))
    assert not mark.exists()


def test_models_of_another_width_are_refused(data: Path, tmp_path: Path) -> None:
    other = tiny(tmp_path / "other", lambda: transformers.BertModel(bert()))
    with pytest.raises(MismatchError, match=r"\[3, 16\].*\[5, 128\]"):
        run_represent(RepresentRequest(str(MODELS / "base"), (str(MODELS / "math"), str(other)), (data,)))


def test_a_file_without_its_folder_is_refused(data: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    shutil.copy(MODELS / "math" / "model.safetensors", alone)
    with pytest.raises(ModelError, match="name a model folder"):
        run_represent(RepresentRequest(str(MODELS / "base"), (str(MODELS / "code"), str(alone)), (data,)))


def test_a_run_of_other_models_is_left_alone(data: Path, tmp_path: Path) -> None:
    from globa_tui import AnalysisSettings, analyze
    from tests.jobs.family import family

    base, tuned = family(tmp_path, blocks=1)
    run = analyze(base, tuned, tmp_path / "r", AnalysisSettings(include=("q_proj",)))
    with pytest.raises(RunForeignError, match="was computed from"):
        run_represent(request(data, store=run.path))
    assert not (run.path / "representation").exists()


def test_dtype_is_the_bases_on_a_device_and_float32_on_a_cpu() -> None:
    base = open_checkpoint(str(MODELS / "base"))
    assert represent._dtype("auto", base, "cpu") == "float32"
    assert represent._dtype("auto", base, "cuda") == "bfloat16"
    assert represent._dtype("float16", base, "cpu") == "float16"
