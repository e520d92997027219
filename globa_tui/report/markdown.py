"""The report as Markdown: findings, overlap, hidden states, and the table of layers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from globa_tui.aggregate import compared_pairs
from globa_tui.cli.layers import layer_table
from globa_tui.cli.tables import Table
from globa_tui.diagnostics import printable
from globa_tui.findings import SURE, findings_of
from globa_tui.report.content import totals
from globa_tui.tui.metrics import PATTERN_WORDS
from store.run import Run, read_result

_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~$&])")


def markdown(run: Run, recipe: str | None = None) -> str:
    """The report as one Markdown text; names are escaped, so that none of them is taken for markup."""
    records = run.records()
    pairs = compared_pairs(run.manifest["settings"], len(run.manifest["sources"]) - 1)
    sources = [_text(source.get("source")) for source in run.manifest["sources"]]
    parts = [f"# {_text(run.path.name)}", f"Base {sources[0]}; fine-tunes {', '.join(sources[1:])}."]
    representation = read_result(run.path)
    found = findings_of(run.manifest, records, representation)
    parts.append("## Findings")
    parts.append(
        "\n".join(f"{n}. {_text(one.text)}. *{one.sure}*" for n, one in enumerate(found, 1)) or "Nothing stands out."
    )
    parts += [f"*{name}*: {SURE[name]}." for name in dict.fromkeys(one.sure for one in found)]
    energy = totals(records)
    whole = sum(energy.values())
    if whole:
        rows = [[name, f"{100 * energy[name] / whole:.1f}", PATTERN_WORDS[name]] for name in energy]
        parts += ["## Overlap", _table(["type", "% of energy", "what"], rows, "lrl")]
    if representation is not None:
        from globa_tui.cli.represent_table import model_table, pair_table, sentences

        parts += ["## Hidden states", _from(model_table(representation)), _from(pair_table(representation))]
        parts += [_text(one) for one in sentences(representation)]
    parts += ["## Layers", _from(layer_table(records, pairs))]
    if recipe is not None:
        parts += ["## Recipe", _block(recipe)]
    return "\n\n".join(parts) + "\n"


def _from(table: Table) -> str:
    rows = [*table.rows, *([table.total] if table.total else [])]
    return _table(table.columns, rows, "".join(table.align(column)[0] for column in table.columns))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    lines = [columns, ["---:" if side == "r" else "---" for side in align]]
    shown = [
        "| " + " | ".join(cells if n == 1 else map(_text, cells)) + " |" for n, cells in enumerate([*lines, *rows])
    ]
    return "\n".join(shown)


def _block(text: str) -> str:
    """A block of code that its text cannot end: indented."""
    return "\n".join(f"    {printable(line)}" for line in text.splitlines())


def _text(value: object) -> str:
    return _SIGNS.sub(r"\\\1", printable(value))
