"""Energy pruning of task interaction matrices."""

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError


def prune_to_energy(core: Float[Tensor, "rows cols"], eta: float, rounding: float = 0.0) -> Float[Tensor, "rows cols"]:
    """Keep the entries of largest square whose energy reaches `eta` of the total, and zero the rest.

    Parameters
    ----------
    core
        A task interaction matrix Ĉ_i.
    eta
        Share of ``‖Ĉ_i‖_F²`` in (0, 1]. The smallest number of entries that reaches it is kept; lowering it empties
        rows and columns, which turns D and E entries of the other task into A, B and C. 1 keeps every non-zero entry.
    rounding
        Entries at or below this share of the largest magnitude are rounding and count as zero whatever `eta` is:
        otherwise a position that is empty in exact arithmetic would count as used.

    Returns
    -------
    C̃_i, a new matrix. Entries of equal square are kept in row-major order. All zero where `core` is.

    Notes
    -----
    O(N log N) for N entries; the cumulative energy is summed in float64.

    References
    ----------
    GLOBA, equation 17.
    """
    if not 0.0 < eta <= 1.0:
        msg = f"eta is {eta}: a share of energy lies in (0, 1]"
        raise OptionsError(msg)
    if core.numel() == 0:
        return core.clone()
    core = torch.where(core.abs() > rounding * core.abs().max(), core, 0.0)
    if eta == 1.0:
        return core
    squares = core.double().square().flatten()
    ordered, order = torch.sort(squares, descending=True, stable=True)
    cumulative = ordered.cumsum(0)
    kept = int((cumulative < eta * cumulative[-1]).sum()) + 1 if float(cumulative[-1]) > 0 else 0
    mask = torch.zeros_like(squares, dtype=torch.bool)
    mask[order[:kept]] = True
    return torch.where(mask.view_as(core), core, 0.0)
