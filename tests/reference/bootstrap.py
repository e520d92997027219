"""The percentile bootstrap, one resample after another, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def percentile_interval(
    numerators: Array, denominators: Array, draws: NDArray[np.int64], level: float
) -> tuple[float, float]:
    """Ends of the interval over the given draws, one row of item numbers per resample."""
    ratios = sorted(
        sum(numerators[item] for item in row) / sum(denominators[item] for item in row) for row in draws.tolist()
    )
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        place = share * (len(ratios) - 1)
        below = int(np.floor(place))
        above = min(below + 1, len(ratios) - 1)
        ends.append(ratios[below] + (place - below) * (ratios[above] - ratios[below]))
    return ends[0], ends[1]
