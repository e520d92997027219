"""What TIES needs to know of whole task vectors: thresholds of magnitude and the majority of signs.

Exact, in bounded memory: the k-th largest magnitude is found digit by digit through histograms of the float32 bits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.merge.method import TensorContext
from analysis.merge.signs import Vectors
from analysis.merge.weights import per_task

_LOW_BITS = 15
_HIGH = 1 << 16
_CHUNK = 1 << 22


class MagnitudeThresholds:
    """The smallest magnitude that a trim of one whole task vector keeps, for any number of densities.

    With d entries and ⌊d K⌋ to keep, the threshold is the ``(d − ⌊d K⌋)``-th smallest magnitude: ⌊d K⌋ + 1 entries,
    and all that equal the smallest of them, reach it. That is the rule of the TIES authors' notebook.

    Notes
    -----
    Two passes. A float32 magnitude has 31 bits that sort like a whole number: the first pass counts the upper 16 of
    them, the second the lower 15 where the upper ones are those of a threshold. 0.5 MB, and 0.3 MB for each density.
    """

    def __init__(self, densities: Iterable[float]) -> None:
        self._densities = sorted({density for density in densities if density < 1.0})
        self._high = torch.zeros(_HIGH, dtype=torch.int64)
        self._low: dict[int, Tensor] = {}
        self._ranks: dict[float, tuple[int, int]] = {}
        self._found: dict[float, float] = {}
        self.entries = 0

    def see(self, vector: Float[Tensor, "*shape"], first_pass: bool) -> None:
        """Count the magnitudes of one tensor."""
        if not self._densities:
            return
        for part in torch.split(vector.reshape(-1), _CHUNK):
            bits = part.abs().float().view(torch.int32)
            high = (bits >> _LOW_BITS).cpu()
            if first_pass:
                self._high += torch.bincount(high, minlength=_HIGH)
                continue
            for digit, counts in self._low.items():
                low = bits.cpu()[high == digit] & ((1 << _LOW_BITS) - 1)
                counts += torch.bincount(low, minlength=1 << _LOW_BITS)

    def end_pass(self, first_pass: bool) -> None:
        """From the counts to the upper digits, then to the thresholds."""
        if first_pass:
            self.entries = int(self._high.sum())
            below = self._high.cumsum(0)
            for density in self._densities:
                rank = self.entries - int(self.entries * density)
                digit = int(torch.searchsorted(below, rank))
                self._ranks[density] = digit, rank - (int(below[digit - 1]) if digit else 0)
                self._low[digit] = torch.zeros(1 << _LOW_BITS, dtype=torch.int64)
            return
        for density, (digit, rank) in self._ranks.items():
            low = int(torch.searchsorted(self._low[digit].cumsum(0), rank))
            bits = torch.tensor((digit << _LOW_BITS) | low, dtype=torch.int32)
            self._found[density] = float(bits.view(torch.float32))

    def of(self, density: float) -> float:
        """The threshold of a density; 0 keeps all."""
        return self._found.get(density, 0.0)


class WholeModelTrim:
    """First passes of a merge that trims whole task vectors: two for the thresholds, one for the majority of signs.

    The majority is the sign of the sum of the signs of all votes; it decides where votes cancel exactly. Tensors whose
    ``trim`` is not ``global`` take no part.

    Parameters
    ----------
    complete, tasks
        Parameters of all tensors, and the number of models.
    density
        Name of the parameter that says which share of entries is kept.
    sources
        Makes the task vectors before the trim.
    votes
        Makes the votes after the trim, with what is found so far.
    """

    def __init__(
        self,
        complete: Sequence[Mapping[str, Any]],
        tasks: int,
        density: str,
        sources: Callable[..., Vectors],
        votes: Callable[..., Tensor],
    ) -> None:
        self._sources, self._votes = sources, votes
        shares = [per_task(density, one[density], tasks, 1.0) for one in complete if one["trim"] == "global"]
        self._thresholds = [MagnitudeThresholds(one[task] for one in shares) for task in range(tasks)]
        # Without a trim only the pass over the signs is needed.
        self._pass = 0 if any(share < 1.0 for one in shares for share in one) else 2
        self._passes = 3 - self._pass if shares else 0
        self._balance = 0

    @property
    def passes(self) -> int:
        """Three, or one where nothing is trimmed."""
        return self._passes

    def see(
        self, task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext, parameters: Mapping[str, Any]
    ) -> None:
        """Count magnitudes; in the last pass, signs of votes."""
        if parameters["trim"] != "global":
            return
        if self._pass == 2:
            votes = self._votes(task_vectors, replace(context, prepared=self), **parameters)
            self._balance += int(votes.sign().sum(dtype=torch.float64))
            return
        for thresholds, make in zip(self._thresholds, self._sources(task_vectors, context, **parameters), strict=True):
            thresholds.see(make(), first_pass=self._pass == 0)

    def end_pass(self) -> None:
        """Go on to the next pass."""
        if self._pass < 2:
            for thresholds in self._thresholds:
                thresholds.end_pass(first_pass=self._pass == 0)
        self._pass += 1

    def threshold(self, task: int, density: float) -> float:
        """The smallest magnitude of one task vector that is kept."""
        return self._thresholds[task].of(density)

    @property
    def majority(self) -> int:
        """The sign of most votes: 1, −1, or 0."""
        return (self._balance > 0) - (self._balance < 0)
