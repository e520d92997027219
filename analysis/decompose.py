"""The truncated singular value decomposition of a task vector."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from analysis import range_finder
from analysis.accuracy import EXACT, Accuracy, images_of, measure_accuracy
from analysis.errors import DecompositionError, LinAlgError, OptionsError
from analysis.gram import eigenvectors_in_place, gram_matrix, product
from analysis.spectrum import largest_rank_within, numerical_rank
from analysis.task_vector import frobenius_norm, require_finite


@dataclass(frozen=True)
class TruncatedSVD:
    """The leading part of ``τ = U Σ Vᵀ`` and what is known of the rest.

    `left` is U (rows × rank), `right` is V (cols × rank), both with orthonormal columns in the working precision.
    `singular_values` is the kept part of `spectrum`, which holds every value that was computed, largest first, in
    float64: all min(rows, cols) of them when `spectrum_complete`, else only those that the rank rule needed, or all
    above the numerical rank. `total_energy` is ``‖τ‖_F²`` of the whole. `accuracy` was measured on these triplets.

    `beyond` has vectors, left and right, near those of values that are not small and yet were not kept, where the
    search came upon some.

    `method` says how they were found: ``gram`` (eigenvectors of the smaller Gram matrix), ``range`` (randomised
    subspace iteration), ``factors`` (from two thin factors) or ``svd`` (LAPACK).
    """

    left: Float[Tensor, "rows rank"]
    singular_values: Float[Tensor, " rank"]
    right: Float[Tensor, "cols rank"]
    spectrum: Float[Tensor, " computed"]
    method: str
    total_energy: float
    spectrum_complete: bool
    accuracy: Accuracy
    beyond: tuple[Float[Tensor, "rows more"], Float[Tensor, "cols more"]] | None = None

    @property
    def rank(self) -> int:
        """Number of triplets kept."""
        return self.singular_values.shape[0]

    @property
    def energy(self) -> float:
        """Energy of the truncated task vector, ``Σ_{j≤k} σ_j²``."""
        return float(self.singular_values.square().sum())

    @property
    def known_total(self) -> float | None:
        """`total_energy` where the spectrum does not say it, else None; what the functions of `spectrum` take."""
        return None if self.spectrum_complete else self.total_energy


def truncated_svd(
    matrix: Float[Tensor, "rows cols"], energy: float, *, most: int | None = None, least: float = 0.0
) -> TruncatedSVD:
    """Decompose `matrix` and keep the largest rank whose energy stays within `energy`.

    Of three ways the cheapest that is accurate enough is taken. Where a randomised sketch holds the wanted energy, its
    subspace iteration finds the leading triplets alone. Else the eigenvectors of the smaller Gram matrix (``τᵀτ`` or
    ``ττᵀ``), formed and decomposed in float64, give one side; the other follows as ``τ V Σ⁻¹``. That costs less than an
    SVD and, since everything small is float64, moves less under rounding than an SVD in float32. Squaring loses what
    lies below ``σ_1 √eps``: where the smallest kept value comes near that, or where residual or orthogonality, measured
    every time, miss the bound (`accuracy_bound`), LAPACK's SVD in float64 takes over.

    Parameters
    ----------
    matrix
        A task vector in float32 or float64.
    energy
        Share of ``‖τ‖_F²`` in (0, 1]. Raising it keeps more rank; 1 keeps the numerical rank.
    most, least
        Besides, keep no more triplets than this, and none whose value is at or below this share of σ_1.

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
    side; memory 3 s² float64 besides the result. Or about ``12 m n l`` for a sketch of l < s/5 columns.

    References
    ----------
    GLOBA, section 4.2, equation 10; the rank is the rule of the authors' code.
    """
    if not 0.0 < energy <= 1.0:
        msg = f"energy is {energy}: a share of energy lies in (0, 1]"
        raise OptionsError(msg)
    scale = max(abs(float(edge)) for edge in torch.aminmax(matrix)) if matrix.numel() else 0.0
    if scale == 0.0:
        return _empty(matrix)
    if matrix.shape[0] < matrix.shape[1]:
        flipped = truncated_svd(matrix.mT, energy, most=most, least=least)
        beyond = flipped.beyond and (flipped.beyond[1], flipped.beyond[0])
        return replace(flipped, left=flipped.right, right=flipped.left, beyond=beyond)
    if not math.isfinite(scale):
        require_finite(matrix, "the matrix")
    for attempt in (_from_range, _from_gram):
        found = attempt(matrix, energy, scale, most, least)
        if found is not None and found.accuracy.within(matrix.dtype):
            return found
    return _from_lapack(matrix, energy, most, least)


def _empty(matrix: Float[Tensor, "rows cols"]) -> TruncatedSVD:
    rows, cols = matrix.shape
    return TruncatedSVD(
        left=matrix.new_zeros(rows, 0),
        singular_values=torch.zeros(0, dtype=torch.float64, device=matrix.device),
        right=matrix.new_zeros(cols, 0),
        spectrum=torch.zeros(min(rows, cols), dtype=torch.float64, device=matrix.device),
        method="gram",
        total_energy=0.0,
        spectrum_complete=True,
        accuracy=EXACT,
    )


def _from_range(
    matrix: Float[Tensor, "rows cols"], energy: float, scale: float, most: int | None, least: float
) -> TruncatedSVD | None:
    """Decompose a tall matrix by subspace iteration; None where that would not be cheaper, or not accurate."""
    if matrix.shape[1] < range_finder.SMALLEST_SIDE:
        return None
    total = frobenius_norm(matrix) ** 2 / scale**2
    smallest = math.sqrt(matrix.shape[0]) * torch.finfo(matrix.dtype).eps
    found = range_finder.leading_triplets(matrix, energy, total, smallest, scale)
    if found is None:
        return None
    spectrum = found.values
    rank = spectrum.shape[0] if energy == 1.0 else largest_rank_within(spectrum, energy, total * scale**2)
    rank = _limited(rank, spectrum, most, least)
    if float(spectrum[rank - 1]) < _resolved(matrix.dtype) * float(spectrum[0]):
        return None
    left, right = found.left[:, :rank].to(matrix.dtype), found.right[:, :rank].to(matrix.dtype)
    # What is left of the energy is below the numerical rank: the other values are zero as far as τ can tell.
    rest = total * scale**2 - float(spectrum.square().sum())
    complete = rest <= (smallest * float(spectrum[0])) ** 2
    if complete:
        spectrum = torch.cat([spectrum, spectrum.new_zeros(matrix.shape[1] - spectrum.shape[0])])
    return TruncatedSVD(
        left=left.contiguous(),
        singular_values=spectrum[:rank].clone(),
        right=right.contiguous(),
        spectrum=spectrum,
        method="range",
        total_energy=total * scale**2,
        spectrum_complete=complete,
        accuracy=measure_accuracy(images_of(matrix), left, spectrum[:rank], right),
        beyond=_beyond(found, rank, matrix.dtype),
    )


def _beyond(found: range_finder.Leading, rank: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What a search found beyond the kept rank: triplets that had converged, and what it says itself."""
    strong = max(rank, int((found.values > range_finder.STRONG * found.values[0]).sum()))
    sides = (found.left, found.beyond[0]), (found.right, found.beyond[1])
    left, right = (torch.cat([exact[:, rank:strong], near], dim=1).to(dtype) for exact, near in sides)
    return left, right


