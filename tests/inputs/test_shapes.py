"""Mixtures of experts, other prefixes, 8-bit floats, quantised files, and indexes of a thousand shards."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.merge import run_merge
from globa_tui.jobs.settings import AnalysisRequest
from globa_tui.presets import merge_preset
from globa_tui.recipe import Recipe, parse_coef
from store.checkpoints import build_index, open_checkpoint
from store.errors import CheckpointError, MismatchError
from store.run import Run
from tests.inputs.vision import CONFIG, NEW, OLD, Prefixes, vision
from tests.jobs.family import VOCAB, tensors
from tests.store import make
from tests.store.make import single

EXPERTS = 3
STACK = "model.layers.0.mlp.experts.gate_up_proj"


def moe(seed: int, base: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """A model with fused experts, or a fine-tune of one."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "model.embed_tokens.weight": (12, 8),
        "model.layers.0.mlp.router.weight": (EXPERTS, 8),
        STACK: (EXPERTS, 8, 12),
        f"{STACK}_bias": (EXPERTS, 12),
        "model.layers.0.mlp.experts.down_proj": (EXPERTS, 6, 8),
        "model.conv.weight": (4, 3, 2),
    }
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return drawn if base is None else {name: base[name] + 0.01 * move for name, move in drawn.items()}


@pytest.fixture
def experts(tmp_path: Path) -> Recipe:
    base = moe(0)
    paths = [single(tmp_path / name, model) for name, model in
             (("base", base), ("ft1", moe(1, base)), ("ft2", moe(2, base)))]  # fmt: skip
    return Recipe(base=str(paths[0]), fine_tuned=tuple(map(str, paths[1:])))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_stack_of_experts_is_analysed_expert_by_expert(experts, tmp_path) -> None:
    run_analysis(AnalysisRequest(experts.base or "", experts.fine_tuned, tmp_path / "run.globa"))
    records = {record["name"]: record for record in Run.open(tmp_path / "run.globa").records()}
    assert records[f"{STACK}[1]"]["shape"] == [8, 12]
    assert {records[f"{STACK}[{n}]"]["status"] for n in range(EXPERTS)} == {"done"}
    assert records[f"{STACK}[1]"]["block"] == 0
    assert (STACK in records, records["model.conv.weight"]["status"]) == (False, "skipped")
    assert records[f"{STACK}_bias"]["role"] == "vector"
    alone = [single(tmp_path / f"e{n}", {"x.mlp.up_proj.weight": weights(tmp_path / name)[STACK][1]})
             for n, name in enumerate(("base", "ft1", "ft2"))]  # fmt: skip
    run_analysis(AnalysisRequest(str(alone[0]), tuple(map(str, alone[1:])), tmp_path / "one.globa"))
    [record] = Run.open(tmp_path / "one.globa").records()
    for key in ("norm", "rank", "patterns", "orthogonality"):
        assert record[key] == records[f"{STACK}[1]"][key]


def test_everything_kept_of_every_expert_is_the_sum(experts, tmp_path) -> None:
    request = AnalysisRequest(experts.base or "", experts.fine_tuned, tmp_path / "run.globa")
    from globa_tui.jobs.settings import AnalysisSettings

    everything = AnalysisSettings(svd_energy=(1.0,), eta=(1.0,), basis_energy=1.0)
    run_analysis(AnalysisRequest(request.base, request.fine_tuned, request.store, everything))
    recipe = Recipe(run=str(request.store), coefficients=merge_preset("all").coefficients, skip_weights=(1.0,))
    run_merge(recipe, tmp_path / "out")
    base, one, two, merged = (weights(tmp_path / name) for name in ("base", "ft1", "ft2", "out"))
    assert merged.keys() == base.keys()
    for name, weight in merged.items():
        torch.testing.assert_close(weight, one[name] + two[name] - base[name], rtol=0, atol=1e-5)


def test_one_expert_may_have_coefficients_of_its_own(experts, tmp_path) -> None:
    run_merge(experts, tmp_path / "plain")
    nothing = ",".join(f"{pattern}=0" for pattern in ("C1", "A", "B", "C", "D+", "D-", "E"))
    run_merge(experts.with_override(parse_coef(f"layer {STACK}[1]:{nothing}")), tmp_path / "out")
    base, plain, merged = (weights(tmp_path / name)[STACK] for name in ("base", "plain", "out"))
    assert torch.equal(merged[1], base[1])
    assert torch.equal(merged[[0, 2]], plain[[0, 2]])
    assert not torch.equal(merged[0], base[0])


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_ties", "slerp", "tsv_m", "iso_c"])
def test_every_method_merges_experts_one_by_one(experts, tmp_path, method) -> None:
    """The same numbers as for a model whose experts are tensors of their own."""
    from dataclasses import replace

    params = {"linear": {"weight": [0.3, 0.7]}, "ties": {"density": 0.5}}.get(method, {})
    run_merge(replace(experts, method=method, params=params), tmp_path / "out")
    stacked = weights(tmp_path / "out")
    assert {name: t.shape for name, t in stacked.items()} == {name: t.shape for name, t in moe(0).items()}
    if method.startswith("dare"):  # seeded by the tensor's name
        return
    paths = []
    for name in ("base", "ft1", "ft2"):
        model = weights(tmp_path / name)
        apart = {f"model.layers.0.mlp.experts.{n}.gate_up_proj.weight": model[STACK][n].clone() for n in range(EXPERTS)}
        rest = {other: t for other, t in model.items() if other != STACK}
        paths.append(str(single(tmp_path / f"apart-{name}", rest | apart)))
    recipe = Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method=method, params=params)
    run_merge(recipe, tmp_path / "apart")
    apart = weights(tmp_path / "apart")
    for n in range(EXPERTS):
        torch.testing.assert_close(
            stacked[STACK][n], apart[f"model.layers.0.mlp.experts.{n}.gate_up_proj.weight"], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=["e4m3", "e5m2"])
