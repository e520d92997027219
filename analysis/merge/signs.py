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
    first = vectors[0]()
    votes = torch.zeros_like(first)
    del first
    for make, weight in zip(vectors, weights, strict=True):
        vector = make()
        if elect == "frequency":
            votes.add_(vector.sign())
        else:
            # Products are rounded before they are added, as in mergekit: where votes cancel it decides the sign.
            votes.add_(vector * weight if elect == "weighted" else vector)
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
    elected = torch.where(elected == 0, torch.full_like(elected, tie), elected)
    merged, divisor = torch.zeros_like(votes), torch.zeros_like(votes)
    for make, weight in zip(vectors, weights, strict=True):
        vector = make()
        signs = (vector * weight if elect == "weighted" else vector).sign()
        agrees = (signs == elected) & (signs != 0)
        merged.add_(torch.where(agrees, vector, torch.zeros_like(vector)), alpha=weight)
        if combine != "sum":
            divisor.add_(agrees.to(divisor.dtype), alpha=weight if combine == "mean" else 1.0)
    if combine == "sum":
        return merged
    return merged.div_(torch.where(divisor == 0, torch.ones_like(divisor), divisor))
