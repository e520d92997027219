"""Carrying out a merge in the foreground, or saying what it would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globa_tui.cli.announce import say_findings
from globa_tui.cli.build_recipe import refuse_unmatched
from globa_tui.cli.layers import finite
from globa_tui.cli.signals import stopping_on_term
from globa_tui.diagnostics import ExitCode, Interrupted, printable, say
from globa_tui.values import about_size

if TYPE_CHECKING:
    from globa_tui.jobs.check import CheckReport
    from globa_tui.jobs.merge import MergePlan
    from globa_tui.recipe import Recipe


def run(recipe: Recipe, out: Path, choices: Mapping[str, Any], *, quiet: bool, as_json: bool) -> int:
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
        with display("merging", quiet=quiet, things="steps") as shown, stopping_on_term() as watch:
            result = run_merge(recipe, out, options, shown.follow, watch, lambda text: say(f"warning: {text}"))
    except KeyboardInterrupt:
        msg = f"interrupted; {out} is as it was; the same command goes on where this one stopped"
        raise Interrupted(msg) from None
    except JobCancelledError:
        msg = f"cancelled; {out} is as it was, nothing of this merge is left"
        raise Interrupted(msg) from None
    if result.resumed:
        say(f"{result.resumed} tensors were there already, from an earlier start of this merge")
    for name in result.passed_through:
        say(f"warning: {name}: not finite, or its analysis failed; what it holds was let through")
    report = result.check
    if as_json:
        plain = {
            name: getattr(result, name) for name in ("tensors", "nbytes", "passed_through", "unmatched", "resumed")
        }
        found = report.to_dict() if report is not None else None
        document = {"schema": 1, "output": str(result.out), **plain, "check": found}
        print(json.dumps({key: finite(value) for key, value in document.items()}, allow_nan=False))
    else:
        print(printable(result.out))
    if report is None:
        return ExitCode.DONE
    _say_check(report, quiet=quiet)
    return ExitCode.FAILED if report.failed else ExitCode.DONE


def _say_check(report: CheckReport, *, quiet: bool) -> None:
    """Say what was not as it should be; in one line when all was."""
    for item in report.items:
        if item.state == "failed" or (item.state == "warning" and not quiet):
            say(f"check {item.state}: {item.name}: {item.message}")
    if not quiet and not report.failed:
        states = [item.state for item in report.items]
        skipped = f", {states.count('skipped')} skipped" if "skipped" in states else ""
        largest = report.largest(1)
        far = f"; farthest from the base: {largest[0][0]} ({largest[0][1].relative:.3f} of its norm)" if largest else ""
        say(f"check: {states.count('passed')} of {len(states)} passed{skipped}, none failed{far}")


def dry_run(recipe: Recipe, out: Path, choices: Mapping[str, Any], *, quiet: bool, as_json: bool) -> int:
    """Check everything that can be checked without reading a weight, and print the recipe."""
    from globa_tui.jobs.device import resolve_device
    from globa_tui.jobs.merge import MergeOptions, plan_merge
    from globa_tui.jobs.merge_layers import make_merger
    from globa_tui.jobs.merge_texts import small_files, tokenizer_remark
    from store.files import ensure_free
    from store.merged.place import check_place

    options = MergeOptions(**choices)
    plan = plan_merge(recipe, options)
    _announce(plan, out, quiet=quiet)
    check_place(out, plan.places, overwrite=options.overwrite)
    make_merger(plan.recipe, plan.index, plan.run, resolve_device(options.device))
    copied, texts = small_files(plan)
    remark = tokenizer_remark(plan)
    if not quiet:
        say(f"{len(copied)} small files as they are, {len(texts)} written anew" + (f"; {remark}" if remark else ""))
    ensure_free(out.parent, plan.output.nbytes)
    if as_json:
        sizes = {
            "tensors": len(plan.output.tensors),
            "nbytes": plan.output.nbytes,
            "files": len(plan.output.shards),
            "read": plan.read,
            "memory": plan.memory,
            "tokenizer": remark,
        }
        print(json.dumps({"schema": 1, "dry_run": True, "output": str(out), **sizes, "recipe": recipe.to_dict()}))
    else:
        print(recipe.to_yaml(), end="")
    return ExitCode.DONE


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
    say(f"{len(plan.output.tensors)} tensors, {size}, to {out}; {free} are free there")
    say(f"reads {about_size(plan.read)}; takes about {about_size(plan.memory)} of memory beside the program")


def _status_folder(recipe: Recipe) -> Path | None:
    """The run whose `status` and `cancel` know of this merge; none for a packed run or plain checkpoints."""
    from store.run import run_folder

    folder = run_folder(recipe.run) if recipe.run is not None else None
    return folder if folder is not None and folder.is_dir() else None
