"""Bootstrap confidence intervals of ratios of sums: means, accuracies, bits per byte."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from analysis.errors import OptionsError

_DRAWS = 1 << 22
"""Most items drawn at a time."""


@dataclass(frozen=True)
class Interval:
    """A number, and the range that resampling the items gave it."""

    value: float
    low: float
    high: float


def bootstrap_ratio(
    numerators: Float64[Tensor, " items"],
    denominators: Float64[Tensor, " items"],
    generator: torch.Generator,
    *,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Compute ``Σ a_i / Σ b_i`` and its percentile bootstrap interval over items.

    Items are drawn with replacement, as many as there are; each resample gives one ratio, and the interval holds the
    middle `level` of them.

    Parameters
    ----------
    numerators, denominators
        a and b of every item: bits and bytes of a window of text, or 1 or 0 and 1 of a question.
    generator
        Source of the draws; the same state gives the same interval.
    resamples
        More make the ends of the interval steadier, at proportional cost.
    level
        Share of the resamples inside, in (0, 1); higher is wider.

    Returns
    -------
    The ratio and its interval. With one item the interval is the value itself, which says that nothing is known of its
    spread. NaN where a sum of numerators is NaN.

    Raises
    ------
    OptionsError
        If there are no items, or a setting is out of range.

    Notes
    -----
    O(items · resamples) time. Items are taken for independent: windows of one document are not quite, so the interval
    of a text is a little too narrow.

    References
    ----------
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3, the percentile interval.
    """
    items = numerators.shape[0]
    if items == 0 or resamples < 1 or not 0.0 < level < 1.0:
        msg = f"a bootstrap of {items} items, {resamples} resamples at level {level}: all must be positive, level < 1"
        raise OptionsError(msg)
    value = float(numerators.sum() / denominators.sum())
    ratios = []
    at_once = max(1, _DRAWS // items)
    for first in range(0, resamples, at_once):
        drawn = torch.randint(items, (min(at_once, resamples - first), items), generator=generator)
        ratios.append(numerators[drawn].sum(1) / denominators[drawn].sum(1))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(torch.cat(ratios), ends).tolist()
    return Interval(value, low, high)
