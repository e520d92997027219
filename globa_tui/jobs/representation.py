"""From hidden states to the document of ``represent --json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from analysis.representation import (
    Distances,
    bounds,
    difficulty,
    distances,
    hidden_sim,
    mergeable,
    select,
    why_undefined,
)

if TYPE_CHECKING:
    import torch

    from globa_tui.jobs.hidden_states import States

POSITIONS = ("last", "mean")
"""Where a state is taken: at the last token of an input, or averaged over all its tokens."""


def derive(
    about: Mapping[str, Any],
    states: Sequence[States],
    position: str = "last",
    choose: int | None = None,
    budget: float | None = None,
) -> dict[str, Any]:
    """Measure the fine-tunes against each other and against the base, at both positions and every layer.

    Parameters
    ----------
    about
        Models, inputs and settings, which the document begins with.
    states
        Of the base and of every fine-tune, in the order of the models.
    position
        Which position the choice and the budget go by.
    choose
        How many fine-tunes to choose; None chooses none.
    budget
        Largest distortion that a merge may have; None asks nothing.
    """
    first = states[0]
    measured = {name: _measures([getattr(one, name) for one in states], first.layers) for name in POSITIONS}
    document = {**about, "width": first.last.shape[2], "layers": list(first.layers), "position": position, **measured}
    if choose is not None:
        document["selection"] = _selection([getattr(one, position)[:, -1] for one in states[1:]], choose)
    if budget is not None:
        document["budget"] = _budget(measured[position]["diameter"], first.last.shape[2], len(states) - 1, budget)
    return document


def _measures(states: list[torch.Tensor], layers: Sequence[int]) -> dict[str, Any]:
    """Everything at one position; `states` has inputs × layers × width per model, the base first."""
    import torch

    by_layer = [distances(torch.stack([one[:, place] for one in states])) for place in range(len(layers))]
    found = _without_base(by_layer[-1])
    width, models = states[0].shape[2], len(states) - 1
    undefined = why_undefined(found.mean)
    similar = hidden_sim(found.mean) if undefined is None else None
    return {
        **_plain(by_layer[-1]),
        "hidden_sim": similar.tolist() if similar is not None else None,
        "mds": [_finite(score) for score in difficulty(similar).tolist()] if similar is not None else None,
        "undefined": undefined,
        "diameter": found.diameter,
        "bounds": asdict(bounds(found.diameter, width, models)),
        "by_layer": [{"layer": layer, **_plain(one)} for layer, one in zip(layers, by_layer, strict=True)],
    }


def _plain(measured: Distances) -> dict[str, Any]:
    """Distances of the fine-tunes from each other, and of each from the base."""
    found = _without_base(measured)
    return {
        "distance": found.mean.tolist(),
        "relative": found.relative.tolist(),
        "root_mean_square": found.root_mean_square.tolist(),
        "standard_error": [[_finite(value) for value in row] for row in found.standard_error.tolist()],
        "from_base": {"distance": measured.mean[0, 1:].tolist(), "relative": measured.relative[0, 1:].tolist()},
    }


def _without_base(measured: Distances) -> Distances:
    every = (measured.mean, measured.relative, measured.root_mean_square, measured.standard_error)
    return Distances(*(one[1:, 1:] for one in every))


def _selection(states: list[torch.Tensor], choose: int) -> dict[str, Any]:
    import torch

    mean = distances(torch.stack(states)).mean
    undefined = why_undefined(mean)
    if undefined is not None:
        return {"count": choose, "members": None, "worst_mds": None, "exact": True, "undefined": undefined}
    found = select(hidden_sim(mean), choose)
    members = [member + 1 for member in found.members]
    return {"count": choose, "members": members, "worst_mds": _finite(found.worst), "exact": found.exact}


def _budget(diameter: float, width: int, models: int, budget: float) -> dict[str, Any]:
    found = bounds(diameter, width, models)
    return {"distortion": budget, "mergeable": mergeable(found, budget), "corollary_1": found.high <= budget}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
