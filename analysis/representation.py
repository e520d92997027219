"""Distances between the hidden states of fine-tunes, and what the collapse paper derives from them.

One vector per model and input. Everything is computed in float64, whatever the states are stored in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError


@dataclass(frozen=True)
class Distances:
    """How far apart models are on the same inputs; symmetric, zero on the diagonal."""

    mean: Float[Tensor, "models models"]
    """``d_ij``: mean over the inputs of ``‖h_i − h_j‖``."""
    relative: Float[Tensor, "models models"]
    """``d_ij`` over the mean norm of the states of both models; 0 where both are zero."""
    root_mean_square: Float[Tensor, "models models"]
    """``√(mean ‖h_i − h_j‖²)``, the distance of Theorem 1; never below `mean`."""
    standard_error: Float[Tensor, "models models"]
    """Of `mean`, from how the inputs differ: ``s / √inputs``. NaN for one input."""

    @property
    def diameter(self) -> float:
        """``Δ``: the largest root-mean-square distance."""
        return float(self.root_mean_square.max()) if self.root_mean_square.numel() else 0.0


def distances(states: Float[Tensor, "models inputs width"]) -> Distances:
    """Compare every two models.

    Parameters
    ----------
    states
        ``h_i(x)``, one vector for every model and input.

    Returns
    -------
    Four matrices, float64 on the CPU. O(models² · inputs · width) time, memory of one model in float64.

    References
    ----------
    The collapse paper, §3.4.2 and Theorem 1. It says "normalized L2 distance averaged across each datapoint" without
    saying by what; here `mean` is not normalized, and `relative` is by the mean norm.
    """
    count = len(states)
    mean, square, error = (torch.zeros(count, count, dtype=torch.float64) for _ in range(3))
    for i in range(count):
        mine = states[i].double()
        for j in range(i):
            apart = (mine - states[j].double()).norm(dim=-1)
            mean[i, j] = mean[j, i] = apart.mean()
            square[i, j] = square[j, i] = apart.square().mean()
            spread = apart.var() if len(apart) > 1 else torch.tensor(math.nan)
            error[i, j] = error[j, i] = (spread / len(apart)).sqrt()
    norms = torch.stack([one.double().norm(dim=-1).mean().cpu() for one in states]) if count else mean[0]
    size = (norms[:, None] + norms[None, :]) / 2
    relative = torch.where(size > 0, mean / torch.where(size > 0, size, 1.0), 0.0)
    return Distances(mean, relative, square.sqrt(), error)


def why_undefined(mean: Float[Tensor, "models models"]) -> str | None:
    """Say why the distances give no HiddenSim, in words for the reader; None where they do."""
    apart = _pairs(mean)
    if len(apart) < 2:
        count = len(mean)
        return (
            f"HiddenSim compares the distances of several pairs, and {count} fine-tunes make {len(apart)}: "
            "it would be 0/0. Judge the distance itself, or add a fine-tune"
        )
    if not float(apart.max()) > float(apart.min()):
        return "HiddenSim is 0/0 where all distances are equal; judge the distances themselves"
    return None


def hidden_sim(mean: Float[Tensor, "models models"]) -> Float[Tensor, "models models"]:
    """Turn distances into similarities within the group.

    ``HiddenSim(i, j) = (max D − d_ij) / (max D − min D)`` over all pairs i < j, 1 on the diagonal.

    Parameters
    ----------
    mean
        ``d_ij``, for which `why_undefined` says None.

    Returns
    -------
    Symmetric, in [0, 1]: 1 for the closest pair, 0 for the farthest. It orders the pairs of one group and says
    nothing about another group.

    References
    ----------
    The collapse paper, eq. 2.
    """
    apart = _pairs(mean)
    largest, smallest = apart.max(), apart.min()
    similar = ((largest - mean) / (largest - smallest)).clamp(0.0, 1.0)
    return similar.fill_diagonal_(1.0)


def difficulty(similar: Float[Tensor, "models models"]) -> Float[Tensor, " models"]:
    """Compute the merging difficulty score of every model.

    ``MDS_i = 1 / mean_{j≠i} HiddenSim(i, j)``: 1 is easiest, infinite where a model is farthest from all others.

    References
    ----------
    The collapse paper, eq. 3.
    """
    others = len(similar) - 1
    return others / (similar.sum(dim=1) - similar.diagonal())


@dataclass(frozen=True)
class Bounds:
    """Between which distortions the best merge of a group lies, by its diameter alone.

    Distortion is the largest over the models of the mean ``‖h_merged − h_i‖²``.
    """

    low: float
    """``Δ²/4``: no merge of any kind stays below it."""
    high: float
    """``d / (2 (d + 1)) Δ²``: the paper's bound for the best convex merge, d the width of the states."""
    high_of_group: float
    """``(N − 1) / (2 N) Δ²``: the same bound by the number of models, see the notes of `bounds`."""


