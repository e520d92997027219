"""What a merge method knows of a tensor, and how it looks at a tensor or a model before it merges it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

Role = Literal["matrix", "embedding", "vector", "other"]
"""What a tensor is: a 2-D weight of a linear map, an embedding or output head, a 1-D tensor, or anything else."""

BLOCK = 1 << 18
"""Entries that are merged at a time where entries do not depend on each other: few enough for the processor's caches,
and for memory to be used again instead of being given back to the system between parts."""


@dataclass(frozen=True)
class TensorContext:
    """What a method may know of the tensor whose task vectors it merges."""

    name: str = ""
    """Name in the base checkpoint; with a method's seed and the model's number it decides random masks."""
    role: Role = "matrix"
    base: Float[Tensor, "..."] | None = None
    """W0, in the dtype of the task vectors or of its file, for methods that act on whole weights."""
    prepared: object = None
    """What the method's first passes over the checkpoint found, see `Preparation`."""
    found: object = None
    """What the method's passes over this tensor found, see `TensorPasses`."""
    first: int = 0
    """Place of the first entry in the whole tensor, for a part of a tensor as `MergeMethod.by_entry` allows; a multiple
    of `BLOCK`."""


@runtime_checkable
class Preparation(Protocol):
    """Passes over the whole checkpoint before the merge, in memory that does not grow with it.

    Every pass shows every floating tensor that it takes once, whole or in parts, in any order, and then calls
    `end_pass`.
    """

    @property
    def passes(self) -> int:
        """How many passes are needed."""
        ...

    def takes(self, parameters: Mapping[str, Any]) -> bool:
        """Whether a tensor with these complete parameters takes part."""
        ...

    def see(
        self,
        task_vectors: Sequence[Float[Tensor, "*shape"]],
        context: TensorContext,
        parameters: Mapping[str, Any],
    ) -> None:
        """Take in one tensor, or a part of one; `parameters` are complete."""
        ...

    def end_pass(self) -> None:
        """Draw the conclusion of a pass."""
        ...


@runtime_checkable
class TensorPasses(Protocol):
    """Passes over the parts of one tensor, in their order, before it is merged in parts."""

    @property
    def done(self) -> bool:
        """Whether the tensor can be merged; if not, one more pass is needed."""
        ...

    def see(self, task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext) -> None:
        """Take in the next part."""
        ...

    def end_pass(self) -> None:
        """Draw the conclusion of a pass."""
        ...


def in_parts(
    task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext
) -> Iterator[tuple[list[Float[Tensor, " part"]], TensorContext]]:
    """Task vectors of one tensor and its context, `BLOCK` flat entries at a time; an empty tensor is one part."""
    flat = [vector.reshape(-1) for vector in task_vectors]
    base = context.base.reshape(-1) if context.base is not None else None
    for start in range(0, max(1, flat[0].numel()), BLOCK):
        end = start + BLOCK
        yield (
            [vector[start:end] for vector in flat],
            replace(context, base=base[start:end] if base is not None else None, first=context.first + start),
        )
