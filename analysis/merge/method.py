"""What a merge method is: its one signature, its parameters, and what it may know of a tensor."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from analysis.errors import OptionsError

Role = Literal["matrix", "embedding", "vector", "other"]
"""What a tensor is: a 2-D weight of a linear map, an embedding or output head, a 1-D tensor, or anything else."""

BLOCK = 1 << 22
"""Entries that are merged at a time where entries do not depend on each other."""

ParameterKind = Literal["number", "numbers", "integer", "flag", "word"]


@dataclass(frozen=True)
class TensorContext:
    """What a method may know of the tensor whose task vectors it merges."""

    name: str = ""
    """Name in the base checkpoint; with a method's seed and the model's number it decides random masks."""
    role: Role = "matrix"
    base: Float[Tensor, "..."] | None = None
    """W0 in the dtype of the task vectors, for methods that act on whole weights."""
    prepared: object = None
    """What the method's first passes over the checkpoint found, see `Preparation`."""
    first: int = 0
    """Place of the first entry in the whole tensor, for a part of a tensor as `MergeMethod.by_entry` allows; a multiple
    of `BLOCK`."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method: how it is read, and what raising it does."""

    name: str
    kind: ParameterKind
    default: Any
    summary: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    """Whether `low` itself is outside the range."""
    words: tuple[str, ...] = ()
    """Words that are allowed; for a number, besides numbers."""

    def read(self, value: object) -> Any:
        """Check one value and give it its type.

        Raises
        ------
        OptionsError
            Naming the parameter, the value and what is allowed.
        """
        if isinstance(value, str) and value.replace("-", "_").lower() in self.words:
            return value.replace("-", "_").lower()
        if self.kind == "flag" and isinstance(value, bool):
            return value
        if self.kind == "numbers" and isinstance(value, int | float | Sequence) and not isinstance(value, str):
            values = tuple(value) if isinstance(value, Sequence) else (value,)
            if all(map(self._in_range, values)):
                return tuple(float(one) for one in values)
        if self.kind == "number" and self._in_range(value):
            return float(value)  # type: ignore[arg-type]
        if self.kind == "integer" and self._in_range(value) and value == int(value):  # type: ignore[call-overload]
            return int(value)  # type: ignore[call-overload]
        msg = f"{self.name} is {value!r:.80}: it must be {self.allowed}"
        raise OptionsError(msg)

    @property
    def allowed(self) -> str:
        """What the parameter may be, in words."""
        if self.kind == "flag":
            return "true or false"
        words = list(self.words)
        if self.kind != "word":
            what = "a whole number" if self.kind == "integer" else "a number"
            what += ", for all models or for each" if self.kind == "numbers" else ""
            words.append(f"{what}{self._range()}")
        return " or ".join(words)

    def _range(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return ""
        if math.isinf(self.high):
            return f" {'above' if self.open_low else 'from'} {self.low:g}"
        return f" in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}]"

    def _in_range(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (self.low < value if self.open_low else self.low <= value) and value <= self.high


@runtime_checkable
class Preparation(Protocol):
    """Passes over the whole checkpoint before the merge, in memory that does not grow with it.

    Every pass shows every floating tensor once, in any order, and then calls `end_pass`.
    """

    @property
    def passes(self) -> int:
        """How many passes are needed."""
        ...

    def see(
        self,
        task_vectors: Sequence[Float[Tensor, "*shape"]],
        context: TensorContext,
        parameters: Mapping[str, Any],
    ) -> None:
        """Take in one tensor; `parameters` are complete."""
        ...

    def end_pass(self) -> None:
        """Draw the conclusion of a pass."""
        ...


Prepare = Callable[[Sequence[Mapping[str, Any]], int], Preparation | None]
"""From the complete parameters of all tensors and the number of models to the passes that they need."""

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
    """Whether a tensor of a role may be merged in parts of its flat entries, with these complete parameters."""
    prepare: Prepare | None = None
    """First passes over the checkpoint, for methods that look at the model as a whole."""

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
        """Merge with parameters that `complete` has filled in."""
        return self.function(task_vectors, context, **complete)


def present(
    task_vectors: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]
) -> Iterator[tuple[int, Float[Tensor, "*shape"], float]]:
    """Number, task vector and weight of every model whose weight is not 0: a model of weight 0 is left out."""
    for index, (vector, weight) in enumerate(zip(task_vectors, weights, strict=True)):
        if weight != 0.0:
            yield index, vector, weight