def bounds(diameter: float, width: int, models: int) -> Bounds:
    """Bound the distortion of the best merge.

    Parameters
    ----------
    diameter
        ``Δ``, of root-mean-square distances.
    width
        d, numbers in a hidden state.
    models
        N, at least 1.

    Notes
    -----
    The upper bounds assume linear mode connectivity: hidden states that are linear in the weights. The paper applies
    Jung's theorem in ℝ^d input by input, which lets the centre, and so the merge, differ from input to input. With one
    merge for all inputs the states of a model are one point of a space with a coordinate for every input and
    component; N points span N − 1 of its dimensions, so Jung's theorem gives ``(N − 1) / (2 N)``. Where d < N − 1
    that is the larger number and the paper's is too small (three models that each differ from the others on one of
    three inputs, d = 1: the best merge has 2/9, the paper's bound is 1/6); where d > N − 1 it is the sharper one.

    References
    ----------
    The collapse paper, Theorem 1 and Appendix C.
    """
    square = diameter * diameter
    return Bounds(square / 4, width / (2 * (width + 1)) * square, (models - 1) / (2 * models) * square)


def mergeable(found: Bounds, budget: float) -> bool | None:
    """Whether a merge within a budget of distortion exists; None where the bounds leave it open.

    Notes
    -----
    Corollary 1 says "mergeable iff ``d / (2 (d + 1)) Δ² ≤ budget``". Theorem 1 gives only one direction of that: above
    the upper bound there is a merge, below the lower one there is none, and between them it does not say. The upper
    bound taken here is that of the group, which holds for any number of inputs.
    """
    if found.high_of_group <= budget:
        return True
    return False if budget < found.low else None


def _pairs(square: Float[Tensor, "models models"]) -> Float[Tensor, " pairs"]:
    """Entries above the diagonal."""
    row, column = torch.triu_indices(len(square), len(square), offset=1)
    return square[row, column]


@dataclass(frozen=True)
class Selection:
    """Which models of a group to merge."""

    members: tuple[int, ...]
    """Ascending, counted from 0."""
    worst: float
    """The largest MDS among them."""
    exact: bool
    """Whether every choice was compared; otherwise the hardest model was left out again and again."""


MOST_CHOICES = 20_000
"""Up to so many choices are all compared, which takes a second or two."""


def select(similar: Float[Tensor, "models models"], count: int) -> Selection:
    """Choose the models whose worst merging difficulty is lowest.

    Parameters
    ----------
    similar
        HiddenSim of the whole group. It is not computed anew within a choice: that would give the farthest pair of
        any choice 0, and choices could not be compared.
    count
        How many to choose, 2 to the number of models.

    Returns
    -------
    The choice; of equal ones that of the lowest mean MDS, then the first.

    Raises
    ------
    OptionsError
        When so many cannot be chosen.

    References
    ----------
    The collapse paper, §3.4.4 "Merging Tasks Selection Guiding", which replaces the task of the highest MDS.
    """
    models = len(similar)
    if not 2 <= count <= models:
        msg = f"{count} of {models} models cannot be chosen; choose 2 to {models}"
        raise OptionsError(msg)
    if math.comb(models, count) <= MOST_CHOICES:
        best = min(combinations(range(models), count), key=lambda choice: (*_scores(similar, choice), choice))
        return Selection(best, _scores(similar, best)[0], exact=True)
    left = list(range(models))
    while len(left) > count:
        left = min(([one for one in left if one != out] for out in left), key=lambda rest: _scores(similar, rest))
    return Selection(tuple(left), _scores(similar, left)[0], exact=False)


def _scores(similar: Float[Tensor, "models models"], choice: Sequence[int]) -> tuple[float, float]:
    """Worst and mean MDS within a choice."""
    rows = torch.tensor(list(choice))
    found = difficulty(similar[rows][:, rows])
    return float(found.max()), float(found.mean())
