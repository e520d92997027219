"""Options of ``represent``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    list[Path],
    typer.Option(
        "--data",
        metavar="FILE",
        help="Text (by lines, or by paragraphs where it has blank lines) or JSON lines, one file per task; "
        "repeatable, and more files may follow.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="RUN", help="Keep hidden states and results in this run, new or analysed."),
]
SamplesOption = Annotated[int, typer.Option("--samples", metavar="K", help="Datapoints drawn from each file.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Of the choice of datapoints.")]
FieldOption = Annotated[
    str | None,
    typer.Option("--field", metavar="NAME", help="Key of the text in JSON lines.  [default: prompt, text, ...]"),
]
MaxTokensOption = Annotated[int, typer.Option("--max-tokens", metavar="N", help="Longer inputs are cut.")]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", metavar="N", help="Inputs that run together.")]
DtypeOption = Annotated[
    str,
    typer.Option(
        "--dtype", metavar="DTYPE", help="float32, bfloat16, float16 or auto: float32 on a CPU, else the base's."
    ),
]
PositionOption = Annotated[
    str,
    typer.Option("--position", metavar="WHERE", help="Hidden state at the last token, or the mean over all tokens."),
]
LastOnlyOption = Annotated[
    bool, typer.Option("--last-only", help="Only the last layer, not every layer.", show_default=False)
]
SelectOption = Annotated[
    int | None, typer.Option("--select", metavar="K", help="Which K fine-tunes to merge: lowest worst MDS.")
]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget", metavar="D", help="Is there a merge whose hidden states are off by at most D (squared)?"),
]
