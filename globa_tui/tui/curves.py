"""Spectra reduced to what a plot of a terminal can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

POINTS = 240


@dataclass(frozen=True, slots=True)
class Curve:
    """Singular values of one task vector and the energy that the first r of them hold."""

    rank: tuple[float, ...]
    """Rank r, from 1."""
    sigma: tuple[float, ...]
    """The r-th singular value."""
    energy: tuple[float, ...]
    """Share of ‖τ‖² in the first r directions, from 0 to 1."""


def curve(singular_values: Any, norm: float | None) -> Curve:
    """Reduce a spectrum to at most `POINTS` points.

    Parameters
    ----------
    singular_values : array
        Descending singular values, possibly not all of them.
    norm : float, optional
        ‖τ‖; counts the energy of the singular values that were not computed.
    """
    import numpy as np

    sigma = np.nan_to_num(np.asarray(singular_values, dtype=float).ravel(), nan=0.0, posinf=0.0, neginf=0.0)
    if not len(sigma):
        return Curve((), (), ())
    squares = sigma**2
    total = max(float(squares.sum()), (norm or 0.0) ** 2)
    energy = np.cumsum(squares) / total if total > 0 else np.zeros_like(sigma)
    picked = np.unique(np.linspace(0, len(sigma) - 1, min(POINTS, len(sigma))).round().astype(int))
    return Curve(
        tuple((picked + 1.0).tolist()), tuple(sigma[picked].tolist()), tuple(np.minimum(energy[picked], 1.0).tolist())
    )
