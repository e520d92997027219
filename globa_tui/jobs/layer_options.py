"""From the settings of a run to the options of the mathematics."""

from __future__ import annotations

import torch

from analysis.layer import LayerOptions
from globa_tui.jobs.settings import AnalysisSettings


def layer_options(settings: AnalysisSettings) -> LayerOptions:
    """How to analyse one layer; `settings` hold one value for each fine-tune."""
    return LayerOptions(
        svd_energy=settings.svd_energy,
        eta=settings.eta,
        basis_energy=settings.basis_energy,
        basis=settings.basis,
        anchor=settings.anchor - 1,
        pairs=settings.pairs,
        dtype=torch.float64 if settings.precision == "float64" else torch.float32,
    )
