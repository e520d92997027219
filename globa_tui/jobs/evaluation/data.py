"""Files that models are measured on: text, and questions in JSONL. Free of torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from globa_tui.diagnostics import UsageError

DataKind = Literal["text", "answer", "choice"]

_LIMIT = 1 << 31
_JSONL = (".jsonl", ".ndjson")


class DataError(UsageError):
    """A file of data cannot be used; the message names the line and what is expected there."""


@dataclass(frozen=True)
class Question:
    """A prompt with its right answer; with choices, one of them."""

    prompt: str
    answer: str
    choices: tuple[str, ...] = ()
    right: int = -1
    """Place of the right one among the choices."""
    stop: tuple[str, ...] = ()
    """Texts at which a generated answer ends."""


@dataclass(frozen=True)
class DataSet:
    """What one file holds: texts, or questions of one kind."""

    name: str
    path: Path
    sha256: str
    """Hash of the file's bytes."""
    kind: DataKind
    texts: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()

    @property
    def size(self) -> int:
        """Characters to read, as a measure of the work."""
        return sum(map(len, self.texts)) + sum(
            len(q.prompt) * max(1, len(q.choices)) + len(q.answer) for q in self.questions
        )


def read_data(word: str) -> DataSet:
    """Read ``PATH`` or ``NAME=PATH``; the name is the file's stem otherwise.

    A file that ends in ``.jsonl`` holds one object per line: ``text``, or ``prompt`` and ``answer``, or ``prompt``,
    ``choices`` and ``answer`` (one of the choices, or its number from 0). ``stop``, a text or a list, ends a generated
    answer. Any other file is one text in UTF-8.

    Raises
    ------
    DataError
        Naming the file and the line.
    """
    name, path = split_name(word)
    if path.exists() and not path.is_file():
        msg = f"{path}: a folder, a pipe or a device; name a file of text or JSONL"
        raise DataError(msg)
    try:
        if path.stat().st_size > _LIMIT:
            msg = f"{path}: larger than {_LIMIT:,} bytes; cut it into parts"
            raise DataError(msg)
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        msg = f"{path}: {error.strerror or error}; name a file of text or JSONL"
        raise DataError(msg) from None
    except UnicodeDecodeError as error:
        msg = f"{path}: byte {error.start:,} is not UTF-8; convert the file"
        raise DataError(msg) from None
    digest = hashlib.sha256(data).hexdigest()
    if path.suffix.lower() in _JSONL:
        kind, texts, questions = _rows(text, path)
        return DataSet(name, path, digest, kind, texts, questions)
    if not text:
        msg = f"{path}: empty"
        raise DataError(msg)
    return DataSet(name, path, digest, "text", (text,))


def split_name(word: str) -> tuple[str, Path]:
    """Name and path of ``PATH`` or ``NAME=PATH``."""
    named = re.fullmatch(r"([\w.+-]+)=(.+)", word, flags=re.DOTALL)
    if named is not None and not Path(word).exists():
        return named[1], Path(named[2]).expanduser()
    return Path(word).stem, Path(word).expanduser()


def read_all(words: Sequence[str]) -> list[DataSet]:
    """Read several files; no two may have the same name."""
    found = [read_data(word) for word in words]
    names = [data.name for data in found]
    for name in names:
        if names.count(name) > 1:
            msg = f"two files are named {name!r}; give them names: --data first=A.txt --data second=B.txt"
            raise DataError(msg)
    return found


def _rows(text: str, path: Path) -> tuple[DataKind, tuple[str, ...], tuple[Question, ...]]:
    kinds: set[DataKind] = set()
    texts: list[str] = []
    questions: list[Question] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = _object(line, where)
        kind: DataKind = "text" if "text" in row else "choice" if "choices" in row else "answer"
        kinds.add(kind)
        if kind == "text":
            texts.append(_word(row, "text", where))
        else:
            questions.append(_question(row, where))
        if len(kinds) > 1:
            msg = f"{where}: another kind of row than before ({' and '.join(sorted(kinds))}); use a file for each"
            raise DataError(msg)
    if not kinds:
        msg = f"{path}: no rows"
        raise DataError(msg)
    return kinds.pop(), tuple(texts), tuple(questions)


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or not ({"text", "prompt"} & set(row)):
        msg = f'{where}: not an object with "text", or with "prompt" and "answer"'
        raise DataError(msg)
    return row


def _question(row: Mapping[str, Any], where: str) -> Question:
    prompt = _word(row, "prompt", where)
    stop = row.get("stop", [])
    stops: tuple[Any, ...] = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else (None,)
    if not all(isinstance(one, str) and one for one in stops):
        msg = f'{where}: "stop" must be a text or a list of texts'
        raise DataError(msg)
    if "choices" not in row:
        return Question(prompt, _word(row, "answer", where), stop=stops)
    choices = row["choices"]
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
        msg = f'{where}: "choices" must be a list of at least two texts'
        raise DataError(msg)
    answer = row.get("answer")
    if type(answer) is int and 0 <= answer < len(choices):
        return Question(prompt, choices[answer], tuple(choices), answer)
    if isinstance(answer, str) and answer in choices:
        return Question(prompt, answer, tuple(choices), choices.index(answer))
    msg = f'{where}: "answer" is none of the choices, nor the number of one (from 0)'
    raise DataError(msg)


def _word(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        msg = f'{where}: "{key}" must be a text that is not empty'
        raise DataError(msg)
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        msg = f'{where}: "{key}" holds half a character (a lone surrogate); write it whole'
        raise DataError(msg)
    return value
