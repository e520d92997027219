"""Task vectors given as a product of two factors, as a LoRA adapter gives them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.accuracy import measure_accuracy
from analysis.decompose import TruncatedSVD
from analysis.errors import AnalysisError, DecompositionError, LinAlgError, NotFiniteError, OptionsError
from analysis.spectrum import largest_rank_within, numerical_rank


@dataclass(frozen=True)
class Product:
    """The task vector ``τ = left @ right``, of any floating dtype; a scale belongs into one of the factors."""

    left: Float[Tensor, "rows inner"]
    right: Float[Tensor, "inner cols"]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the product."""
        return self.left.shape[0], self.right.shape[1]

    @property
    def norm(self) -> float:
        """``‖τ‖_F``, from the factors: ``‖B A‖²`` is the sum of the entries of ``(Bᵀ B) ∘ (A Aᵀ)``."""
        left, right = self.left.double(), self.right.double()
        return float(((left.mT @ left) * (right @ right.mT)).sum().clamp(min=0).sqrt())

    def dense(self, dtype: torch.dtype) -> Float[Tensor, "rows cols"]:
        """Multiply the factors in `dtype`, as wide as the task vector: 2 m n r operations."""
        return self.left.to(dtype) @ self.right.to(dtype)


def truncated_svd_of_product(product: Product, energy: float, dtype: torch.dtype = torch.float32) -> TruncatedSVD:
    """Decompose ``τ = B A`` without forming it, and keep the largest rank whose energy stays within `energy`.

    With ``B = Q_1 R_1`` and ``Aᵀ = Q_2 R_2`` the SVD of the small matrix ``R_1 R_2ᵀ = X Σ Yᵀ`` gives
    ``τ = (Q_1 X) Σ (Q_2 Y)ᵀ``. The same triplets as `analysis.decompose.truncated_svd` of the product finds.

    Parameters
    ----------
    product
        The factors.
    energy
        Share of ``‖τ‖_F²`` in (0, 1]. Raising it keeps more rank; 1 keeps the numerical rank.
    dtype
        Of the vectors; everything is computed in float64.

    Returns
    -------
    The kept triplets; `spectrum` has min(m, n) values, of which all but r are zero.

    Raises
    ------
    NotFiniteError
        If a factor holds NaN or infinity.
    DecompositionError
        If LAPACK does not converge.

    Notes
    -----
    O((m + n) r² + r³) for m×r and r×n factors; memory O((m + n) r).
    """
    if not 0.0 < energy <= 1.0:
        msg = f"energy is {energy}: a share of energy lies in (0, 1]"
        raise OptionsError(msg)
    left, right = product.left.double(), product.right.double()
    for side, factor in (("left", left), ("right", right)):
        bad = int((~torch.isfinite(factor)).sum())
        if bad:
            msg = f"the {side} factor holds {bad} NaN or infinite entries of {factor.numel()}"
            raise NotFiniteError(msg)
    rows, cols = product.shape
    try:
        left_basis, left_triangle = torch.linalg.qr(left)
        right_basis, right_triangle = torch.linalg.qr(right.mT)
        first, values, second = torch.linalg.svd(left_triangle @ right_triangle.mT, full_matrices=False)
    except LinAlgError:
        msg = f"the SVD of a product of rank {left.shape[1]} for {rows}×{cols} did not converge"
        raise DecompositionError(msg) from None
    spectrum = torch.zeros(min(rows, cols), dtype=torch.float64, device=left.device)
    spectrum[: values.shape[0]] = values
    rank = min(largest_rank_within(values, energy), numerical_rank(values, max(rows, cols), dtype))
    first, second = (left_basis @ first[:, :rank]).to(dtype), (right_basis @ second.mT[:, :rank]).to(dtype)
    return TruncatedSVD(
        left=first,
        singular_values=values[:rank].clone(),
        right=second,
        spectrum=spectrum,
        method="factors",
        total_energy=float(values.square().sum()),
        spectrum_complete=True,
        accuracy=measure_accuracy(
            lambda inputs, outputs: (left @ (right @ inputs), right.mT @ (left.mT @ outputs)),
            first,
            values[:rank],
            second,
        ),
    )


def require_shape(product: Product, shape: tuple[int, ...]) -> None:
    """Raise `AnalysisError` when a product does not have the base's shape."""
    if product.shape != shape:
        msg = f"the factors make a {product.shape[0]}×{product.shape[1]} matrix, the base has shape {shape}"
        raise AnalysisError(msg)
