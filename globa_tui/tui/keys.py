"""The key table of the documentation: ``python -m globa_tui.tui.keys``, with ``--write`` into the files of a clone."""

from __future__ import annotations

import sys
from pathlib import Path

from globa_tui.tui.bindings import SCOPES, TITLES, Key, shown_keys
from globa_tui.tui.filters import SYNTAX
from globa_tui.tui.metrics import METRICS

BEGIN = "<!-- {}: python -m globa_tui.tui.keys --write -->"
END = "<!-- end of {} -->"


def full_table() -> str:
    """Every key with its id and what it does, one table per scope."""
    lines: list[str] = []
    for scope, keys in SCOPES.items():
        lines += [f"**{TITLES[scope]}**", "", "| key | id | action |", "| --- | --- | --- |"]
        lines += [f"| {_code(shown_keys(key))} | `{key.id}` | {_cell(key.help)} |" for key in keys]
        lines.append("")
    return "\n".join(lines).rstrip()


def short_table() -> str:
    """The keys of every screen in one line each."""
    lines = ["| where | keys |", "| --- | --- |"]
    for scope, keys in SCOPES.items():
        lines.append(f"| {TITLES[scope]} | {' · '.join(_short(key) for key in keys)} |")
    return "\n".join(lines)


def filter_table() -> str:
    """The filter language by examples."""
    lines = ["| filter | keeps |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {_code(example)} | {_cell(meaning)} |" for example, meaning in SYNTAX)])


def metric_table() -> str:
    """The numbers that a filter, the map and the table know."""
    lines = ["| name | number | meaning |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| `{m.short}` | {_cell(m.title)} | {_cell(m.meaning)} |" for m in METRICS)])


TABLES = {
    "README.md": {"keys": short_table, "filters": filter_table},
    "docs/keys.md": {"keys": full_table, "filters": filter_table, "numbers": metric_table},
}
"""Files of a clone, and the tables between markers in them."""


def updated(text: str, tables: dict[str, str]) -> str:
    """A text with the tables between their markers made anew."""
    for name, table in tables.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            msg = f"the markers of {name} are missing: {begin} and {end}"
            raise ValueError(msg)
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def _short(key: Key) -> str:
    return f"{_code(shown_keys(key))} {_cell(key.name)}"


def _code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|')}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Print all tables, or write them into the files below this folder."""
    if "--write" not in sys.argv[1:]:
        print("\n\n".join((full_table(), filter_table(), metric_table())))
        return
    for name, tables in TABLES.items():
        file = Path(name)
        text = file.read_text(encoding="utf-8")
        file.write_text(updated(text, {table: make() for table, make in tables.items()}), encoding="utf-8")


if __name__ == "__main__":
    main()
