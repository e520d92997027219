"""Inputs for the models, drawn from the user's text files."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from globa_tui.diagnostics import UsageError

FIELDS = ("prompt", "text", "input", "question", "instruction", "content")
"""Keys of a JSON object that hold its text; the first that is there counts."""
PARAGRAPHS_FROM = 20
"""A text with at least one blank line in so many is taken by paragraphs, any other by lines."""
MOST_CHARACTERS = 100_000
"""A longer datapoint is cut before it is tokenised."""


@dataclass(frozen=True)
class Drawn:
    """The inputs that were drawn from one file."""

    path: str
    unit: str
    """`line`, `paragraph` or `record`."""
    datapoints: int
    """How many the file has."""
    texts: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of the texts that were drawn, in their order."""
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()


def draw(paths: Sequence[Path], samples: int, seed: int, field: str | None = None) -> list[Drawn]:
    """Draw `samples` datapoints from each file, the same for the same seed; all where a file has no more.

    Parameters
    ----------
    paths
        ``.jsonl`` and ``.ndjson``: an object, or a text, per line. Anything else: text, by paragraphs where at least
        one line in twenty is blank, otherwise by lines.
    samples
        k, at least 1. More inputs make every distance surer.
    seed
        Of the choice.
    field
        Key of the text in JSON objects; None takes the first of `FIELDS`, or the joined contents of ``messages``.

    Raises
    ------
    UsageError
        A file cannot be read or has no datapoints.

    Notes
    -----
    Files are read once from front to end; memory holds what is drawn.
    """
    return [_draw(path, samples, seed, field) for path in paths]


def _draw(path: Path, samples: int, seed: int, field: str | None) -> Drawn:
    if path.exists() and not path.is_file():
        msg = f"{path}: a folder, a pipe or a device; name a file of text"
        raise UsageError(msg)
    try:
        if path.suffix in {".jsonl", ".ndjson"}:
            unit, found = "record", _records(path, field)
        elif _has_paragraphs(path):
            unit, found = "paragraph", _paragraphs(path)
        else:
            unit, found = "line", (line.strip() for line in _lines(path))
        count, texts = _reservoir((text for text in found if text), samples, random.Random(seed))
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise UsageError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it"
        raise UsageError(msg) from error
    if not texts:
        msg = f"{path}: holds no text; name a file with a datapoint per line, or JSON objects per line"
        raise UsageError(msg)
    return Drawn(str(path), unit, count, tuple(texts))


def _reservoir(found: Iterable[str], samples: int, chance: random.Random) -> tuple[int, list[str]]:
    """Each of them with equal chance, in the order of the file; and how many there are."""
    kept: list[tuple[int, str]] = []
    count = 0
    for count, text in enumerate(found, 1):
        if len(kept) < samples:
            kept.append((count, text))
        elif (place := chance.randrange(count)) < samples:
            kept[place] = (count, text)
    return count, [text for _, text in sorted(kept)]


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        while line := file.readline(MOST_CHARACTERS):
            yield line


def _has_paragraphs(path: Path) -> bool:
    lines = blank = 0
    for line in _lines(path):
        lines += 1
        blank += not line.strip()
    return blank * PARAGRAPHS_FROM >= lines > 0


def _paragraphs(path: Path) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for line in _lines(path):
        if line.strip():
            if size < MOST_CHARACTERS:
                held.append(line)
                size += len(line)
        elif held:
            yield "".join(held).rstrip()
            held, size = [], 0
    yield "".join(held).rstrip()


def _records(path: Path, field: str | None) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _text_of(line, field, f"{path}: line {number}")[:MOST_CHARACTERS]


def _text_of(line: str, field: str | None, where: str) -> str:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"{where}: is not JSON ({error}); a .jsonl file has an object or a text per line"
        raise UsageError(msg) from error
    if isinstance(value, str) and field is None:
        return value.strip()
    if isinstance(value, dict):
        names = FIELDS if field is None else (field,)
        found = next((value[name] for name in names if isinstance(value.get(name), str)), None)
        if found is not None:
            return str(found).strip()
        if field is None and isinstance(value.get("messages"), list):
            parts = (one.get("content") for one in value["messages"] if isinstance(one, dict))
            return "\n".join(part for part in parts if isinstance(part, str)).strip()
    keys = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
    msg = f"{where}: has no text under {field or ', '.join(FIELDS)} (found: {keys[:200]}); name the key with --field"
    raise UsageError(msg)