def test_unscaled_8_bit_floats_are_read(tmp_path, dtype) -> None:
    base = {name: weight.to(dtype) for name, weight in tensors(scale=1.0).items()}
    one = {name: (weight.float() * 2).to(dtype) for name, weight in base.items()}
    paths = [str(single(tmp_path / name, model)) for name, model in (("base", base), ("ft1", one), ("ft2", base))]
    recipe = Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method="task_arithmetic", dtype="float32")
    run_merge(recipe, tmp_path / "out")
    for name, weight in weights(tmp_path / "out").items():
        assert torch.equal(weight, one[name].float()), name
    run_merge(Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method="task_arithmetic"), tmp_path / "narrow")
    assert {weight.dtype for weight in weights(tmp_path / "narrow").values()} == {dtype}


def test_values_that_leave_the_range_of_the_result_are_an_error(tmp_path) -> None:
    base = {"a.up_proj.weight": torch.full((4, 4), 40000.0)}
    paths = [
        str(single(tmp_path / n, {k: f * v for k, v in base.items()})) for n, f in (("b", 1), ("1", 1.5), ("2", 1.5))
    ]
    with pytest.raises(CheckpointError, match="a.up_proj.weight: 16 merged values leave the range of F16"):
        run_merge(
            Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method="task_arithmetic", dtype="float16"),
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "way"),
    [
        ({"model.layers.0.mlp.up_proj.qweight": ("I32", (2, 2))}, "GPTQ or AWQ"),
        ({"model.layers.0.mlp.up_proj.weight.absmax": ("F32", (2,))}, "bitsandbytes 4-bit"),
        ({"model.layers.0.mlp.up_proj.SCB": ("F32", (2,))}, "bitsandbytes 8-bit"),
        ({"model.layers.0.mlp.up_proj.weight_scale_inv": ("F32", (1, 1))}, "scaled FP8"),
        ({"model.layers.0.mlp.experts.gate_up_proj_blocks": ("U8", (2, 2))}, "MXFP4"),
        ({"model.layers.0.mlp.up_proj.weight": ("I8", (2, 2))}, "quanto by its config.json"),
    ],
)
def test_quantised_models_are_refused_with_the_way_they_were(extra, way, tmp_path) -> None:
    for name in ("base", "ft1"):
        make.zero_file(tmp_path / name / "model.safetensors", {"model.norm.weight": ("F32", (2,)), **extra})
        if "config" in way:
            make.with_config(tmp_path / name, {"quantization_config": {"quant_method": "quanto"}})
    opened = [open_checkpoint(str(tmp_path / name)) for name in ("base", "ft1")]
    errors = build_index(opened[0], opened[1:]).errors
    assert [f"is quantised ({way})" in error.message for error in errors] == [True, True]


QUANTISED = {"vocab_size": VOCAB, "quantization_config": {"quant_method": "bitsandbytes"}}


def test_a_leftover_of_quantised_training_is_said_and_left_out(tmp_path) -> None:
    """QLoRA leaves its quantization_config in the config of a merged 16-bit model; it would be applied again."""
    paths = [str(single(tmp_path / name, tensors(), QUANTISED)) for name in ("base", "ft1")]
    base, fine_tuned = map(open_checkpoint, paths)
    index = build_index(base, [fine_tuned])
    taken = "its config.json says bitsandbytes, its weights are not quantised: they are taken as they are"
    assert [(one.severity, one.message) for one in index.findings] == [
        ("warning", f"base ({paths[0]}): {taken} and quantization_config is left out of the result's config.json"),
        ("warning", f"ft1 ({paths[1]}): {taken}"),
    ]
    run_merge(Recipe(base=paths[0], fine_tuned=(paths[1],), method="linear"), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"vocab_size": VOCAB}


