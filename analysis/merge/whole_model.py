"""What TIES needs to know of whole task vectors: thresholds of magnitude and the majority of signs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.merge.context import TensorContext
from analysis.merge.selection import Selection
from analysis.merge.signs import Vectors
from analysis.merge.weights import per_task


def _rank(entries: int, density: float) -> int:
    """``d − ⌊d K⌋``, as in the authors' notebook: ⌊d K⌋ + 1 entries, and all that equal the smallest, reach it."""
    return entries - int(entries * density)


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
        self._selections = [
            Selection((one[task] for one in shares if one[task] < 1.0), _rank, torch.float32) for task in range(tasks)
        ]
        # Without a trim only the pass over the signs is needed.
        self._pass = 0 if any(share < 1.0 for one in shares for share in one) else 2
        self._passes = 3 - self._pass if shares else 0
        self._balance = 0

    @property
    def passes(self) -> int:
        """Three, or one where nothing is trimmed."""
        return self._passes

    def takes(self, parameters: Mapping[str, Any]) -> bool:
        """Whether a tensor is trimmed as a part of the whole."""
        return bool(parameters["trim"] == "global")

    def see(
        self, task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext, parameters: Mapping[str, Any]
    ) -> None:
        """Count magnitudes; in the last pass, signs of votes."""
        if not self.takes(parameters):
            return
        if self._pass == 2:
            votes = self._votes(task_vectors, replace(context, prepared=self), **parameters)
            self._balance += int(votes.sign().sum(dtype=torch.float64))
            return
        for selection, make in zip(self._selections, self._sources(task_vectors, context, **parameters), strict=True):
            if not selection.done:
                selection.see(make())

    def end_pass(self) -> None:
        """Go on to the next pass."""
        if self._pass < 2:
            for selection in self._selections:
                if not selection.done:
                    selection.end_pass()
        self._pass += 1

    def threshold(self, task: int, density: float) -> float:
        """The smallest magnitude of one task vector that is kept; 0 keeps all."""
        return self._selections[task].found[density].value if density < 1.0 else 0.0

    @property
    def majority(self) -> int:
        """The sign of most votes: 1, −1, or 0."""
        return (self._balance > 0) - (self._balance < 0)