def _from_gram(
    matrix: Float[Tensor, "rows cols"], energy: float, scale: float, most: int | None, least: float
) -> TruncatedSVD | None:
    """Decompose a tall matrix through ``τᵀτ``; None where squaring loses what is wanted."""
    gram = gram_matrix(matrix, scale)
    found = right_vectors(gram, energy, matrix.shape[0], matrix.dtype, scale, most=most, least=least)
    del gram
    if found is None:
        return None
    spectrum, right = found
    del found
    rounded = right.to(matrix.dtype, copy=True).contiguous()
    left = product(matrix, right.div_(spectrum[: right.shape[1]]))
    del right
    return _whole(matrix, left, spectrum, rounded, "gram")


def right_vectors(
    gram: Float[Tensor, "cols cols"],
    energy: float,
    rows: int,
    dtype: torch.dtype,
    scale: float = 1.0,
    *,
    most: int | None = None,
    least: float = 0.0,
) -> tuple[Float[Tensor, " cols"], Float[Tensor, "cols rank"]] | None:
    """Compute the spectrum of a tall matrix, and its kept right singular vectors, from ``(τ/scale)ᵀ(τ/scale)``.

    Parameters
    ----------
    gram
        The Gram matrix in float64, which is overwritten.
    energy, rows, dtype
        The share of energy, and the rows and precision of τ: with the first, they say which rank is kept.
    most, least
        As for `truncated_svd`.

    Returns
    -------
    All singular values, largest first, and V in float64; None where squaring loses what is wanted.
    """
    try:
        eigenvalues, vectors = eigenvectors_in_place(gram)
    except LinAlgError:
        return None
    spectrum = eigenvalues.flip(0).clamp(min=0).sqrt() * scale
    rank = _limited(_rank(spectrum, energy, rows, dtype), spectrum, most, least)
    if rank and float(spectrum[rank - 1]) < _resolved(dtype) * float(spectrum[0]):
        return None
    # Every copy of the vectors is as large as the Gram matrix.
    return spectrum, vectors[:, vectors.shape[1] - rank :].flip(1)


