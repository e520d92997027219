"""Dropping entries of a task vector at random, and making up for it (DARE)."""

import hashlib
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.merge.method import Parameter

Rescale = Literal["inverse", "norm", "none"]

SEED = Parameter("seed", "integer", 0, "seed of the random masks", 0.0, 2.0**63)
RESCALE = Parameter(
    "rescale",
    "word",
    "inverse",
    "multiply what is kept by 1/density, by the ratio of the L1 norms before and after, or not at all",
    words=("inverse", "norm", "none"),
)


def keep_mask(shape: torch.Size, density: float, seed: int, name: str, model: int) -> Bool[Tensor, "..."]:
    """Draw which entries of a tensor are kept: each with probability `density`, independently.

    The generator's seed is the SHA-256 of seed, tensor name and model number, and it runs on the CPU: the mask is the
    same whatever the order of tensors, the device and the number of threads.
    """
    digest = hashlib.sha256(f"{seed}\0{model}\0{name}".encode("utf-8", "surrogatepass")).digest()
    generator = torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu") < density


def drop(
    vector: Float[Tensor, "*shape"], density: float, rescale: Rescale, seed: int, name: str, model: int
) -> Float[Tensor, "*shape"]:
    """Compute ``τ̂ = s · m ⊙ τ`` with a random mask m and ``s = 1/density`` (``inverse``) or ``‖τ‖₁/‖m⊙τ‖₁`` (``norm``).

    References
    ----------
    Yu et al., Language models are super Mario, ICML 2024, equation 2; ``norm`` is mergekit's rule.
    """
    if density >= 1.0:
        return vector
    mask = keep_mask(vector.shape, density, seed, name, model).to(vector.device)
    kept = torch.where(mask, vector, torch.zeros_like(vector))
    if rescale == "inverse":
        return kept.div_(density)
    if rescale == "norm":
        before, after = (float(one.abs().sum(dtype=torch.float64)) for one in (vector, kept))
        # mergekit leaves a norm this small alone.
        if before > 1e-7 and after > 1e-7:
            kept.mul_(before / after)
    return kept
