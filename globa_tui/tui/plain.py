"""Everything in ASCII, for terminals of 16 colours or fewer, whose fonts lack signs, and for those without UTF-8."""

from __future__ import annotations

import os
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

SIGNS = {
    "●": "*", "‖": "|", "◌": "~", "↻": ">", "✔": "+", "✖": "x", "○": "o", "■": "#",
    "↑": "^", "↓": "v", "←": "<", "→": ">", "…": ".", "·": ".", "•": "*", "°": "o", "×": "x", "τ": "t", "‑": "-",
    "σ": "s", "η": "h", "ᵀ": "'", "²": "2", "₁": "1",
    "▸": ">", "▶": ">", "▼": "v", "▲": "^", "◆": "&", "▀": "^", "▄": "_", "░": ".", "▒": ":", "▓": "%",
}  # fmt: skip
"""Signs and what stands for them, each one cell wide; lines, blocks and braille follow by their code."""


def wants_ascii(colour_system: str | None, encoding: str | None) -> bool:
    """Whether a terminal should get ASCII only: by its colours, or because it cannot take other bytes."""
    if os.environ.get("GLOBA_TUI_ASCII"):
        return True
    utf8 = (encoding or "").lower().replace("-", "") == "utf8"
    return not utf8 or colour_system in ("standard", "windows")


@lru_cache(maxsize=4096)
def as_ascii(text: str) -> str:
    """The same text in ASCII, in as many cells."""
    return text if text.isascii() else "".join(map(_sign, text))


def _sign(char: str) -> str:
    if char.isascii():
        return char
    if char in SIGNS:
        return SIGNS[char]
    code = ord(char)
    if 0x2500 <= code < 0x2580:
        return "-" if char in "─━═╌╍┄┅┈┉╴╶" else "|" if char in "│┃║╎╏┆┇┊┋╵╷" else "+"
    if 0x2580 <= code < 0x25A0:
        return "#" if code in (0x2588, 0x2589, 0x258A, 0x258B, 0x258C) else "|"
    if 0x2800 <= code < 0x2900:
        return "." if code > 0x2800 else " "
    return "?" * cell_len(char)


class AsciiFilter(LineFilter):
    """Puts ASCII in the place of every other sign, line by line, just before it is drawn."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments in ASCII."""
        return [Segment(as_ascii(text), style, control) for text, style, control in segments]
