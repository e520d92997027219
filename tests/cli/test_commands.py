"""`analyze`, `merge` and `resume` on tiny checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from globa_tui.jobs import client
from globa_tui.jobs.protocol import read_status
from globa_tui.presets import merge_preset
from globa_tui.recipe import Recipe
from tests.cli.models import write_family, write_model
from tests.cli.records import call
from tests.inputs.tokenizers import model, rows_of, tokenizer

Family = tuple[str, str, str]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return write_family(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def run(family: Family, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An analysis of the family."""
    path = str(tmp_path_factory.mktemp("runs") / "r.globa")
    result = call("analyze", *family, "--store", path)
    assert (result.code, result.out) == (0, f"{path}\n")
    first, *rest = result.err.splitlines()
    assert first.startswith("globa-tui: 3 of 4 tensors will be analysed; factors take at most ")
    assert rest[0] == "analysing  0 %  0 of 3 layers"
    assert rest[-1].startswith("analysing  100 %  3 of 3 layers")
    return path


def test_analyze_again_resumes(run: str, family: Family) -> None:
    result = call("analyze", *family, "--store", run, "--quiet", "--json")
    assert (result.code, result.err) == (0, "")
    summary = json.loads(result.out)
    assert (summary["done"], summary["skipped"], summary["computed"], summary["failed"]) == (3, 1, 0, [])
    other = call("analyze", *family, "--store", run, "--quiet", "--preset", "7b-instruct-code")
    assert other.code == 4
    assert "started with another settings.eta: [0.95, 0.8] there, [0.7, 0.99] now" in other.err


def test_a_given_eta_goes_before_the_presets(family: Family, tmp_path: Path) -> None:
    line = ["analyze", *family, "--store", str(tmp_path / "r"), "--quiet", "--preset", "7b-instruct-code"]
    assert call(*line, "--eta", "0.5", "--svd-energy", "1", "--include", "q_proj").code == 0
    settings = json.loads(call("status", str(tmp_path / "r"), "--json").out)["run"]["settings"]
    assert (settings["eta"], settings["svd_energy"], settings["include"]) == ([0.5, 0.5], [1.0, 1.0], ["q_proj"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--eta", "2"), "--eta is 2.0: a share of energy lies in (0, 1]"),
        (("--eta", "a"), "--eta 'a' is not a number"),
        (("--eta", ".9,.9,.9"), "--eta has 3 values for 2 fine-tunes"),
        (("--basis", "best"), "--basis is 'best'; choose one of canonical, anchored, lapack"),
        (("--include", "["), "--include '[' is not a regular expression"),
        (("--anchor", "3"), "--anchor is 3, but there are 2 fine-tunes"),
        (("--preset", "70b"), "unknown preset '70b'"),
    ],
)
def test_bad_settings_are_usage(family: Family, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    result = call("analyze", *family, "--store", str(tmp_path / "r"), *options)
    assert result.code == 2
    assert result.err.startswith(f"globa-tui: {said}")
    assert not (tmp_path / "r.globa").exists()


def test_too_few_sources(family: Family) -> None:
    assert call("analyze", *family[:2], "--store", "r").code == 2


def test_checkpoints_that_do_not_fit(family: Family, tmp_path: Path) -> None:
    other = str(write_model(tmp_path / "wide", 3, shapes={"model.layers.0.mlp.up_proj.weight": (5, 5)}))
    result = call("analyze", *family[:2], other, "--store", str(tmp_path / "r"), "--quiet")
    assert result.code == 3
    assert "model.layers.0.mlp.up_proj.weight" in result.err
    assert "12" in result.err
    assert "error: " in result.err


def test_a_missing_source_is_one_line(family: Family, tmp_path: Path) -> None:
    result = call("analyze", *family[:2], str(tmp_path / "no\x1b[2Jne"), "--store", str(tmp_path / "r"))
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert r"no\x1b[2Jne" in result.err


def test_failed_layers_are_named(family: Family, tmp_path: Path) -> None:
    """NaN in one tensor: that layer fails, the rest is done, the exit code and a line say so; a merge refuses."""
    broken = tmp_path / "nan"
    broken.mkdir()
    tensors = load_file(Path(family[2]) / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    tensors[name][0, 0] = np.nan
    save_file(tensors, broken / "model.safetensors")
    run = str(tmp_path / "r.globa")
    result = call("analyze", *family[:2], str(broken), "--store", run, "--quiet")
    assert result.code == 1
    assert result.err == f"globa-tui: 1 layers failed: {name}; `globa-tui show {run}` says why\n"
    shown = call("show", run).err
    assert (f"failed: {name}: fine-tune 2: " in shown, shown.count(name)) == (True, 1)
    assert call("merge", run, "-o", str(tmp_path / "out"), "--quiet").code == 4
    passed = call("merge", run, "-o", str(tmp_path / "out"), "--quiet", "--allow-failed")
    assert passed.code == 0
    assert f"warning: {name}: not finite, or its analysis failed" in passed.err


def test_merge_from_the_run_and_again_from_its_recipe(run: str, tmp_path: Path) -> None:
    out, again = str(tmp_path / "out"), str(tmp_path / "again")
    result = call("merge", run, "-o", out, "--coef", "A=1,D-=0.5", "--coef", "mlp:E=0", "--shard-size", "1MB")
    assert (result.code, result.out) == (0, f"{out}\n")
    assert result.err.splitlines()[0].startswith("globa-tui: 4 tensors, 1.18 kB in 1 file, to ")
    recipe = Recipe.read(Path(out) / "globa_recipe.yaml")
    assert str(recipe.coefficients) == "C1=1,A=1,B=0,C=0,D+=0,D-=0.5,E=1"
    assert [str(override) for override in recipe.overrides] == ["mlp:E=0"]
    assert call("merge", f"{out}/globa_recipe.yaml", "-o", again, "--quiet").code == 0
    assert (Path(out) / "model.safetensors").read_bytes() == (Path(again) / "model.safetensors").read_bytes()
    taken = call("merge", run, "-o", out, "--quiet")
    assert taken.code == 2
    assert call("merge", run, "-o", out, "--quiet", "--overwrite", "--preset", "all").code == 0
    assert "merge       complete" in call("status", run).out


@pytest.mark.parametrize(
    ("change", "why"),
    [({"name": "model.layers.0.mlp.other.weight"}, "there is none"), ({"shape": [8, 12]}, "there it is [12, 8]")],
)
def test_a_run_whose_layers_are_not_those_of_its_sources_is_not_merged(
    run: str, tmp_path: Path, change: dict[str, object], why: str
) -> None:
    """What no tensor has the name of would be left out, and its tensor averaged."""
    copy = tmp_path / "r.globa"
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "run.json").read_text())
    manifest["layers"][1].update(change)
    (copy / "run.json").write_text(json.dumps(manifest))
    result = call("merge", str(copy), "-o", str(tmp_path / "out"))
    assert (result.code, (tmp_path / "out").exists()) == (4, False)
    assert result.err.count("\n") == 1
    assert f"its layer {change.get('name', 'model.layers.0.mlp.up_proj.weight')} of" in result.err
    assert f"({why}); restore the run's run.json" in result.err


