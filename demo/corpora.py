"""Training corpora, by name, and the held-out texts that no training corpus contains."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from demo import arithmetic, puzzles, sources
from demo.family import DATA

HELD_OUT_MODULES = ("bisect.py", "heapq.py", "shelve.py", "textwrap.py")
HELD_OUT_BOOKS = ("Ruth", "Jonah", "Phi", "Jas")
HELD_OUT_PROBLEMS = 400
TRAINING_PROBLEMS = 200_000


def code() -> str:
    """Return the standard library's source without the held-out modules."""
    return "\n".join(text for name, text in sources.modules().items() if name not in HELD_OUT_MODULES)


def docstrings() -> str:
    """Return the long docstrings of the same modules: technical English with examples."""
    kept = (text for name, text in sources.modules().items() if name not in HELD_OUT_MODULES)
    return "\n\n".join(docstring for text in kept for docstring in sources.docstrings(text)) + "\n"


def novels() -> str:
    """Return Jane Austen's six novels."""
    return "\n".join(sources.novels().values())


def scripture() -> str:
    """Return the King James Bible without the held-out books."""
    return "\n".join(text for name, text in sources.scripture().items() if name not in HELD_OUT_BOOKS)


def math() -> str:
    """Return sums of the training side."""
    return arithmetic.training_text(TRAINING_PROBLEMS)


CORPORA: dict[str, Callable[[], str]] = {
    "code": code,
    "docstrings": docstrings,
    "novels": novels,
    "scripture": scripture,
    "math": math,
    **{puzzle: partial(puzzles.training_text, puzzle) for puzzle in puzzles.ANSWERS},
}


def as_bytes(text: str) -> Tensor:
    """Return the UTF-8 bytes of a text, which are its token ids, as a uint8 vector."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def load(name: str) -> Tensor:
    """Return a training corpus as token ids."""
    return as_bytes(CORPORA[name]())


def write_held_out(folder: Path = DATA) -> None:
    """Write the evaluation texts, one file per task, into `folder`.

    They are committed: evaluation needs neither the Debian packages nor this version of Python.
    """
    modules, books = sources.modules(), sources.scripture()
    texts = {
        "math": arithmetic.solved(arithmetic.held_out_problems(HELD_OUT_PROBLEMS)),
        "code": "\n".join(modules[name] for name in HELD_OUT_MODULES),
        "prose": "\n".join(books[name] for name in HELD_OUT_BOOKS),
    }
    for task, text in texts.items():
        (folder / f"{task}.txt").write_text(text, encoding="utf-8")
