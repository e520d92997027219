"""``globa-tui pack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from globa_tui.cli.options import JsonOption, QuietOption, RunArgument, run_path

EXAMPLE = """
globa-tui pack math-code math-code.h5
globa-tui open math-code.h5
"""


def pack(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT.h5", show_default=False, help="The file to write.")],
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Pack although layers are missing or failed.", show_default=False)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT.h5 if it is there.", show_default=False)
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy RUN into one HDF5 file. `open`, `show` and `merge` accept it like the run itself."""
    import json

    from globa_tui.cli.progress import counting
    from globa_tui.diagnostics import UsageError, printable
    from store.run import pack as pack_run

    if out.suffix != ".h5":
        msg = f"{out}: name the packed file with .h5 at the end, by which it is known"
        raise UsageError(msg)
    with counting("packing", quiet=quiet) as progress:
        made = pack_run(run_path(run), out, progress, overwrite=overwrite, allow_incomplete=incomplete)
    size = made.stat().st_size
    print(json.dumps({"schema": 1, "output": str(made), "bytes": size}) if as_json else printable(made))
