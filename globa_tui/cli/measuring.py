"""What ``evaluate``, ``sweep`` and ``compare`` have in common: how their jobs run, and what their words mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from globa_tui.jobs.evaluation.settings import EvaluationSettings
    from globa_tui.jobs.progress import Listener
    from globa_tui.jobs.protocol import Kind
    from globa_tui.jobs.reporter import Reporter
    from globa_tui.recipe import Recipe

Result = TypeVar("Result")


def in_foreground(
    work: Callable[[Listener, Callable[[Reporter], None]], Result], doing: str, things: str, kept: str, *, quiet: bool
) -> Result:
    """Do the work here with a bar; when it is interrupted, `kept` says what is left of it."""
    from globa_tui.cli.progress import display
    from globa_tui.cli.signals import stopping_on_term
    from globa_tui.diagnostics import Interrupted
    from globa_tui.jobs.reporter import JobCancelledError

    try:
        # The work loads torch, which takes seconds in which ctrl-C is as likely as later.
        with display(doing, quiet=quiet, things=things) as shown, stopping_on_term() as watch:
            return work(shown.follow, watch)
    except (KeyboardInterrupt, JobCancelledError):
        msg = f"interrupted{kept}"
        raise Interrupted(msg) from None


def in_background(kind: Kind, argv: Sequence[str], run: Path) -> None:
    """Start the job detached, and say where it can be followed."""
    from globa_tui.diagnostics import say
    from globa_tui.jobs import client

    client.require_alone(run, kind)
    status = client.wait_started(client.start(kind, argv, run), run, kind)
    say(f"{run}: {kind} started (process {status.pid}); see `globa-tui status {run}`")


def forced(
    window: int, limit: int | None, dtype: str, batch_tokens: int, device: str, max_new_tokens: int = 256
) -> EvaluationSettings:
    """How candidates are measured: by what the right answers cost, without letting the model write its own."""
    from globa_tui.jobs.evaluation.settings import EvaluationSettings

    return EvaluationSettings(
        window, limit, max_new_tokens, generate=False, dtype=dtype, device=device, batch_tokens=batch_tokens
    )


def metrics_of(words: list[str] | None) -> dict[str, str]:
    """Metric by task from ``TASK=METRIC``."""
    from globa_tui.diagnostics import UsageError

    found = {}
    for word in words or ():
        task, sign, metric = word.partition("=")
        if not (task and sign and metric):
            msg = f"--metric {word!r} is not TASK=METRIC, such as math=answer_bits_per_byte"
            raise UsageError(msg)
        found[task] = metric
    return found


def absolute_data(word: str) -> str:
    """The same file under a name that means the same from any folder, for a sweep is resumed from anywhere."""
    from globa_tui.jobs.evaluation.data import split_name

    name, path = split_name(word)
    # A stem may have characters that a name given with `=` has not.
    return str(path.absolute()) if name == path.stem else f"{name}={path.absolute()}"


def write_recipe(path: Path | None, recipe: Recipe) -> None:
    """Write a recipe where the user wants it, if anywhere."""
    if path is not None:
        from store.files import write_atomic

        write_atomic(path, recipe.to_yaml().encode())
