"""Token embeddings of models whose vocabularies differ: which rows belong together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from store.checkpoints.finding import Finding
from store.checkpoints.model import Checkpoint, TensorHeader
from store.checkpoints.text import shown
from store.checkpoints.tied import is_input_embedding, is_output_embedding
from store.checkpoints.tokens import read_tokens, tokenizer_digest
from store.errors import MismatchError

CHOICE = re.compile(r"base|union|ft[1-9][0-9]{0,3}")
"""What may be asked of the merged vocabulary."""
_BIAS = re.compile(r"(?:^|\.)(?:lm_head|embed_out|predictions|predictions\.decoder|lm_head\.decoder)\.bias$")

Rows = tuple[int, ...]


@dataclass(frozen=True)
class Vocabulary:
    """For every row of the merged embeddings, its row in each model; -1 where a model has no such token."""

    choice: str
    size: int
    """Rows of the result."""
    tensors: frozenset[str] = field(repr=False)
    """Base names of the tensors with a row per token."""
    base: Rows | None = field(repr=False)
    """None means row by row."""
    fine_tuned: tuple[Rows | None, ...] = field(repr=False)
    added: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]], repr=False)
    """Tokens that ``union`` adds to the base's: their row, and the number (from 0) of the fine-tune they come from."""


@dataclass(frozen=True)
class _Side:
    """One model's rows, and what its tokenizer calls them."""

    rows: int
    tokens: Mapping[str, int] | None

    def names(self) -> dict[int, str]:
        return {row: token for token, row in (self.tokens or {}).items() if row < self.rows}


def is_token_table(name: str, header: TensorHeader) -> bool:
    """Whether a tensor has one row per token: input and output embeddings, and the bias of the latter."""
    if len(header.shape) == 2:
        return is_input_embedding(name) or is_output_embedding(name)
    return len(header.shape) == 1 and _BIAS.search(name) is not None


def plan_vocabulary(
    base: Checkpoint, models: Sequence[Checkpoint], names: Sequence[Mapping[str, str]], choice: str = "base"
) -> tuple[Vocabulary | None, list[Finding]]:
    """Match the rows of all token tables: by token where tokenizers are known, else by number.

    A token that a model calls by another name in the same row (a reserved token put to use) stays in that row.

    Parameters
    ----------
    base, models : Checkpoint
        The models.
    names : sequence of mapping
        For each fine-tune, its names for the base's tensors.
    choice : str
        ``base``, ``union``, or ``ft1`` and so on: whose tokens the result has.

    Returns
    -------
    Vocabulary or None
        None when all models have the same tokens in the same rows.
    list of Finding
        What was matched, what is left out.

    Raises
    ------
    MismatchError
        When ``choice`` names a fine-tune that is not there.
    """
    _check_choice(choice, len(models))
    tables = _tables(base)
    if not tables or not models:
        return None, []
    rows = base.tensors[tables[0]].shape[0]
    tables = [name for name in tables if base.tensors[name].shape[0] == rows]
    findings: list[Finding] = []
    sizes: list[int] = []
    for number, (model, paired) in enumerate(zip(models, names, strict=True), 1):
        found = {model.tensors[paired[name]].shape[0] for name in tables if name in paired}
        if len(found) > 1:
            findings.append(_uneven(model, number, found, tables[0]))
            return None, findings
        sizes.append(found.pop() if found else rows)
    sides = _sides(base, models, rows, sizes)
    if all(side == sides[0] for side in sides):
        return None, findings
    matches = [_match(sides[0], side) for side in sides[1:]]
    plan = _layout(choice, sides, matches, frozenset(tables))
    for number, (side, match) in enumerate(zip(sides[1:], matches, strict=True)):
        findings += _report(number, sides[0], side, match, plan)
    return (None, findings) if _is_plain(plan, rows) else (plan, findings)


def _check_choice(choice: str, models: int) -> None:
    if not CHOICE.fullmatch(choice) or (choice.startswith("ft") and int(choice[2:]) > models):
        fine_tunes = ", ".join(f"ft{number}" for number in range(1, models + 1))
        message = f"vocab is {shown(repr(choice))}; choose base, union, or one of {fine_tunes}"
        raise MismatchError(message)


def _tables(base: Checkpoint) -> list[str]:
    """Names of the base's token tables, the input embeddings first."""
    found = [name for name, header in base.tensors.items() if is_token_table(name, header)]
    return sorted(found, key=lambda name: not is_input_embedding(name))


def _uneven(model: Checkpoint, number: int, found: set[int], name: str) -> Finding:
    counts = " and ".join(f"{count:,}" for count in sorted(found))
    text = f"ft{number} ({shown(model.source)}): its token tables have {counts} rows; resize them to one size"
    return Finding("error", "shape", text, name)


