"""What a user should know about checkpoints that are to be merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the user should know before analysing or merging."""

    severity: Literal["info", "warning", "error"]
    code: str
    """``shape``, ``missing``, ``extra``, ``dtype``, ``prefix``, ``tied``, ``untied``, ``nothing``, ``quantised``,
    ``vocabulary``, ``adapter``, ``experts``."""
    message: str
    """One line."""
    tensor: str | None = None
    """The base's name where there is one, else the fine-tune's."""
