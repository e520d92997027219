"""Arguments and options of ``globa-tui merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MergeSources = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN | BASE FT1 FT2 | RECIPE.yaml",
        show_default=False,
        help="An analysis to merge from, or the base and its fine-tunes, or a recipe.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder to write; complete or absent.")]
CoefOption = Annotated[
    list[str] | None,
    typer.Option(
        "--coef",
        metavar="COEF",
        help="A=1,B=0.5 for the model, or after 'mlp:', 'q_proj:', 'blocks 0-7:', 'layer NAME:'; nearest wins. "
        "Patterns that are not named keep the preset's coefficient. Repeatable.",
    ),
]
MergePresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="readme, all, a-only, d-minus, uniform-0.6, no-d-minus-0.7 or math-instruct-7b.  [default: readme]",
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="globa, linear, task-arithmetic, ties, dare-linear, dare-ties, slerp, tsv-m, iso-c, iso-cts, "
        "alignmerge-o or alignmerge-b.  [default: globa]",
    ),
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="K=V",
        help="Parameter of the method, a comma list per fine-tune; also after 'mlp:', 'blocks 0-7:' and so on, "
        "as for --coef. Repeatable.",
    ),
]
SkipWeightsOption = Annotated[
    str | None,
    typer.Option("--skip-weights", metavar="W,W", help="Weights of what was not analysed.  [default: the mean]"),
]
DtypeOption = Annotated[
    str | None,
    typer.Option("--dtype", metavar="DTYPE", help="float32, float16, bfloat16 or float64.  [default: the base's]"),
]
ShardSizeOption = Annotated[
    str | None, typer.Option("--shard-size", metavar="SIZE", help="Most bytes in one file.  [default: 5GB]")
]
BaseOption = Annotated[
    str | None, typer.Option("--base", metavar="BASE", help="Where the base of RUN is now, if it has moved.")
]
FineTunedOption = Annotated[
    list[str] | None,
    typer.Option("--fine-tuned", metavar="FT", help="Where a fine-tune of RUN is now; all of them, in order."),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer-from",
        metavar="SOURCE",
        help="Take tokenizer and chat template from here.  [default: the base]",
    ),
]
MergeVocabOption = Annotated[
    str | None,
    typer.Option(
        "--vocab",
        metavar="NAME",
        help="Whose tokens, where vocabularies differ: base, union, ft1, ft2 ...  [default: the run's, or base]",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.", show_default=False)]
AllowFailedOption = Annotated[
    bool,
    typer.Option(
        "--allow-failed",
        help="Merge layers whose analysis failed like vectors; NaN and infinity pass through.",
        show_default=False,
    ),
]
CheckOption = Annotated[
    bool, typer.Option("--check/--no-check", help="Look at the result: would it load, is it whole?")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done and print the recipe.", show_default=False)
]
