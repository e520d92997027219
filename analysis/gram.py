"""Gram matrices of matrices as large as a layer, and their eigenvectors, in as little memory as LAPACK allows."""

import torch
from jaxtyping import Float
from torch import Tensor


def gram_matrix(
    matrix: Float[Tensor, "rows cols"], scale: float = 1.0, chunk: int = 1024
) -> Float[Tensor, "cols cols"]:
    """``(X/scale)ᵀ(X/scale)`` in float64; only the blocks that touch the lower triangle, which is what eigh reads.

    By row chunks, so that no float64 copy of X is held; the scale keeps squares of huge or tiny entries in range.
    Columns lie one after the other in memory, as `eigenvectors_in_place` wants them.
    """
    result = empty_gram(matrix)
    for start in range(0, matrix.shape[0], chunk):
        add_rows(result, matrix[start : start + chunk].to(torch.float64, copy=True).div_(scale))
    return result


def empty_gram(like: Float[Tensor, "_ cols"]) -> Float[Tensor, "cols cols"]:
    """Zeros in float64 for `add_rows` to add to."""
    cols = like.shape[1]
    return torch.zeros(cols, cols, dtype=torch.float64, device=like.device).mT


def add_rows(gram: Float[Tensor, "cols cols"], rows: Float[Tensor, "some cols"]) -> None:
    """Add ``RᵀR`` of some rows in float64 to the blocks of a Gram matrix that touch its lower triangle."""
    cols = rows.shape[1]
    width = max(256, -(-cols // 8))
    for left in range(0, cols, width):
        gram[left:, left : left + width].addmm_(rows[:, left:].mT, rows[:, left : left + width])


def eigenvectors_in_place(
    gram: Float[Tensor, "size size"],
) -> tuple[Float[Tensor, " size"], Float[Tensor, "size size"]]:
    """Compute eigenvalues, ascending, and eigenvectors of a symmetric matrix, whose memory the vectors take.

    Parameters
    ----------
    gram
        Its lower triangle counts. It is overwritten where columns lie one after the other in memory, else copied.

    Raises
    ------
    torch.linalg.LinAlgError
        If LAPACK does not converge.

    Notes
    -----
    About ``9 s³``; LAPACK works in 2 s² float64 besides the matrix.
    """
    values = gram.new_empty(gram.shape[0])
    vectors = gram if gram.mT.is_contiguous() else gram.mT.clone(memory_format=torch.contiguous_format).mT
    torch.linalg.eigh(vectors, out=(values, vectors))
    return values, vectors


def product(
    matrix: Float[Tensor, "rows cols"], factor: Float[Tensor, "cols rank"], chunk: int = 1024
) -> Float[Tensor, "rows rank"]:
    """``X B`` computed in float64 by row chunks, rounded once to the dtype of X."""
    result = matrix.new_empty(matrix.shape[0], factor.shape[1])
    for start in range(0, matrix.shape[0], chunk):
        result[start : start + chunk] = matrix[start : start + chunk].double() @ factor
    return result
