"""Electing one sign per entry, and combining the task vectors that agree with it."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Elect = Literal["total", "weighted", "frequency"]
Combine = Literal["mean", "count", "sum"]

Vectors = Sequence[Callable[[], Tensor]]
"""Task vectors that are made when they are needed, so that one of them is in memory at a time."""


def sign_votes(vectors: Vectors, weights: Sequence[float], elect: Elect) -> Tensor:
    """Compute the votes ``Σ_i v_i``, whose sign is elected.

    v_i is τ_i (``total``), w_i τ_i (``weighted``) or sign τ_i (``frequency``).
    """
    votes: Tensor | None = None
    for make, weight in zip(vectors, weights, strict=True):
        vector = make()
        votes = torch.zeros_like(vector) if votes is None else votes
        if elect == "frequency":
            votes.add_(vector.sign())
        else:
            # Products are rounded before they are added, as in mergekit: where votes cancel it decides the sign.
            votes.add_(vector * weight if elect == "weighted" else vector)
    assert votes is not None, "there is no vote without a task vector"
    return votes


def combine_agreeing(
    vectors: Vectors, weights: Sequence[float], votes: Float[Tensor, "*shape"], elect: Elect, combine: Combine, tie: int
) -> Float[Tensor, "*shape"]:
    """Combine the entries whose sign is the elected one: ``Σ_{i∈A} w_i τ_i / d``.

    Parameters
    ----------
    vectors, weights
        τ_i and w_i.
    votes
        From `sign_votes`.
    elect
        With ``weighted``, the sign of w_i τ_i must be the elected one, else that of τ_i.
    combine
        d is the sum of the weights of the agreeing entries, where that is not 0 (``mean``), their number (``count``),
        or 1 (``sum``).
    tie
        Sign that is elected where the votes are 0: 1, −1, or 0 for none.
    """
    elected = votes.sign()
    if tie:
        elected.add_(votes == 0, alpha=tie)
    merged, divisor = torch.zeros_like(votes), torch.zeros_like(votes)
    for make, weight in zip(vectors, weights, strict=True):
        vector = make()
        agrees = (vector * weight if elect == "weighted" else vector) * elected > 0
        merged.add_(vector * agrees, alpha=weight)
        if combine != "sum":
            divisor.add_(agrees, alpha=weight if combine == "mean" else 1.0)
    return merged if combine == "sum" else merged.div_(divisor.add_(divisor == 0))
