"""Arguments and options of ``evaluate``, ``sweep`` and ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="[NAME=]FILE",
        help="Text, or JSONL with prompt and answer, or prompt, choices and answer. Repeatable.",
    ),
]
WindowOption = Annotated[int, typer.Option("--window", metavar="N", help="Tokens of text that are read at a time.")]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", help="Use the first N questions, and N windows of text.  [default: all]"),
]
BatchOption = Annotated[int, typer.Option("--batch-tokens", metavar="N", help="Tokens that are computed at a time.")]
DtypeOption = Annotated[
    str,
    typer.Option(
        "--dtype", metavar="DTYPE", help="float32, bfloat16, float16, or auto: the model's on a GPU, else float32."
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that a model folder brings.", show_default=False),
]
SweepDataOption = Annotated[
    list[str],
    typer.Option("--data", metavar="[NAME=]FILE", help="A task: text or JSONL, as `evaluate` takes it. Repeatable."),
]
MetricOption = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="TASK=METRIC", help="Judge a task by another metric of its data. Repeatable."),
]
ScoreOption = Annotated[
    str,
    typer.Option(
        "--score",
        metavar="NAME",
        help="share (of the best fine-tune's performance) or gain (of its gain over the base).",
    ),
]
TestOption = Annotated[
    list[str] | None,
    typer.Option("--test", metavar="[NAME=]FILE", help="Measure the winner on data the search never saw. Repeatable."),
]
MaxNewTokensOption = Annotated[
    int, typer.Option("--max-new-tokens", metavar="N", help="Most tokens of a generated answer.")
]
RecipeOption = Annotated[
    Path | None, typer.Option("--recipe", metavar="FILE", help="Write the winner's recipe here too.")
]
BackgroundOption = Annotated[
    bool,
    typer.Option(
        "--background", help="Start it as a job that outlives this terminal; `status` follows it.", show_default=False
    ),
]

ModelsArgument = Annotated[
    list[str], typer.Argument(metavar="MODEL", show_default=False, help="Model folders or Hub ids, one or more.")
]
TasksOption = Annotated[
    str | None, typer.Option("--tasks", metavar="NAME,...", help="Tasks of lm-eval (pip install globa-tui[eval]).")
]
TasksFromOption = Annotated[
    Path | None, typer.Option("--tasks-from", metavar="DIR", help="Folder of further tasks for lm-eval.")
]
CommandOption = Annotated[
    list[str] | None,
    typer.Option(
        "--command", metavar="[NAME=]COMMAND", help="Own program that prints JSON; {model} is the folder. Repeatable."
    ),
]
StoreOption = Annotated[
    str | None, typer.Option("--store", metavar="RUN", help="Run that keeps the results; known ones are reused.")
]
GenerateOption = Annotated[
    bool, typer.Option("--generate/--no-generate", help="Let the model write its answers; slower.")
]
LevelOption = Annotated[float, typer.Option("--level", metavar="P", help="Level of the confidence intervals.")]
BootstrapSeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the bootstrap.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Measure again what the store knows.", show_default=False)]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]

SearchOption = Annotated[str, typer.Option("--search", metavar="NAME", help="two-stage (the paper's), grid or tpe.")]
TrialsOption = Annotated[int, typer.Option("--trials", metavar="N", help="Candidates that tpe tries in all.")]
GridOption = Annotated[
    list[str] | None,
    typer.Option("--grid", metavar="AXIS", help="'D-=0,1.2', 'mlp:A=0,1', 'eta=0.7,0.9' or 'skip=0.5,1'."),
]
PartOption = Annotated[
    list[str] | None,
    typer.Option("--part", metavar="TARGET", help="tpe: own coefficients for mlp, q_proj, 'blocks 0-7' ..."),
]
RangeOption = Annotated[str, typer.Option("--range", metavar="LOW,HIGH", help="tpe: range of the coefficients.")]
EtaOption = Annotated[
    bool, typer.Option("--eta", help="tpe: search each eta too, from 0.5 up to the run's.", show_default=False)
]
SkipOption = Annotated[
    bool, typer.Option("--skip-weights", help="tpe: search the weights of what was not analysed.", show_default=False)
]
TopOption = Annotated[int, typer.Option("--top", metavar="N", help="Candidates to print, the best first.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of tpe.")]
BaseOption = Annotated[
    str | None, typer.Option("--base", metavar="BASE", help="Where the base of RUN is now, if it has moved.")
]
FineTunedOption = Annotated[
    list[str] | None,
    typer.Option("--fine-tuned", metavar="FT", help="Where a fine-tune of RUN is now; all of them, in order."),
]

CompareSources = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN | BASE FT1 FT2",
        show_default=False,
        help="An analysis, or the base and its fine-tunes, which are analysed into --store first.",
    ),
]
CompareStoreOption = Annotated[
    str | None, typer.Option("--store", metavar="RUN", help="Run folder for BASE FT1 FT2, new or to be resumed.")
]
BudgetOption = Annotated[
    int, typer.Option("--budget", metavar="N", help="Settings to try of every method, its defaults among them.")
]
