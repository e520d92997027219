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
    both = torch.cat([probes, scaled], dim=1)
    (inputs, right_scaled), (outputs, left_scaled) = (_apply(side, both).chunk(2, dim=1) for side in (right, left))
    forward, backward = images(inputs, outputs)
    forward, backward = forward - left_scaled, backward - right_scaled
    defects = [_project(left, outputs) - probes, _project(right, inputs) - probes]
    return Accuracy(
        residual=max(float(forward.norm()), float(backward.norm())) / float(scaled.norm()),
        orthogonality=max(float(defect.norm()) for defect in defects) / float(probes.norm()),
    )


def _apply(
    vectors: Float[Tensor, "dim rank"], factor: Float[Tensor, "rank some"], chunk: int = 1024
) -> Float[Tensor, "dim some"]:
    """``U B`` in float64, by row chunks."""
    return torch.cat([part.double() @ factor for part in torch.split(vectors, chunk)])


def _project(
    vectors: Float[Tensor, "dim rank"], columns: Float[Tensor, "dim some"], chunk: int = 1024
) -> Float[Tensor, "rank some"]:
    """``Uᵀ X`` in float64, by row chunks; transposed, because thin matrices from the right are slow."""
    result = columns.new_zeros(columns.shape[1], vectors.shape[1])
    for part, some in zip(torch.split(vectors, chunk), torch.split(columns, chunk), strict=True):
        result.addmm_(some.mT, part.double())
    return result.mT


def images_of(matrix: Float[Tensor, "rows cols"], chunk: int = 1024) -> Images:
    """Products with a dense matrix: one float64 pass over it by row chunks."""

    def images(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        forward, backward = torch.zeros_like(outputs), inputs.new_zeros(inputs.shape[1], inputs.shape[0])
        for start in range(0, matrix.shape[0], chunk):
            rows = matrix[start : start + chunk].double()
            forward[start : start + chunk] = rows @ inputs
            backward.addmm_(outputs[start : start + chunk].mT, rows)
        return forward, backward.mT

    return images