def _sides(base: Checkpoint, models: Sequence[Checkpoint], rows: int, sizes: Sequence[int]) -> list[_Side]:
    """Rows and tokens of every model; tokens are read only where tokenizers differ."""
    digests = [tokenizer_digest(base), *(tokenizer_digest(model) for model in models)]
    if len({digest for digest in digests if digest is not None}) < 2 and all(size == rows for size in sizes):
        return [_Side(size, None) for size in (rows, *sizes)]
    tokens = {digest: read_tokens(model) for digest, model in zip(digests, (base, *models), strict=True)}
    # An adapter or a lone file without a tokenizer of its own uses the base's.
    own = [
        digest if digest is not None or size != rows else digests[0]
        for digest, size in zip(digests, (rows, *sizes), strict=True)
    ]
    return [_Side(size, tokens[digest]) for digest, size in zip(own, (rows, *sizes), strict=True)]


def _match(base: _Side, side: _Side) -> list[int]:
    """For every row of a model, the base's row; -1 for a token that the base does not have."""
    if base.tokens is None or side.tokens is None:
        return [row if row < base.rows else -1 for row in range(side.rows)]
    result = [-1] * side.rows
    used: set[int] = set()
    for token, row in side.tokens.items():
        ours = base.tokens.get(token)
        if row < side.rows and ours is not None and ours < base.rows and ours not in used:
            result[row] = ours
            used.add(ours)
    for row in range(min(side.rows, base.rows)):
        if result[row] < 0 and row not in used:
            result[row] = row
    return result


def _layout(choice: str, sides: Sequence[_Side], matches: Sequence[list[int]], tables: frozenset[str]) -> Vocabulary:
    rows = sides[0].rows
    inverses = [{ours: theirs for theirs, ours in enumerate(match) if ours >= 0} for match in matches]
    in_base = list(range(rows))
    extra: list[tuple[object, int]] = []
    added: dict[str, tuple[int, int]] = {}
    if choice == "union":
        extra = _extras(sides, matches)
        for position, (key, owner) in enumerate(extra):
            if isinstance(key, str):
                added[key] = (rows + position, owner)
        in_base += [-1] * len(extra)
        keys: list[object] = [None] * rows + [key for key, _ in extra]
    elif choice != "base":
        chosen = int(choice[2:]) - 1
        in_base = matches[chosen]
        names = sides[chosen + 1].names()
        keys = [names.get(row, row) if ours < 0 else None for row, ours in enumerate(in_base)]
    else:
        keys = [None] * rows
    maps: list[list[int]] = []
    for side, inverse, match in zip(sides[1:], inverses, matches, strict=True):
        own = {key: row for key, row in _keyed(side) if match[row] < 0}
        maps.append(
            [inverse.get(ours, -1) if ours >= 0 else own.get(key, -1) for ours, key in zip(in_base, keys, strict=True)]
        )
    size = len(in_base)
    return Vocabulary(
        choice,
        size,
        tables,
        _plain(in_base, rows),
        tuple(_plain(rows_of, side.rows) for rows_of, side in zip(maps, sides[1:], strict=True)),
        added,
    )


def _keyed(side: _Side) -> list[tuple[object, int]]:
    """What identifies each row of a model: its token, or its number where there are no tokens at all."""
    names = side.names()
    return [(names.get(row, row), row) for row in range(side.rows)]


def _extras(sides: Sequence[_Side], matches: Sequence[list[int]]) -> list[tuple[object, int]]:
    """Tokens (or, without tokenizers, rows) that the base lacks, in the order of the fine-tunes."""
    found: dict[object, int] = {}
    for number, (side, match) in enumerate(zip(sides[1:], matches, strict=True)):
        known = sides[0].tokens is not None and side.tokens is not None
        for key, row in _keyed(side):
            if match[row] < 0 and (isinstance(key, str) or not known):
                found.setdefault(key, number)
    return list(found.items())


def _plain(rows: list[int], count: int) -> Rows | None:
    return None if rows == list(range(count)) else tuple(rows)


def _is_plain(plan: Vocabulary, rows: int) -> bool:
    return plan.size == rows and plan.base is None and all(rows_of is None for rows_of in plan.fine_tuned)


def _report(number: int, base: _Side, side: _Side, match: list[int], plan: Vocabulary) -> list[Finding]:
    """Say how one fine-tune's rows were matched, and which of them the result does not have."""
    moved = sum(ours not in (-1, row) for row, ours in enumerate(match))
    extra = [row for row, ours in enumerate(match) if ours < 0]
    lacking = base.rows - sum(ours >= 0 for ours in match)
    if not (moved or extra or lacking):
        return []
    by_token = base.tokens is not None and side.tokens is not None
    way = "by token" if by_token else "by row number, for want of tokenizers to compare"
    text = f"ft{number + 1}: {side.rows:,} rows of tokens, the base has {base.rows:,}; matched {way}"
    text += f", {moved:,} in other rows" if moved else ""
    text += f"; {lacking:,} of the base's rows are not in it and count as unchanged there" if lacking else ""
    kept = plan.fine_tuned[number]
    held = set(range(plan.size) if kept is None else kept)
    lost = [row for row in extra if row not in held]
    if extra:
        names = side.names()
        first = shown(names.get(extra[0], f"row {extra[0]}"))
        text += f"; {len(extra):,} rows only there (first: {first}): "
        text += (
            "kept from their owner"
            if not lost
            else f"{len(lost):,} left out, --vocab union or ft{number + 1} keeps them"
        )
    return [Finding("warning" if lost or not by_token else "info", "vocabulary", text, min(plan.tensors))]