def _from_lapack(matrix: Float[Tensor, "rows cols"], energy: float, most: int | None, least: float) -> TruncatedSVD:
    try:
        left, spectrum, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    except LinAlgError:
        msg = f"the SVD of a {matrix.shape[0]}×{matrix.shape[1]} matrix did not converge in float64"
        raise DecompositionError(msg) from None
    rank = _limited(_rank(spectrum, energy, max(matrix.shape), matrix.dtype), spectrum, most, least)
    left = left[:, :rank].to(matrix.dtype).contiguous()
    return _whole(matrix, left, spectrum, right.mT[:, :rank].to(matrix.dtype).contiguous(), "svd")


def _whole(
    matrix: Float[Tensor, "rows cols"],
    left: Float[Tensor, "rows rank"],
    spectrum: Float[Tensor, " full"],
    right: Float[Tensor, "cols rank"],
    method: str,
) -> TruncatedSVD:
    """Put together a result whose spectrum is complete."""
    values = spectrum[: left.shape[1]].clone()
    return TruncatedSVD(
        left=left,
        singular_values=values,
        right=right,
        spectrum=spectrum,
        method=method,
        total_energy=float(spectrum.square().sum()),
        spectrum_complete=True,
        accuracy=measure_accuracy(images_of(matrix), left, values, right),
    )


def _rank(spectrum: Float[Tensor, " full"], energy: float, largest_side: int, dtype: torch.dtype) -> int:
    return min(largest_rank_within(spectrum, energy), numerical_rank(spectrum, largest_side, dtype))


def _limited(rank: int, spectrum: Float[Tensor, " computed"], most: int | None, least: float) -> int:
    """The rank that two further limits leave of one."""
    above = int((spectrum[:rank] > least * spectrum[0]).sum()) if rank else 0
    return above if most is None else min(above, most)


def _resolved(dtype: torch.dtype) -> float:
    """Smallest σ_k/σ_1 at which a float64 Gram matrix is good for `dtype`: its vectors err by ``eps64 (σ_1/σ_k)²``.

    1e-5 gives 2e-6 for float32; 1e-2 gives 2e-12 for float64.
    """
    return 1e-2 if dtype == torch.float64 else 1e-5
