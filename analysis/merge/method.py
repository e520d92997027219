"""What a merge method is: its one signature, its parameters, and what it may know of a tensor."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError
from analysis.merge.context import Preparation, Role, TensorContext, TensorPasses, in_parts
from analysis.merge.parameter import Parameter

Prepare = Callable[[Sequence[Mapping[str, Any]], int], Preparation | None]
"""From the complete parameters of all tensors and the number of models to the passes that they need."""

PrepareTensor = Callable[[Mapping[str, Any], int, torch.dtype], TensorPasses | None]
"""From the complete parameters of a tensor, the number of models and the working dtype to the passes that it needs."""

ByEntry = Callable[[Role, Mapping[str, Any]], bool]


def _never(role: Role, complete: Mapping[str, Any]) -> bool:
    del role, complete
    return False


def always(role: Role, complete: Mapping[str, Any]) -> bool:
    """Every entry is merged on its own, whatever the tensor and the parameters."""
    del role, complete
    return True


_NO_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True)
class MergeMethod:
    """A method, the parameters it knows, and its variants: readings of it that differ between implementations."""

    name: str
    function: Callable[..., Tensor]
    """``function(task_vectors, context, **parameters)`` gives the delta to add to the base. The task vectors have one
    shape and one working dtype, float32 or float64, and are not changed."""
    parameters: tuple[Parameter, ...]
    summary: str
    source: str
    """Paper or implementation whose reading is the default."""
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _NO_VARIANTS)
    """Defaults that a variant changes, by its name; the first is the default one."""
    models: int | None = None
    """How many models it takes; None for any number."""
    by_entry: ByEntry = _never
    """Whether a tensor of a role may be merged in parts of its flat entries, with these complete parameters; where
    `prepare_tensor` gives passes, after these."""
    prepare: Prepare | None = None
    """First passes over the checkpoint, for methods that look at the model as a whole."""
    prepare_tensor: PrepareTensor | None = None
    """Passes over one tensor, for methods that look at a tensor as a whole and then at its entries."""

    def known(self, given: Mapping[str, Any]) -> dict[str, Parameter]:
        """The parameters it takes, by name; for a method on top of another, also that one's."""
        del given
        return {parameter.name: parameter for parameter in self.parameters}

    def complete(self, given: Mapping[str, Any], tasks: int | None = None) -> dict[str, Any]:
        """Every parameter: as given, else the variant's default, else the method's.

        Parameters
        ----------
        given
            Values by name; ``variant`` may be among them.
        tasks
            Number of models, to check parameters with one value for each.

        Raises
        ------
        OptionsError
            If a parameter or variant is unknown, a value outside its range, or the number of models not the method's.
        """
        if tasks is not None and self.models not in (None, tasks):
            msg = f"{self.name} is for {self.models} models, there are {tasks}; name other fine-tunes or another method"
            raise OptionsError(msg)
        known = self.known(given)
        variant = self._variant(given)
        unknown = sorted(set(given) - set(known) - ({"variant"} if self.variants else set()))
        if unknown:
            names = ", ".join(sorted([*known, *(["variant"] if self.variants else [])])) or "none"
            msg = f"method {self.name} has no parameter {unknown[0]!r}; it knows {names}"
            raise OptionsError(msg)
        defaults = {name: parameter.default for name, parameter in known.items()} | variant
        values = {name: known[name].read(given.get(name, default)) for name, default in defaults.items()}
        for name, value in values.items():
            if tasks is not None and known[name].kind == "numbers" and len(value) not in (0, 1, tasks):
                msg = f"{name} has {len(value)} values for {tasks} fine-tunes; give one for all or one for each"
                raise OptionsError(msg)
        return values

    def _variant(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if not self.variants:
            return {}
        name = given.get("variant", next(iter(self.variants)))
        if name not in self.variants:
            msg = f"method {self.name} has no variant {name!r:.80}; it knows {', '.join(self.variants)}"
            raise OptionsError(msg)
        return dict(self.variants[name])

    def passes(self, complete: Sequence[Mapping[str, Any]], tasks: int) -> Preparation | None:
        """The passes over the checkpoint that a merge with these parameters needs first; None for none."""
        return self.prepare(complete, tasks) if self.prepare is not None else None

    def tensor_passes(self, complete: Mapping[str, Any], tasks: int, dtype: torch.dtype) -> TensorPasses | None:
        """The passes over one tensor that it needs before it is merged in parts; None for none."""
        return self.prepare_tensor(complete, tasks, dtype) if self.prepare_tensor is not None else None

    def merge(
        self,
        task_vectors: Sequence[Float[Tensor, "*shape"]],
        parameters: Mapping[str, Any],
        context: TensorContext | None = None,
    ) -> Float[Tensor, "*shape"]:
        """Merge the task vectors of one tensor.

        Raises
        ------
        OptionsError
            See `complete`.
        """
        complete = self.complete(parameters, len(task_vectors))
        return self.run(task_vectors, context or TensorContext(), complete)

    def run(
        self, task_vectors: Sequence[Float[Tensor, "*shape"]], context: TensorContext, complete: Mapping[str, Any]
    ) -> Float[Tensor, "*shape"]:
        """Merge with parameters from `complete`; passes over the tensor come first, unless the context has them."""
        if context.found is None:
            passes = self.tensor_passes(complete, len(task_vectors), task_vectors[0].dtype)
            while passes is not None and not passes.done:
                for vectors, part in in_parts(task_vectors, context):
                    passes.see(vectors, part)
                passes.end_pass()
            context = replace(context, found=passes)
        return self.function(task_vectors, context, **complete)


def present(
    task_vectors: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]
) -> Iterator[tuple[int, Float[Tensor, "*shape"], float]]:
    """Number, task vector and weight of every model whose weight is not 0: a model of weight 0 is left out."""
    for index, (vector, weight) in enumerate(zip(task_vectors, weights, strict=True)):
        if weight != 0.0:
            yield index, vector, weight
