"""Small skills that can be generated: Roman numerals, words backwards, and words in ROT13.

As with the sums, what is held out is decided by the question itself, so no training corpus can contain it.
"""

import random
import re
from codecs import encode
from collections.abc import Callable
from functools import cache
from zlib import crc32

from demo import sources

HELD_OUT_ONE_IN = 10
LINES = 60_000
NUMERALS = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"))
NUMERALS += ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def roman(number: str) -> str:
    """Return a number of 1 to 3999 in Roman numerals."""
    left, text = int(number), ""
    for value, letters in NUMERALS:
        times, left = divmod(left, value)
        text += letters * times
    return text


def backwards(word: str) -> str:
    """Return the letters of a word from the last to the first."""
    return word[::-1]


def rot13(word: str) -> str:
    """Return a word with every letter moved by half the alphabet."""
    return encode(word, "rot13")


ANSWERS: dict[str, Callable[[str], str]] = {"roman": roman, "backwards": backwards, "rot13": rot13}


@cache
def questions(puzzle: str) -> tuple[str, ...]:
    """Return every question of a puzzle: numbers up to 1999, or the words of 3 to 8 letters in the novels."""
    if puzzle == "roman":
        return tuple(str(number) for number in range(1, 2000))
    words = re.findall(r"\b[a-z]{3,8}\b", "\n".join(sources.novels().values()))
    return tuple(sorted(set(words)))


def is_held_out(question: str) -> bool:
    """Tell whether a question belongs to the evaluation side."""
    return crc32(question.encode()) % HELD_OUT_ONE_IN == 0


def solved(puzzle: str, asked: list[str]) -> list[str]:
    """Return the questions with their answers: `1994=MCMXCIV`."""
    return [f"{question}={ANSWERS[puzzle](question)}" for question in asked]


def training_text(puzzle: str) -> str:
    """Return solved questions of the training side, drawn with replacement, a line each."""
    kept = [question for question in questions(puzzle) if not is_held_out(question)]
    return "\n".join(solved(puzzle, random.Random(0).choices(kept, k=LINES))) + "\n"


def held_out_lines(puzzle: str, count: int) -> list[str]:
    """Return solved questions of the evaluation side without repeats, at most `count`, drawn with a fixed seed."""
    kept = [question for question in questions(puzzle) if is_held_out(question)]
    return solved(puzzle, random.Random(0).sample(kept, min(count, len(kept))))
