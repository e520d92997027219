"""Generated sums: addition, subtraction and multiplication, split into training and held-out problems.

A problem is held out by what it is, not by chance: every problem has one side for good, `3+4` and `4+3`
have the same one, and the training generator draws from its own side only.
"""

import random
from collections.abc import Iterator
from functools import cache
from zlib import crc32

HELD_OUT_ONE_IN = 10


def all_problems() -> Iterator[str]:
    """Yield every problem: `a+b` and `a-b` (a ≥ b) up to 99, `a*b` up to 20."""
    for a in range(100):
        for b in range(100):
            yield f"{a}+{b}"
            if a >= b:
                yield f"{a}-{b}"
            if a <= 20 and b <= 20:
                yield f"{a}*{b}"


def answer(problem: str) -> int:
    """Return the value of `a+b`, `a-b` or `a*b`."""
    if "+" in problem:
        a, b = problem.split("+")
        return int(a) + int(b)
    if "-" in problem:
        a, b = problem.split("-")
        return int(a) - int(b)
    a, b = problem.split("*")
    return int(a) * int(b)


def is_held_out(problem: str) -> bool:
    """Tell whether a problem belongs to the evaluation side; `a+b` and `b+a` always agree."""
    for sign in "+*":
        if sign in problem:
            problem = sign.join(sorted(problem.split(sign), key=int))
    return crc32(problem.encode()) % HELD_OUT_ONE_IN == 0


@cache
def training_problems() -> tuple[str, ...]:
    """Return every problem of the training side."""
    return tuple(problem for problem in all_problems() if not is_held_out(problem))


def held_out_problems(count: int, seed: int = 0) -> list[str]:
    """Return `count` problems of the evaluation side, drawn once with a fixed seed, without repeats."""
    held_out = [problem for problem in all_problems() if is_held_out(problem)]
    return random.Random(seed).sample(held_out, count)


def solved(problems: list[str]) -> str:
    """Return the problems with their answers, a line each: `12+30=42`."""
    return "".join(f"{problem}={answer(problem)}\n" for problem in problems)


def training_text(lines: int, seed: int = 0) -> str:
    """Return `lines` solved problems drawn with replacement from the training side."""
    return solved(random.Random(seed).choices(training_problems(), k=lines))
