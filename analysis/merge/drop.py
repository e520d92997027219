"""Dropping entries of a task vector at random, and making up for it (DARE)."""

import hashlib
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.merge.method import BLOCK, Parameter

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
    rescale: Rescale,
    seed: int,
    name: str,
    model: int,
    first: int = 0,
) -> Float[Tensor, "*shape"]:
    """Compute ``τ̂ = s · m ⊙ τ`` with a random mask m and ``s = 1/density`` (``inverse``) or ``‖τ‖₁/‖m⊙τ‖₁`` (``norm``).

    References
    ----------
    Yu et al., Language models are super Mario, ICML 2024, equation 2; ``norm`` is mergekit's rule.
    """
    if density >= 1.0:
        return vector
    mask = keep_mask(vector.shape, density, seed, name, model, first).to(vector.device)
    kept = torch.where(mask, vector, torch.zeros_like(vector))
    if rescale == "inverse":
        return kept.div_(density)
    if rescale == "norm":
        before, after = (float(one.abs().sum(dtype=torch.float64)) for one in (vector, kept))
        # mergekit leaves a norm this small alone.
        if before > 1e-7 and after > 1e-7:
            kept.mul_(before / after)
    return kept
