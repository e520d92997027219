"""``globa-tui represent``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globa_tui.cli import options as opt
from globa_tui.cli import represent_options as given
from globa_tui.cli.measuring import in_foreground

if TYPE_CHECKING:
    from globa_tui.jobs.progress import Listener
    from globa_tui.jobs.reporter import Reporter
    from globa_tui.jobs.represent import RepresentRequest

EXAMPLE = """
globa-tui represent ./base ./math ./code ./law --data math.jsonl --data code.txt --data law.txt
globa-tui represent ./base ./ft1 ./ft2 ./ft3 ./ft4 --data task*.jsonl --select 3 --store family
"""


def represent(
    sources: opt.SourceArguments,
    data: given.DataOption,
    store: given.StoreOption = None,
    samples: given.SamplesOption = 5,
    seed: given.SeedOption = 0,
    text_field: given.FieldOption = None,
    max_tokens: given.MaxTokensOption = 512,
    batch_size: given.BatchSizeOption = 8,
    dtype: given.DtypeOption = "auto",
    device: opt.DeviceOption = "auto",
    position: given.PositionOption = "last",
    last_only: given.LastOnlyOption = False,
    select: given.SelectOption = None,
    budget: given.BudgetOption = None,
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
    def work(listener: Listener, watch: Callable[[Reporter], None]) -> dict[str, Any]:
        from globa_tui.jobs.represent import run_represent

        return run_represent(request, listener, watch)

    kept = f"models that were run are kept in {request.store}" if request.store else "nothing was kept (no --store)"
    return in_foreground(work, "representations", "inputs", f"; {kept}; go on with the same command", quiet=quiet)
