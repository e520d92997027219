"""One parameter of a merge method: how it is read, and what it may be."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analysis.errors import OptionsError

ParameterKind = Literal["number", "numbers", "integer", "flag", "word"]


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
        # An integer may be longer than any float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            return False
        return (self.low < value if self.open_low else self.low <= value) and value <= self.high
