"""``globa-tui merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from globa_tui.cli import options as opt

EXAMPLE = """
globa-tui merge math-code -o merged --preset a-only --coef 'mlp:D-=0.5'
globa-tui merge ./base ./ft1 ./ft2 -o merged --method ties --param density=0.3 --param 'mlp:density=0.1'
globa-tui merge merged/globa_recipe.yaml -o again
"""


def merge(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN | BASE FT1 FT2 | RECIPE.yaml",
            show_default=False,
            help="An analysis to merge from, or the base and its fine-tunes, or a recipe.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder to write; complete or absent.")],
    coef: Annotated[
        list[str] | None,
        typer.Option(
            "--coef",
            metavar="COEF",
            help="A=1,B=0.5 for the model, or after 'mlp:', 'q_proj:', 'blocks 0-7:', 'layer NAME:'; nearest wins. "
            "Patterns that are not named keep the preset's coefficient. Repeatable.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="readme, all, a-only, d-minus, uniform-0.6, no-d-minus-0.7 or math-instruct-7b.  [default: readme]",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="globa, linear, task-arithmetic, ties, dare-linear, dare-ties, slerp, tsv-m, iso-c, iso-cts, "
            "alignmerge-o or alignmerge-b.  [default: globa]",
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="K=V",
            help="Parameter of the method, a comma list per fine-tune; also after 'mlp:', 'blocks 0-7:' and so on, "
            "as for --coef. Repeatable.",
        ),
    ] = None,
    skip_weights: Annotated[
        str | None,
        typer.Option("--skip-weights", metavar="W,W", help="Weights of what was not analysed.  [default: the mean]"),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="DTYPE", help="float32, float16, bfloat16 or float64.  [default: the base's]"),
    ] = None,
    shard_size: Annotated[
        str | None, typer.Option("--shard-size", metavar="SIZE", help="Most bytes in one file.  [default: 5GB]")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="BASE", help="Where the base of RUN is now, if it has moved.")
    ] = None,
    fine_tuned: Annotated[
        list[str] | None,
        typer.Option("--fine-tuned", metavar="FT", help="Where a fine-tune of RUN is now; all of them, in order."),
    ] = None,
    tokenizer_from: Annotated[
        str | None,
        typer.Option(
            "--tokenizer-from",
            metavar="SOURCE",
            help="Take tokenizer and chat template from here.  [default: the base]",
        ),
    ] = None,
    vocab: Annotated[
        str | None,
        typer.Option(
            "--vocab",
            metavar="NAME",
            help="Whose tokens, where vocabularies differ: base, union, ft1, ft2 ...  [default: the run's, or base]",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it is there.", show_default=False)
    ] = False,
    allow_failed: Annotated[
        bool,
        typer.Option(
            "--allow-failed",
            help="Merge layers whose analysis failed like vectors; NaN and infinity pass through.",
            show_default=False,
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Look at the result: would it load, is it whole?")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and print the recipe.", show_default=False)
    ] = False,
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
