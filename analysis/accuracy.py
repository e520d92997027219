"""How well a decomposition holds, measured with a few probe vectors."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

PROBES = 8
_SEED = 20260


@dataclass(frozen=True)
class Accuracy:
    """Two relative errors of singular triplets, estimated from `PROBES` random vectors.

    `residual` is the larger of ``‖τ V − U Σ‖_F`` and ``‖τᵀ U − V Σ‖_F`` over ``‖Σ‖_F``. `orthogonality` is the larger
    of ``‖UᵀU − I‖_F`` and ``‖VᵀV − I‖_F`` over ``√k``. An estimate from eight probes is within a factor of two of the
    norm nearly always.
    """

    residual: float
    orthogonality: float

    def within(self, dtype: torch.dtype) -> bool:
        """Whether both errors are below the bound for a working precision; NaN is not."""
        bound = accuracy_bound(dtype)
        return self.residual <= bound and self.orthogonality <= bound


EXACT = Accuracy(0.0, 0.0)


def accuracy_bound(dtype: torch.dtype) -> float:
    """Largest error that is accepted: 2e-6 for float32 and 1e-11 for float64, a fifth of what is promised, or less."""
    return 1e-11 if dtype == torch.float64 else 2e-6


Images = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From X (cols × p) and Y (rows × p), both float64: ``τ X`` and ``τᵀ Y``."""


def measure_accuracy(
    images: Images, left: Float[Tensor, "rows rank"], values: Float[Tensor, " rank"], right: Float[Tensor, "cols rank"]
) -> Accuracy:
    """Estimate residual and orthogonality of triplets of the task vector that `images` applies.

    For a Gaussian g, ``E ‖X g‖² = ‖X‖_F²``: the errors are applied to the same seeded g and never formed.

    Notes
    -----
    O((m + n) k p) for p probes besides the images.
    """
    if values.shape[0] == 0:
        return EXACT
    generator = torch.Generator().manual_seed(_SEED)
    probes = torch.randn(values.shape[0], PROBES, dtype=torch.float64, generator=generator).to(values.device)
    scaled = values.double()[:, None] * probes
    inputs, outputs = right.double() @ probes, left.double() @ probes
    forward, backward = images(inputs, outputs)
    forward, backward = forward - left.double() @ scaled, backward - right.double() @ scaled
    defects = [left.double().mT @ outputs - probes, right.double().mT @ inputs - probes]
    return Accuracy(
        residual=max(float(forward.norm()), float(backward.norm())) / float(scaled.norm()),
        orthogonality=max(float(defect.norm()) for defect in defects) / float(probes.norm()),
    )


def images_of(matrix: Float[Tensor, "rows cols"], chunk: int = 1024) -> Images:
    """Products with a dense matrix: one float64 pass over it by row chunks."""

    def images(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        forward, backward = torch.zeros_like(outputs), torch.zeros_like(inputs)
        for start in range(0, matrix.shape[0], chunk):
            rows = matrix[start : start + chunk].double()
            forward[start : start + chunk] = rows @ inputs
            backward.addmm_(rows.mT, outputs[start : start + chunk])
        return forward, backward

    return images
