"""Small texts: durations, counts, bytes and bars, and the Text objects that carry foreign names safely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from globa_tui.diagnostics import printable

EIGHTHS = " ▏▎▍▌▋▊▉█"


def name_text(name: object, style: str = "") -> Text:
    """A name from a file as one line of literal text: no markup, no control characters."""
    return Text(printable(name), style=style, no_wrap=True, end="")


def duration(seconds: float | None) -> str:
    """A time left or spent in two units at most, as in `1h12m`."""
    if seconds is None or seconds < 0:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m" if whole < 360_000 else f"{whole // 86400}d"


def count(value: float) -> str:
    """A count in four or five cells, as in `41.2 M`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.1f} {unit}"
    return f"{value:,.0f}"


def several(number: int, thing: str) -> str:
    """A number of things, as in `1 layer` and `2 layers`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size(nbytes: float) -> str:
    """Bytes in decimal units."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if nbytes >= limit:
            return f"{nbytes / limit:.1f} {unit}"
    return f"{nbytes:.0f} B"


def shape(dims: list[int] | tuple[int, ...]) -> str:
    """A shape as `4096x11008`."""
    return "x".join(str(dim) for dim in dims) or "scalar"


def bar(share: float | None, width: int) -> str:
    """A horizontal bar of exactly `width` cells, in eighths of a cell."""
    if share is None or share != share or width <= 0:
        return " " * max(width, 0)
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)[:width]


def place(path: Path) -> str:
    """A path as short as it can be said: below the working folder, or below the home folder."""
    for start, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.is_absolute() and path.is_relative_to(start):
            return printable(f"{sign}{path.relative_to(start)}")
    return printable(path)


def source_name(source: Mapping[str, Any]) -> str:
    """The last part of where a checkpoint came from, for headers."""
    written = str(source.get("source") or source.get("path") or "?").rstrip("/")
    return printable(written.rsplit("/", 1)[-1] or written)


def labels(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short names for a table: `L17 mlp.up_proj` where all blocks share one prefix, else the whole name."""
    split = [_split_block(record) for record in records]
    prefixes = {parts[0] for parts in split if parts}
    if len(prefixes) != 1:
        return [printable(record["name"]).removesuffix(".weight") for record in records]
    return [
        f"L{parts[1]} {printable(parts[2])}" if parts else printable(record["name"]).removesuffix(".weight")
        for parts, record in zip(split, records, strict=True)
    ]


def reason(record: Mapping[str, Any]) -> str:
    """Why a layer failed, without its own name in front."""
    text = printable(record.get("error") or "no reason given")
    return text.removeprefix(f"{printable(record['name'])}: ")


def _split_block(record: Mapping[str, Any]) -> tuple[str, int, str] | None:
    block = record.get("block")
    prefix, mark, rest = str(record["name"]).partition(f".{block}.")
    return (prefix, block, rest.removesuffix(".weight")) if mark and isinstance(block, int) else None


def fit_label(label: str, width: int) -> str:
    """A label cut to fit a column: the block in front and the tail are what tells layers apart."""
    if cell_len(label) <= width:
        return label
    head, space, rest = label.partition(" ")
    kept, rest = (f"{head} …", rest) if space else ("…", label)
    while rest and cell_len(kept + rest) > width:
        rest = rest[1:]
    return kept + rest
