"""Weights of the tasks in a merge."""

from collections.abc import Sequence

from analysis.errors import OptionsError
from analysis.merge.parameter import Parameter

WEIGHT = Parameter(
    "weight", "numbers", (), "w_i, for all models or for each; 1 when left out. 0 leaves a model out entirely"
)
SCALE = Parameter("scale", "number", 1.0, "λ, a factor on the merged task vector; higher strengthens every task")


_LARGEST = 1e30
"""Beyond it, sums of weights and products with entries leave the range of float32."""


def task_weights(weight: float | int | Sequence[float | int], tasks: int, default: float) -> list[float]:
    """One finite weight per task: from a number for all, one for each, or `default` when empty.

    Raises
    ------
    OptionsError
        If their number does not fit, or one is not finite.
    """
    return per_task("weight", weight, tasks, default)


def per_task(name: str, given: float | int | Sequence[float | int], tasks: int, default: float) -> list[float]:
    """As `task_weights`, for a parameter of another name."""
    listed = [float(given)] if isinstance(given, float | int) else [float(value) for value in given]
    values = listed or [default]
    if len(values) not in (1, tasks):
        msg = f"{name} has {len(values)} values for {tasks} fine-tunes; give one for all or one for each"
        raise OptionsError(msg)
    if not all(abs(value) <= _LARGEST for value in values):
        msg = (
            f"{name} is {values}: every {name} must be a number from -{_LARGEST:g} to {_LARGEST:g}, or it is too large"
        )
        raise OptionsError(msg)
    return values if len(values) == tasks else values * tasks
