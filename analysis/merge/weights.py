"""Weights of the tasks in a merge."""

import math
from collections.abc import Sequence

from analysis.errors import OptionsError


def task_weights(weight: float | int | Sequence[float | int], tasks: int, default: float) -> list[float]:
    """One finite weight per task: from a number for all, one for each, or `default` when empty.

    Raises
    ------
    OptionsError
        If their number does not fit, or one is not finite.
    """
    given = [float(weight)] if isinstance(weight, float | int) else [float(value) for value in weight]
    values = given or [default]
    if len(values) not in (1, tasks):
        msg = f"weight has {len(values)} values for {tasks} fine-tunes; give one for all or one for each"
        raise OptionsError(msg)
    if not all(math.isfinite(value) for value in values):
        msg = f"weight is {values}: every weight must be finite"
        raise OptionsError(msg)
    return values if len(values) == tasks else values * tasks
