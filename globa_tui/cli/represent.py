"""``globa-tui represent``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globa_tui.cli import options as opt

if TYPE_CHECKING:
    from globa_tui.jobs.represent import RepresentRequest

EXAMPLE = """
globa-tui represent ./base ./math ./code ./law --data math.jsonl --data code.txt --data law.txt
globa-tui represent ./base ./ft1 ./ft2 ./ft3 ./ft4 --data task*.jsonl --select 3 --store family
"""


def represent(
    sources: opt.SourceArguments,
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            metavar="FILE",
            help="Text (by lines, or by paragraphs where it has blank lines) or JSON lines, one file per task; "
            "repeatable, and more files may follow.",
        ),
    ],
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="RUN", help="Keep hidden states and results in this run, new or analysed."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", metavar="K", help="Datapoints drawn from each file.")] = 5,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the choice of datapoints.")] = 0,
    text_field: Annotated[
        str | None,
        typer.Option("--field", metavar="NAME", help="Key of the text in JSON lines.  [default: prompt, text, ...]"),
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", metavar="N", help="Longer inputs are cut.")] = 512,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", help="Inputs that run together.")] = 8,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype", metavar="DTYPE", help="float32, bfloat16, float16 or auto: float32 on a CPU, else the base's."
        ),
    ] = "auto",
    device: opt.DeviceOption = "auto",
    position: Annotated[
        str,
        typer.Option(
            "--position", metavar="WHERE", help="Hidden state at the last token, or the mean over all tokens."
        ),
    ] = "last",
    last_only: Annotated[
        bool, typer.Option("--last-only", help="Only the last layer, not every layer.", show_default=False)
    ] = False,
    select: Annotated[
        int | None, typer.Option("--select", metavar="K", help="Which K fine-tunes to merge: lowest worst MDS.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", metavar="D", help="Is there a merge whose hidden states are off by at most D (squared)?"
        ),
    ] = None,
    download: opt.DownloadOption = False,
    quiet: opt.QuietOption = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Compare the models' hidden states on your text.

    Fine-tunes that are far apart merge badly. Models are loaded one after the other; no code of their folders is run.
    With --store, a model that was run on the same inputs is not run again. --position is last or mean.
    """
    import json

    from globa_tui.cli.represent_table import print_representation
    from globa_tui.jobs.represent import RepresentRequest

    models, files = _told_apart(sources, data)
    base, fine_tuned = opt.split_sources(models)
    request = RepresentRequest(
        base,
        fine_tuned,
        files,
        opt.run_path(store) if store is not None else None,
        samples=samples,
        seed=seed,
        text_field=text_field,
        max_tokens=max_tokens,
        batch=batch_size,
        dtype=dtype,
        device=device,
        position=position,
        last_only=last_only,
        select=select,
        budget=budget,
        download=download,
    )
    result = _run(request, quiet=quiet)
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        print_representation(result)


def _told_apart(sources: list[str], data: list[Path]) -> tuple[list[str], tuple[Path, ...]]:
    """Models and data files: of ``--data task*.txt`` a shell makes one option and more arguments."""
    more = [name for name in sources if Path(name).is_file() and Path(name).suffix != ".safetensors"]
    return [name for name in sources if name not in more], (*data, *map(Path, more))


def _run(request: RepresentRequest, *, quiet: bool) -> dict[str, Any]:
    from globa_tui.cli.progress import display
    from globa_tui.cli.signals import ending_in_order
    from globa_tui.diagnostics import Interrupted
    from globa_tui.jobs.represent import run_represent

    try:
        with ending_in_order(), display("representations", quiet=quiet) as shown:
            return run_represent(request, shown.update)
    except KeyboardInterrupt:
        kept = f"models that were run are kept in {request.store}" if request.store else "nothing was kept (no --store)"
        msg = f"interrupted; {kept}; go on with the same command"
        raise Interrupted(msg) from None
