"""The truncated singular value decomposition of a task vector."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import DecompositionError, LinAlgError, OptionsError
from analysis.spectrum import largest_rank_within, numerical_rank
from analysis.task_vector import require_finite


@dataclass(frozen=True)
class TruncatedSVD:
    """The leading part of ``τ = U Σ Vᵀ`` and the singular values of the whole.

    `left` is U (rows × rank), `right` is V (cols × rank), both with orthonormal columns in the working precision;
    `singular_values` is the kept part of `spectrum`, which holds all min(rows, cols) values, largest first, in float64.
    `method` says how they were found: ``gram`` (eigenvectors of the smaller Gram matrix) or ``svd`` (LAPACK).
    """

    left: Float[Tensor, "rows rank"]
    singular_values: Float[Tensor, " rank"]
    right: Float[Tensor, "cols rank"]
    spectrum: Float[Tensor, " full"]
    method: str

    @property
    def rank(self) -> int:
        """Number of triplets kept."""
        return self.singular_values.shape[0]

    @property
    def energy(self) -> float:
        """Energy of the truncated task vector, ``Σ_{j≤k} σ_j²``."""
        return float(self.singular_values.square().sum())


def truncated_svd(matrix: Float[Tensor, "rows cols"], energy: float) -> TruncatedSVD:
    """Decompose `matrix` and keep the largest rank whose energy stays within `energy`.

    The eigenvectors of the smaller Gram matrix (``τᵀτ`` or ``ττᵀ``), formed and decomposed in float64, give one side;
    the other follows as ``τ V Σ⁻¹``. That costs less than an SVD and, since everything small is float64, moves less
    under rounding than an SVD in float32. Squaring loses what lies below ``σ_1 √eps``: where the smallest kept value
    comes near that, LAPACK's SVD in float64 takes over.

    Parameters
    ----------
    matrix
        A task vector in float32 or float64.
    energy
        Share of ``‖τ‖_F²`` in (0, 1]. Raising it keeps more rank; 1 keeps the numerical rank.

    Returns
    -------
    The kept triplets, vectors in the dtype of `matrix`. A zero matrix has rank 0; one with an empty side has an empty
    spectrum.

    Raises
    ------
    NotFiniteError
        If the matrix holds NaN or infinity.
    DecompositionError
        If LAPACK does not converge in float64.

    Notes
    -----
    With s = min(m, n): ``m n s`` for the Gram matrix, about ``9 s³`` for its eigenvectors, ``m n k`` for the other
    side; memory 3 s² float64 besides the result.

    References
    ----------
    GLOBA, section 4.2, equation 10; the rank is the rule of the authors' code.
    """
    if not 0.0 < energy <= 1.0:
        msg = f"energy is {energy}: a share of energy lies in (0, 1]"
        raise OptionsError(msg)
    if matrix.numel() == 0 or not bool(matrix.any()):
        return _empty(matrix)
    if matrix.shape[0] < matrix.shape[1]:
        flipped = truncated_svd(matrix.mT, energy)
        return TruncatedSVD(
            left=flipped.right,
            singular_values=flipped.singular_values,
            right=flipped.left,
            spectrum=flipped.spectrum,
            method=flipped.method,
        )
    require_finite(matrix, "the matrix")
    scale = float(matrix.abs().max())
    return _from_gram(matrix, energy, scale) or _from_lapack(matrix, energy)


def _empty(matrix: Float[Tensor, "rows cols"]) -> TruncatedSVD:
    rows, cols = matrix.shape
    return TruncatedSVD(
        left=matrix.new_zeros(rows, 0),
        singular_values=torch.zeros(0, dtype=torch.float64, device=matrix.device),
        right=matrix.new_zeros(cols, 0),
        spectrum=torch.zeros(min(rows, cols), dtype=torch.float64, device=matrix.device),
        method="gram",
    )


def _from_gram(matrix: Float[Tensor, "rows cols"], energy: float, scale: float) -> TruncatedSVD | None:
    """Decompose a tall matrix through ``τᵀτ``; None where the bound on its rounding is not met."""
    try:
        eigenvalues, vectors = torch.linalg.eigh(_gram(matrix, scale))
    except LinAlgError:
        return None
    spectrum = eigenvalues.flip(0).clamp(min=0).sqrt() * scale
    rank = _rank(spectrum, energy, matrix)
    if float(spectrum[rank - 1]) < _resolved(matrix.dtype) * float(spectrum[0]):
        return None
    right = vectors.flip(1)[:, :rank]
    return TruncatedSVD(
        left=_times(matrix, right / spectrum[:rank]),
        singular_values=spectrum[:rank].clone(),
        right=right.to(matrix.dtype).contiguous(),
        spectrum=spectrum,
        method="gram",
    )


def _from_lapack(matrix: Float[Tensor, "rows cols"], energy: float) -> TruncatedSVD:
    try:
        left, spectrum, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    except LinAlgError:
        msg = f"the SVD of a {matrix.shape[0]}×{matrix.shape[1]} matrix did not converge in float64"
        raise DecompositionError(msg) from None
    rank = _rank(spectrum, energy, matrix)
    return TruncatedSVD(
        left=left[:, :rank].to(matrix.dtype).contiguous(),
        singular_values=spectrum[:rank].clone(),
        right=right.mT[:, :rank].to(matrix.dtype).contiguous(),
        spectrum=spectrum,
        method="svd",
    )


def _rank(spectrum: Float[Tensor, " full"], energy: float, matrix: Float[Tensor, "rows cols"]) -> int:
    return min(largest_rank_within(spectrum, energy), numerical_rank(spectrum, max(matrix.shape), matrix.dtype))


def _resolved(dtype: torch.dtype) -> float:
    """Smallest σ_k/σ_1 at which a float64 Gram matrix is good for `dtype`: its vectors err by ``eps64 (σ_1/σ_k)²``.

    1e-5 gives 2e-6 for float32; 1e-2 gives 2e-12 for float64.
    """
    return 1e-2 if dtype == torch.float64 else 1e-5


def _gram(matrix: Float[Tensor, "rows cols"], scale: float, chunk: int = 1024) -> Float[Tensor, "cols cols"]:
    """``(τ/scale)ᵀ(τ/scale)`` in float64; only the blocks that touch the lower triangle, which is what eigh reads.

    By row chunks, so that no float64 copy of τ is held; the scale keeps squares of huge or tiny entries in range.
    """
    cols = matrix.shape[1]
    result = torch.zeros(cols, cols, dtype=torch.float64, device=matrix.device)
    width = max(256, -(-cols // 8))
    for start in range(0, matrix.shape[0], chunk):
        rows = matrix[start : start + chunk].to(torch.float64, copy=True).div_(scale)
        for left in range(0, cols, width):
            result[left:, left : left + width].addmm_(rows[:, left:].mT, rows[:, left : left + width])
    return result


def _times(
    matrix: Float[Tensor, "rows cols"], factor: Float[Tensor, "cols rank"], chunk: int = 1024
) -> Float[Tensor, "rows rank"]:
    """``τ B`` computed in float64 by row chunks, rounded once to the dtype of τ."""
    result = matrix.new_empty(matrix.shape[0], factor.shape[1])
    for start in range(0, matrix.shape[0], chunk):
        result[start : start + chunk] = matrix[start : start + chunk].double() @ factor
    return result
