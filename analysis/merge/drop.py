"""Dropping entries of a task vector at random, and making up for it (DARE)."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.merge.context import BLOCK, TensorContext
from analysis.merge.parameter import Parameter

Rescale = Literal["inverse", "norm", "none"]

SEED = Parameter("seed", "integer", 0, "seed of the random masks", 0.0, 2.0**63)
RESCALE = Parameter(
    "rescale",
    "word",
    "inverse",
    "multiply what is kept by 1/density, by the ratio of the L1 norms before and after, or not at all",
    words=("inverse", "norm", "none"),
)


def keep_mask(
    shape: torch.Size, density: float, seed: int, name: str, model: int, first: int = 0
) -> Bool[Tensor, "..."]:
    """Draw which entries of a tensor are kept: each with probability `density`, independently.

    Every block of `BLOCK` flat entries has a generator of its own, whose seed is the SHA-256 of seed, model number,
    place of the block and tensor name, and which runs on the CPU: the mask is the same whatever the order of tensors,
    the device and the number of threads, and for a part of the tensor, of which `first` is the place.
    """
    kept = torch.empty(shape.numel(), dtype=torch.bool)
    for start in range(0, shape.numel(), BLOCK):
        words = f"{seed}\0{model}\0{first + start}\0{name}".encode("utf-8", "surrogatepass")
        number = int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1
        generator = torch.Generator(device="cpu").manual_seed(number)
        part = kept[start : start + BLOCK]
        torch.lt(torch.rand(part.shape, generator=generator, dtype=torch.float32, device="cpu"), density, out=part)
    return kept.reshape(shape)


def drop(
    vector: Float[Tensor, "*shape"],
    density: float,
    factor: float,
    seed: int,
    name: str,
    model: int,
    first: int = 0,
) -> Callable[[], Float[Tensor, "*shape"]]:
    """Prepare ``τ̂ = s · m ⊙ τ`` with a random mask m and the factor s; m is drawn at the first call and kept.

    References
    ----------
    Yu et al., Language models are super Mario, ICML 2024, equation 2.
    """
    if density >= 1.0:
        return lambda: vector
    mask = cache(lambda: keep_mask(vector.shape, density, seed, name, model, first).to(vector.device))

    def dropped() -> Tensor:
        kept = vector * mask()
        return kept if factor == 1.0 else kept.mul_(factor)

    return dropped


class NormRatios:
    """One pass over a tensor for ``s = ‖τ‖₁/‖m⊙τ‖₁`` of each model, mergekit's rule.

    Parameters
    ----------
    shares
        Density of each model.
    seed
        Of the masks.
    """

    def __init__(self, shares: Sequence[float], seed: int) -> None:
        self._shares, self._seed = shares, seed
        self._sums = [[0.0, 0.0] for _ in shares]
        self.done = False
        """Whether every part was seen."""

    def see(self, task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext) -> None:
        """Add up the magnitudes of the next part, before and after the drop."""
        for model, (vector, share, sums) in enumerate(zip(task_vectors, self._shares, self._sums, strict=True)):
            if share < 1.0:
                kept = drop(vector, share, 1.0, self._seed, context.name, model, context.first)()
                sums[0] += float(vector.abs().sum(dtype=torch.float64))
                sums[1] += float(kept.abs().sum(dtype=torch.float64))

    def end_pass(self) -> None:
        """All parts were seen."""
        self.done = True

    def ratio(self, model: int) -> float:
        """The factor of one model; mergekit leaves a norm as small as 1e-7 alone."""
        before, after = self._sums[model]
        return before / after if before > 1e-7 and after > 1e-7 else 1.0


def factors(rescale: Rescale, shares: Sequence[float], found: object) -> list[float]:
    """The factor s of every model: 1/density (``inverse``), what `NormRatios` found (``norm``), or 1 (``none``)."""
    if rescale == "norm":
        assert isinstance(found, NormRatios), "rescale=norm needs a pass over the tensor"
        return [found.ratio(model) for model in range(len(shares))]
    return [1.0 / share if rescale == "inverse" else 1.0 for share in shares]
