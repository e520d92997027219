"""Whether two weight tensors look like a base and a fine-tune of it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Relatedness:
    """Cosine of two weight vectors, and the size of their difference relative to the first."""

    cosine: float
    change: float


def relatedness(base: Float[Tensor, " size"], fine_tuned: Float[Tensor, " size"]) -> Relatedness:
    """Compute ``W0·W / (‖W0‖ ‖W‖)`` and ``‖W − W0‖ / ‖W0‖`` over the entries where both are finite.

    Returns
    -------
    Cosine 1 and change 0 for equal tensors, also when both are zero; an infinite change of a zero base.
    """
    finite = torch.isfinite(base) & torch.isfinite(fine_tuned)
    first, second = base[finite].double(), fine_tuned[finite].double()
    size = float(first.norm())
    change = float((second - first).norm())
    if change == 0.0:
        return Relatedness(1.0, 0.0)
    product = size * float(second.norm())
    cosine = float(first @ second) / product if product > 0 else 0.0
    return Relatedness(cosine, change / size if size > 0 else float("inf"))
