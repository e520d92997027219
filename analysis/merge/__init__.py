"""Merge methods on task vectors: one file each, one signature, found through one registry.

A method takes the task vectors of one tensor and returns the delta to add to the base. GLOBA is not among them: it
works on an analysis (`analysis.merge.globa`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError
from analysis.merge.linear import linear
from analysis.merge.task_arithmetic import task_arithmetic

Method = Callable[..., Tensor]


@dataclass(frozen=True)
class MergeMethod:
    """A method and the parameters it knows, with their defaults; a parameter per fine-tune has a tuple as default."""

    name: str
    function: Method
    parameters: Mapping[str, Any]
    summary: str

    def merge(
        self, task_vectors: Sequence[Float[Tensor, "*shape"]], parameters: Mapping[str, Any]
    ) -> Float[Tensor, "*shape"]:
        """Merge the task vectors of one tensor.

        Raises
        ------
        OptionsError
            If a parameter is unknown.
        """
        unknown = sorted(set(parameters) - set(self.parameters))
        if unknown:
            known = ", ".join(sorted(self.parameters)) or "none"
            msg = f"method {self.name} has no parameter {unknown[0]!r}; it knows {known}"
            raise OptionsError(msg)
        return self.function(task_vectors, **{**self.parameters, **parameters})


METHODS: Mapping[str, MergeMethod] = {
    method.name: method
    for method in (
        MergeMethod("linear", linear, {"weight": ()}, "weighted average of the models"),
        MergeMethod("task_arithmetic", task_arithmetic, {"weight": (), "scale": 1.0}, "scaled sum of the task vectors"),
    )
}


def merge_method(name: str) -> MergeMethod:
    """Find a method by name.

    Raises
    ------
    OptionsError
        If there is none of that name; the message lists all.
    """
    if name not in METHODS:
        msg = f"unknown merge method {name!r}; choose globa or one of {', '.join(METHODS)}"
        raise OptionsError(msg)
    return METHODS[name]
