"""A program of the user's that measures a model and prints JSON."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from globa_tui.diagnostics import ProgramError, UsageError
from globa_tui.jobs.evaluation.metrics import Metric

_PLACE = "{model}"


class CommandError(ProgramError):
    """An own command failed, or printed something else than JSON."""


@dataclass(frozen=True)
class OwnCommand:
    """A program and its arguments, ``{model}`` standing for the model's folder."""

    name: str
    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> OwnCommand:
        """Read ``COMMAND`` or ``NAME=COMMAND``; the name is the program's otherwise.

        Raises
        ------
        UsageError
            When it cannot be split into words, or no word holds ``{model}``.
        """
        named = re.fullmatch(r"([\w.+-]+)=(.+)", text, flags=re.DOTALL)
        name, line = (named[1], named[2]) if named else ("", text)
        try:
            words = shlex.split(line)
        except ValueError as error:
            msg = f"--command {text!r}: {error}"
            raise UsageError(msg) from None
        if not words or not any(_PLACE in word for word in words):
            msg = f"--command {text!r}: no word holds {_PLACE}; write it where the model's folder goes"
            raise UsageError(msg)
        return cls(name or Path(words[0]).stem, tuple(words))

    def sha256(self) -> str:
        """Hash of the words, and of every file among them: a script that was changed measures something else."""
        whole = hashlib.sha256("\0".join(self.words).encode())
        for word in self.words:
            path = Path(word)
            if _PLACE not in word and path.is_file():
                whole.update(path.read_bytes())
        return whole.hexdigest()

    def run(self, model: Path) -> dict[str, Metric]:
        """Run it on a model; what it says on stderr goes to ours.

        Raises
        ------
        CommandError
            When it cannot be started, ends with another code than 0, or prints no object of numbers.
        """
        words = [word.replace(_PLACE, str(model)) for word in self.words]
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
        except OSError as error:
            msg = f"--command {self.name}: {words[0]}: {error.strerror or error}"
            raise CommandError(msg) from error
        if done.returncode:
            msg = f"--command {self.name}: {shlex.join(words)} ended with code {done.returncode}"
            raise CommandError(msg)
        return self._metrics(done.stdout)

    def _metrics(self, printed: bytes) -> dict[str, Metric]:
        try:
            found = json.loads(printed)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            read = {str(name): _metric(str(name), value) for name, value in found.items()}
            metrics = {name: metric for name, metric in read.items() if metric is not None}
            if metrics:
                return metrics
        start = printed[:80].decode(errors="replace")
        msg = f'--command {self.name}: printed {start!r}; print an object of numbers such as {{"accuracy": 0.5}}'
        raise CommandError(msg)


def _metric(name: str, value: Any) -> Metric | None:
    """A number, or an object with ``value`` and perhaps ``low``, ``high`` and ``items``; None for anything else."""
    if _is_number(value):
        return Metric(name, float(value), None, None, None)
    if isinstance(value, Mapping) and _is_number(value.get("value")):
        low, high = (float(value[key]) if _is_number(value.get(key)) else None for key in ("low", "high"))
        items = value.get("items")
        return Metric(name, float(value["value"]), low, high, items if type(items) is int else None)
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
