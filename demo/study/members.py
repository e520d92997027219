"""Who takes part, what each is measured on, and the files with that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from demo import families, puzzles
from demo.evaluate import EXAMPLES
from demo.family import BASE, DATA, FOLDER, MODELS

OUT = FOLDER.parent / "build" / "study"
TUNING, TEST = 40, 80
"""Questions of each kind; test questions come after those for tuning."""
TUNING_TEXT, TEST_TEXT = 2_000, 4_000
"""Characters of text."""
PIECE = 500
"""Characters of text in one place."""
PARTS = ("tune", "test")


@dataclass(frozen=True)
class Member:
    """A fine-tune of the demo base, and the task it was made for."""

    name: str
    folder: Path
    task: str


MEMBERS = (
    *(Member(name, MODELS / name, name) for name in ("math", "code", "prose")),
    Member("sums", families.OUT / "sums", "math"),
    Member("script", families.OUT / "script", "code"),
    Member("gospel", families.OUT / "gospel", "prose"),
    *(Member(name, families.OUT / name, name) for name in puzzles.ANSWERS),
)
BASE_FOLDER = MODELS / BASE
TEXTS = ("code", "prose")
"""Tasks that are measured in bits per byte alone; the others by exact answers too."""


def members_of(names: Sequence[str]) -> tuple[Member, ...]:
    """The members of these names, all where there are none."""
    return tuple(member for member in MEMBERS if not names or member.name in names)


def pairs_of(members: Sequence[Member]) -> list[tuple[Member, Member]]:
    """Every two of different tasks; the first of a pair is the anchor."""
    return [pair for pair in combinations(members, 2) if pair[0].task != pair[1].task]


def write_data(out: Path = OUT / "data") -> None:
    """Write every task's tuning and test file, nothing of which was in training."""
    out.mkdir(parents=True, exist_ok=True)
    for task in TEXTS:
        text = (DATA / f"{task}.txt").read_text(encoding="utf-8")
        for part, (chosen, size) in {"tune": ((0,), TUNING_TEXT), "test": ((2, 4), TEST_TEXT)}.items():
            (out / f"{task}.{part}.txt").write_text(_spread(text, chosen, size), encoding="utf-8")
    sums = (DATA / "math.txt").read_text(encoding="utf-8").splitlines()
    _write_questions(out, "math", EXAMPLES, sums)
    for puzzle in puzzles.ANSWERS:
        asked = [question for question in puzzles.questions(puzzle) if not puzzles.is_held_out(question)]
        shown = puzzles.solved(puzzle, [asked[7], asked[-9], asked[len(asked) // 2]])
        examples = "".join(f"{line}\n" for line in shown)
        _write_questions(out, puzzle, examples, puzzles.held_out_lines(puzzle, TUNING + TEST))


def _spread(text: str, places: tuple[int, ...], size: int) -> str:
    """Pieces from all over a text, `size` characters in all: of six equal parts of each piece those at `places`."""
    pieces = size // (PIECE * len(places))
    starts = [len(text) * piece // pieces for piece in range(pieces)]
    step = len(text) // pieces // 6
    return "".join(text[start + place * step :][:PIECE] for start in starts for place in places)


def _write_questions(out: Path, task: str, examples: str, lines: list[str]) -> None:
    parts = {"tune": lines[:TUNING], "test": lines[TUNING : TUNING + TEST]}
    for part, chosen in parts.items():
        rows = [dict(zip(("prompt", "answer"), line.split("="), strict=True)) for line in chosen]
        made = [{"prompt": f"{examples}{row['prompt']}=", "answer": row["answer"], "stop": "\n"} for row in rows]
        (out / f"{task}.{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")


def data_words(tasks: tuple[str, ...], parts: tuple[str, ...] = PARTS, out: Path = OUT / "data") -> tuple[str, ...]:
    """Files of some tasks, as ``--data`` takes them: ``math.tune=…``."""
    kinds = {task: "txt" if task in TEXTS else "jsonl" for task in tasks}
    return tuple(f"{task}.{part}={out / f'{task}.{part}.{kinds[task]}'}" for task in tasks for part in parts)