def test_8_bit_floats_keep_what_their_config_says(tmp_path) -> None:
    tables = {name: one.to(torch.float8_e4m3fn) for name, one in tensors().items()}
    paths = [str(single(tmp_path / name, tables, QUANTISED)) for name in ("base", "ft1")]
    assert not build_index(open_checkpoint(paths[0]), [open_checkpoint(paths[1])]).findings
    run_merge(Recipe(base=paths[0], fine_tuned=(paths[1],), method="linear"), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == QUANTISED


def test_gguf_is_refused_by_name(tmp_path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for source in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(CheckpointError, match="GGUF.*quantised; name the unquantised model"):
            open_checkpoint(str(source))


@pytest.mark.parametrize("way", [(OLD, OLD), (NEW, OLD), (OLD, NEW)], ids=["same", "old-into-new", "new-into-old"])
def test_vision_language_models_pair_part_by_part(way: tuple[Prefixes, Prefixes], tmp_path: Path) -> None:
    """transformers 4.52 gave every part of such models another prefix, and each part a different one."""
    ours, theirs = way
    models = {"base": vision(*ours), "ft1": vision(*theirs, 1.0), "ft2": vision(*ours, 2.0)}
    paths = [single(tmp_path / name, model, CONFIG) for name, model in models.items()]
    index = build_index(open_checkpoint(str(paths[0])), [open_checkpoint(str(path)) for path in paths[1:]])
    assert not [f for f in index.findings if f.severity != "info"]
    assert all(None not in layer.fine_tuned for layer in index.layers)
    recipe = Recipe(base=str(paths[0]), fine_tuned=tuple(map(str, paths[1:])), method="task_arithmetic")
    run_merge(recipe, tmp_path / "out")
    base = vision(*ours)
    for name, weight in weights(tmp_path / "out").items():
        torch.testing.assert_close(weight, base[name] + 3.0, rtol=0, atol=1e-5)


def test_what_only_looks_alike_is_not_exchanged(tmp_path) -> None:
    """A head of the fine-tune must not stand in for another module of the base because both end in dense.weight."""
    body = {"encoder.layers.0.mlp.up_proj.weight": torch.zeros(4, 4)}
    paths = []
    for name, head in (("base", "pooler"), ("ft1", "value_head")):
        heads = {f"{head}.dense.weight": torch.zeros(4, 4), f"{head}.dense.bias": torch.zeros(4)}
        paths.append(single(tmp_path / name, body | heads))
    index = build_index(open_checkpoint(str(paths[0])), [open_checkpoint(str(paths[1]))])
    assert {layer.name: layer.fine_tuned[0] for layer in index.layers if "dense" in layer.name} == {
        "pooler.dense.weight": None,
        "pooler.dense.bias": None,
    }


def test_a_thousand_shards_are_indexed_quickly(tmp_path) -> None:
    """The shape of a 70B model in 1,000 files of holes: nothing but headers may be read."""
    spec = {}
    for block in range(80):
        for name, shape in (("self_attn.q_proj", (8192, 8192)), ("self_attn.k_proj", (1024, 8192)),
                            ("self_attn.v_proj", (1024, 8192)), ("self_attn.o_proj", (8192, 8192)),
                            ("mlp.gate_proj", (28672, 8192)), ("mlp.up_proj", (28672, 8192)),
                            ("mlp.down_proj", (8192, 28672))):  # fmt: skip
            spec[f"model.layers.{block}.{name}.weight"] = ("BF16", shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            spec[f"model.layers.{block}.{name}.weight"] = ("BF16", (8192,))
    spec |= {f"model.extra.{n}.weight": ("BF16", (8192,)) for n in range(1000 - len(spec))}
    tmp_path.joinpath("m").mkdir()
    weight_map = {}
    for number, (name, kind) in enumerate(spec.items(), 1):
        file = f"model-{number:05}-of-01000.safetensors"
        weight_map[name] = file
        text = json.dumps(make.header_of({name: kind})).encode()
        with (tmp_path / "m" / file).open("wb") as opened:
            opened.write(len(text).to_bytes(8, "little") + text)
            opened.truncate(8 + len(text) + make.size_of(*kind))
    make.write_index(tmp_path / "m", weight_map)
    begin = time.process_time()
    found = open_checkpoint(str(tmp_path / "m"))
    index = build_index(found, [found, found])
    seconds = time.process_time() - begin
    assert (len(found.files), len(index.layers)) == (1000, 1000)
    assert found.nbytes > 130e9
    assert seconds < 10, "about one second where it was measured"
    print(f"{seconds:.2f} s of CPU")


def test_experts_may_not_differ_in_number(tmp_path) -> None:
    paths = [single(tmp_path / f"{n}", {STACK: torch.zeros(n, 4, 4)}) for n in (3, 4)]
    index = build_index(open_checkpoint(str(paths[0])), [open_checkpoint(str(paths[1]))])
    with pytest.raises(MismatchError, match=r"base has \[3, 4, 4\], ft1 has \[4, 4, 4\]"):
        index.require_mergeable()