def test_merge_from_checkpoints_by_another_method(family: Family, tmp_path: Path) -> None:
    """The number, computed by hand: base + 0.4 (0.5 τ_1 + τ_2)."""
    out = tmp_path / "out"
    words = ("--method", "task_arithmetic", "--param", "scale=0.4", "--param", "weight=0.5,1", "--json", "--quiet")
    result = call("merge", *family, "-o", str(out), *words)
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert (document["schema"], document["output"], document["tensors"]) == (1, str(out), 4)
    base, first, second = (load_file(Path(source) / "model.safetensors") for source in family)
    for name, merged in load_file(out / "model.safetensors").items():
        wanted = base[name] + 0.4 * (0.5 * (first[name] - base[name]) + (second[name] - base[name]))
        np.testing.assert_allclose(merged, wanted, atol=1e-6)


def test_a_run_names_the_checkpoints_for_other_methods(run: str, family: Family, tmp_path: Path) -> None:
    words = ("--method", "linear", "--quiet")
    assert call("merge", run, "-o", str(tmp_path / "a"), *words).code == 0
    assert call("merge", *family, "-o", str(tmp_path / "b"), *words).code == 0
    first, second = (tmp_path / name / "model.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_dry_run_writes_nothing(run: str, family: Family, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("merge", run, "-o", str(out), "--dry-run", "--preset", "a-only")
    assert result.code == 0
    assert Recipe.from_yaml(result.out) == Recipe(run=run, coefficients=merge_preset("a-only").coefficients)
    document = json.loads(call("merge", *family, "-o", str(out), "--dry-run", "--param", "eta=0.5", "--json").out)
    assert document["recipe"]["settings"] == {"eta": [0.5]}
    assert (document["dry_run"], document["tensors"], document["nbytes"], document["files"]) == (True, 4, 1184, 1)
    assert not out.exists()
    out.mkdir()
    assert call("merge", run, "-o", str(out), "--dry-run").code == 2


def test_dry_run_opens_the_tokenizer(tmp_path: Path) -> None:
    rows = rows_of(["a", "b", "c"])
    words = [str(model(tmp_path / name, rows + move, ["a", "b", "c"])) for name, move in (("base", 0.0), ("ft", 1.0))]
    command = ("merge", *words, "-o", str(tmp_path / "out"), "--method", "linear", "--dry-run")
    said = call(*command).err
    assert "3 small files as they are, 2 written anew; tokenizer: 3 tokens, 3 rows" in said
    tokenizer(tmp_path / "base", ["a", "b", "c", "d"])
    tokenizer(tmp_path / "ft", ["a", "b", "c", "d"])
    assert "warning: 1 of 4 tokens of the tokenizer have no row among 3" in call(*command).err
    (tmp_path / "other").mkdir()
    other = tokenizer(tmp_path / "other", [])
    (other / "tokenizer.json").write_text("{")
    shutil.copy(tmp_path / "base" / "model.safetensors", other)
    found = call(*command, "--tokenizer-from", str(other))
    assert (found.code, "tokenizer.json" in found.err) == (1, True)


def test_dry_run_says_when_the_disk_is_too_small(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.files.free_bytes", lambda path: 1000)
    found = call("merge", *family, "-o", str(tmp_path / "out"), "--method", "linear", "--dry-run")
    assert (found.code, found.out) == (1, "")
    assert "1 kB" in found.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--coef", "Z=1"), "unknown pattern 'Z'"),
        (("--coef", "up_prjo:A=1"), "up_prjo:A=1: no layer is meant by that; the kinds are embed, q_proj, up_proj"),
        (("--coef", "layer model.layers.0:A=1"), "layer model.layers.0:A=1: no layer is meant by that"),
        (("--preset", "best"), "unknown preset 'best'; the presets are readme, "),
        (("--param", "eta=0.5"), "--param eta: "),
        (("--param", "a=1", "--param", "a=2"), "--param: a parameter is given twice"),
        (("--dtype", "int8"), "dtype: 'int8' is not one of float32"),
        (("--shard-size", "big"), "'big' is not a size such as 5GB"),
        (("--skip-weights", "x"), "--skip-weights 'x' is not a number"),
        (("--skip-weights", "1,2,3"), "skip_weights: 3 values for 2 fine-tunes"),
        (("--method", "best"), "unknown merge method 'best'; choose globa or one of "),
        (("--method", "linear", "--coef", "A=1"), "--coef is for the method globa"),
        (("--method", "linear", "--preset", "all"), "--preset is for the method globa"),
        (("--device", "tpu"), "--device is 'tpu'"),
    ],
)
def test_bad_merges_are_usage(run: str, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    result = call("merge", run, "-o", str(tmp_path / "out"), "--quiet", *words)
    assert result.code == 2
    assert result.err.startswith(f"globa-tui: {said}")
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_hostile_recipe_is_one_line_and_usage(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("run: !!python/object/apply:os.system ['touch owned']\n")
    result = call("merge", str(path), "-o", str(tmp_path / "out"))
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.startswith(f"globa-tui: {path}, line 1: could not determine a constructor for the tag")
    assert call("merge", str(tmp_path / "none.yaml"), "-o", "out").code == 1


# The job that `resume` starts outlives the command on purpose.
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_incomplete_run_does_not_merge(run: str, family: Family, tmp_path: Path) -> None:
    """And `resume` completes it, in the background."""
    run = str(tmp_path / "r.globa")
    assert call("analyze", *family, "--store", run, "--quiet").code == 0
    next((Path(run) / "layers").glob("*q_proj*")).unlink()
    lines = (Path(run) / "summary.jsonl").read_text().splitlines(keepends=True)
    (Path(run) / "summary.jsonl").write_text("".join(line for line in lines if "q_proj" not in line))
    assert call("merge", run, "-o", str(tmp_path / "out"), "--quiet").code == 4
    resumed = call("resume", run)
    assert resumed.code == 0
    assert "analysis of 1 layers started (process" in resumed.err
    ended = client.wait_ended(Path(run), "analyze", timeout=120)
    assert ended is not None
    assert ended.state == "complete"
    again = call("resume", run)
    assert (again.code, again.err) == (0, f"globa-tui: {run}: all 3 layers are done, there is nothing to resume\n")


def test_ctrl_c_keeps_finished_layers_and_says_how_to_go_on(tmp_path: Path) -> None:
    # The large ones at the end take longer than a loaded machine needs to notice that the small ones are done.
    shapes = {f"model.layers.{i}.mlp.up_proj.weight": (32, 32) if i < 3 else (900, 900) for i in range(7)}
    sources = [
        str(write_model(tmp_path / name, seed, base=base, shapes=shapes))
        for name, seed, base in (("base", 0, None), ("ft1", 1, 0), ("ft2", 2, 0))
    ]
    run = tmp_path / "r.globa"
    process = subprocess.Popen(
        [sys.executable, "-m", "globa_tui", "analyze", *sources, "--store", str(run), "--no-factors"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while process.poll() is None:
            status = read_status(run, "analyze")
            if status is not None and status.done:
                process.send_signal(signal.SIGINT)
                break
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    last = err.splitlines()[-1]
    assert last == f"globa-tui: interrupted; finished layers are kept in {run}; go on with: globa-tui resume {run}"
    shown = json.loads(call("show", str(run), "--json").out)["run"]
    assert shown["status"] == "paused"
    assert 0 < shown["layers_done"] < 7
