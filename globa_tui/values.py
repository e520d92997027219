"""Values as people write them on a command line and in a recipe: sizes, numbers, parameters."""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from globa_tui.coefficients import RecipeError

_SIZE_UNITS = {"": 1, "B": 1} | {
    f"{letter}{binary}B": (1024 if binary else 1000) ** power
    for power, letter in enumerate("KMGT", start=1)
    for binary in ("", "I")
}


def is_number(value: object) -> bool:
    """Whether this is a finite number that a float can hold: of a YAML file an integer may be of any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def parse_size(text: str | int) -> int:
    """Bytes of ``5GB``, ``200MB``, ``4GiB`` or a plain number."""
    read = re.fullmatch(r"\s*(\d{1,18}(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text), flags=re.ASCII)
    unit = _SIZE_UNITS.get(read[2].upper(), 0) if read else 0
    whole = read[1] if read else "0"
    size = int(whole) * unit if whole.isdecimal() else round(float(whole) * unit)
    if isinstance(text, bool) or size < 1:
        msg = f"{text!r} is not a size such as 5GB, 200MB or 4GiB"
        raise RecipeError(msg)
    return size


def format_size(size: int) -> str:
    """The text with the largest unit that `parse_size` reads back to exactly this many bytes."""
    for unit in ("TB", "TIB", "GB", "GIB", "MB", "MIB", "KB", "KIB"):
        if size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit.replace('I', 'i')}"
    return str(size)


def about_size(size: float) -> str:
    """A size for people, such as ``1.3 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB" if size < 999.5 else f"{size:,.0f} TB"


def about_time(seconds: float) -> str:
    """A time for people, in two units at most, such as ``1 h 12 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def parse_numbers(flag: str, text: str) -> tuple[float, ...]:
    """The numbers of a comma list, one for each fine-tune or one for all."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(map(math.isfinite, values)):
        msg = f"{flag} {text!r} is not a number or a comma list of numbers such as 0.9,0.99"
        raise RecipeError(msg)
    return values


def parse_param(text: str) -> tuple[str, Any]:
    """Read ``K=V``: V is a number, true or false, a word, or a comma list of those (one value per fine-tune)."""
    name, sign, value = text.partition("=")
    if not sign or not re.fullmatch(r"[A-Za-z_][\w-]*", name.strip()) or not value.strip():
        msg = f"--param {text!r} is not NAME=VALUE, such as density=0.2"
        raise RecipeError(msg)
    parts = [_scalar(part) for part in value.split(",")]
    return name.strip().replace("-", "_"), parts if len(parts) > 1 else parts[0]


def param_text(value: Any) -> str:
    """What `parse_param` reads back to the same value."""
    if isinstance(value, list | tuple):
        return ",".join(map(param_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def _scalar(text: str) -> Any:
    word = text.strip()
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        return int(word)
    except ValueError:
        pass
    try:
        value = float(word)
    except ValueError:
        return word
    return value if math.isfinite(value) else word
