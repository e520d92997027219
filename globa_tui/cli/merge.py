"""``globa-tui merge``."""

from __future__ import annotations

from globa_tui.cli import merge_options as own
from globa_tui.cli import options as opt

EXAMPLE = """
globa-tui merge math-code -o merged --preset a-only --coef 'mlp:D-=0.5'
globa-tui merge ./base ./ft1 ./ft2 -o merged --method ties --param density=0.3 --param 'mlp:density=0.1'
globa-tui merge merged/globa_recipe.yaml -o again
"""


def merge(
    sources: own.MergeSources,
    out: own.OutOption,
    coef: own.CoefOption = None,
    preset: own.MergePresetOption = None,
    method: own.MethodOption = None,
    param: own.ParamOption = None,
    skip_weights: own.SkipWeightsOption = None,
    dtype: own.DtypeOption = None,
    shard_size: own.ShardSizeOption = None,
    base: own.BaseOption = None,
    fine_tuned: own.FineTunedOption = None,
    tokenizer_from: own.TokenizerOption = None,
    vocab: own.MergeVocabOption = None,
    overwrite: own.OverwriteOption = False,
    allow_failed: own.AllowFailedOption = False,
    check: own.CheckOption = True,
    dry_run: own.DryRunOption = False,
    device: opt.DeviceOption = "auto",
    threads: opt.ThreadsOption = 0,
    engine: opt.EngineOption = "local",
    ray_address: opt.RayAddressOption = None,
    download: opt.DownloadOption = False,
    quiet: opt.QuietOption = False,
    as_json: opt.JsonOption = False,
) -> int:
    """Merge into a Hugging Face folder. From an analysis, straight from checkpoints, or as a recipe says."""
    from globa_tui.cli.build_recipe import MergeWords, recipe_of
    from globa_tui.cli.run_merge import dry_run as preview
    from globa_tui.cli.run_merge import run

    words = MergeWords(
        coef or (),
        preset,
        method,
        param or (),
        skip_weights,
        dtype,
        shard_size,
        tokenizer_from,
        vocab,
        base,
        fine_tuned or (),
    )
    recipe = recipe_of(sources, words)
    place = opt.engine_choice(engine, threads, ray_address)
    choices = {
        "overwrite": overwrite,
        "device": device,
        "download": download,
        "allow_failed": allow_failed,
        "engine": place,
    }
    if dry_run:
        return preview(recipe, out, choices, quiet=quiet, as_json=as_json)
    return run(recipe, out, {**choices, "check": check}, quiet=quiet, as_json=as_json)
