"""Carrying out a merge in the foreground, or saying what it would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globa_tui.cli.announce import say_findings
from globa_tui.cli.build_recipe import refuse_unmatched
from globa_tui.cli.signals import stopping_on_term
from globa_tui.diagnostics import Interrupted, printable, say
from globa_tui.values import about_size

if TYPE_CHECKING:
    from globa_tui.jobs.merge import MergePlan
    from globa_tui.recipe import Recipe


def run(recipe: Recipe, out: Path, choices: Mapping[str, Any], *, quiet: bool, as_json: bool) -> None:
    """Merge, and print where the result is.

    Raises
    ------
    Interrupted
        After ctrl-C or `globa-tui cancel`; OUT is as it was.
    """
    from globa_tui.cli.progress import display
    from globa_tui.jobs.merge import MergeOptions, plan_merge, run_merge
    from globa_tui.jobs.reporter import JobCancelledError

    options = MergeOptions(**choices, status_folder=_status_folder(recipe))
    _announce(plan_merge(recipe, options), out, quiet=quiet)
    try:
        with display("merging", quiet=quiet) as shown, stopping_on_term() as watch:
            result = run_merge(recipe, out, options, shown.follow, watch)
    except (KeyboardInterrupt, JobCancelledError):
        msg = f"interrupted; {out} is as it was, nothing of this merge is left"
        raise Interrupted(msg) from None
    for name in result.passed_through:
        say(f"warning: {name}: its analysis failed, it was merged with the skip weights")
    if as_json:
        values = {**asdict(result), "out": str(result.out)}
        print(json.dumps({"schema": 1, "output": values.pop("out"), **values}))
    else:
        print(printable(result.out))


def dry_run(recipe: Recipe, out: Path, choices: Mapping[str, Any], *, quiet: bool, as_json: bool) -> None:
    """Check everything that can be checked without reading a weight, and print the recipe."""
    from globa_tui.jobs.device import resolve_device
    from globa_tui.jobs.merge import MergeOptions, plan_merge
    from globa_tui.jobs.merge_layers import make_merger
    from store.merged.place import check_place

    options = MergeOptions(**choices)
    plan = plan_merge(recipe, options)
    _announce(plan, out, quiet=quiet)
    check_place(out, [model.path for model in (plan.index.base, *plan.index.fine_tuned)], overwrite=options.overwrite)
    make_merger(plan.recipe, plan.index, plan.run, resolve_device(options.device))
    if as_json:
        sizes = {"tensors": len(plan.index.layers), "nbytes": plan.output.nbytes, "files": len(plan.output.shards)}
        print(json.dumps({"schema": 1, "dry_run": True, "output": str(out), **sizes, "recipe": recipe.to_dict()}))
    else:
        print(recipe.to_yaml(), end="")


def _announce(plan: MergePlan, out: Path, *, quiet: bool) -> None:
    """Say what will be written, and refuse coefficients for layers that there are not."""
    from store.files import free_bytes

    refuse_unmatched(plan.recipe, [asdict(layer) for layer in plan.index.layers])
    if quiet:
        return
    say_findings(plan.index.findings)
    free = about_size(free_bytes(out))
    files = len(plan.output.shards)
    size = f"{about_size(plan.output.nbytes)} in {files} file{'s' * (files != 1)}"
    say(f"{len(plan.index.layers)} tensors, {size}, to {out}; {free} are free there")


def _status_folder(recipe: Recipe) -> Path | None:
    """The run whose `status` and `cancel` know of this merge; none for a packed run or plain checkpoints."""
    from store.run import run_folder

    folder = run_folder(recipe.run) if recipe.run is not None else None
    return folder if folder is not None and folder.is_dir() else None
