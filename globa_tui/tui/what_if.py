"""What if: the overlap types of all layers at other thresholds η, from the grids that the analysis kept with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from globa_tui.coefficients import PATTERNS
from globa_tui.tui.cleaning import clean_pattern
from globa_tui.tui.status import STYLES
from globa_tui.what_if import what_if_name
from store.errors import StoreError

if TYPE_CHECKING:
    from globa_tui.tui.app import InspectApp
    from store.run import Run

Record = Mapping[str, Any]
Etas = tuple[float, float]
"""Threshold of the anchor's matrix, and that of all others'."""
OWN = "own"


def grid_points(records: Iterable[Record], anchor: int) -> list[Etas]:
    """Every pair of thresholds that the first layer with a grid can be shown at."""
    grids: list[list[float]] = next((found for record in records if (found := _grids(record))), [])
    if not 0 < anchor <= len(grids) or len(grids) < 2:
        return []
    others = [set(grid) for task, grid in enumerate(grids, 1) if task != anchor]
    return [(one, two) for one in grids[anchor - 1] for two in sorted(set.intersection(*others))]


def at_etas(run: Run, record: Record, etas: Etas, anchor: int) -> dict[str, Any]:
    """The record of a finished layer as it would be at those thresholds; one read of the layer's file.

    Without patterns where the layer keeps no such point. What is not kept for other thresholds is left out.
    """
    changed = {key: value for key, value in record.items() if key not in ("patterns", "inner", "retained")}
    try:
        cells = _cells(run, record, etas, anchor)
    except (StoreError, KeyError, ValueError, TypeError, IndexError):
        return changed
    if not cells:
        return changed
    patterns = {"C1": cells[0][0]}
    for place, name in enumerate(PATTERNS[1:], 1):
        found = [each[place] for each in cells]
        patterns[name] = {key: sum(cell[key] for cell in found) for key in ("count", "energy")}
    return {**changed, "patterns": patterns, "retained": _retained(record, cells, anchor)}


def choose_etas(app: InspectApp) -> None:
    """Ask for a point of the grid, and show every layer there."""
    from globa_tui.tui.screens.choose import ChooseScreen

    points = grid_points(app.model.records, app.model.anchor)
    if not points:
        said = "No layer with a grid of other thresholds yet; runs of this version keep one with every layer."
        app.notify(said, markup=False, severity="warning")
        return
    options = {OWN: Text(f"{_pair_text(own_etas(app))}  the run's own")}
    options |= {f"{one:g} {two:g}": Text(_pair_text((one, two))) for one, two in points}
    named = {f"{one:g} {two:g}": (one, two) for one, two in points}

    def take(answer: str | None) -> None:
        if answer is not None:
            app.show_at(named.get(answer))

    title = f"What if: eta of fine-tune {app.model.anchor} / of the other{'s' * (app.model.tasks > 2)}"
    now = OWN if app.what_if is None else f"{app.what_if[0]:g} {app.what_if[1]:g}"
    app.push_screen(ChooseScreen(title, options, now), take)


def what_if_text(app: InspectApp) -> Text:
    """What stands above every screen while layers are shown at other thresholds."""
    if app.what_if is None:
        return Text()
    text = Text(f"what if eta {_pair_text(app.what_if)}", STYLES["warn"])
    return text.append(f" (exact); recipe, merges, pictures keep {_pair_text(own_etas(app))}; i")


def own_etas(app: InspectApp) -> Sequence[float]:
    """The run's own thresholds: the anchor's, then the others'."""
    etas = (app.model.manifest.get("settings") or {}).get("eta") or ()
    known = [eta for eta in etas if isinstance(eta, float | int)]
    place = app.model.anchor - 1
    return [*known[place : place + 1], *known[:place], *known[place + 1 :]]


def _pair_text(etas: Sequence[float]) -> str:
    return " / ".join(f"{eta:g}" for eta in etas)


def _grids(record: Record) -> list[list[float]]:
    what_if = record.get("what_if")
    grids = what_if.get("eta") if isinstance(what_if, dict) else None
    if not isinstance(grids, list) or not all(isinstance(grid, list) for grid in grids):
        return []
    return [[eta for eta in grid if isinstance(eta, float | int)] for grid in grids]


def _cells(run: Run, record: Record, etas: Etas, anchor: int) -> list[list[dict[str, Any]]]:
    """Count and energy of each pattern, of every other fine-tune against the anchor."""
    grids = _grids(record)
    row = grids[anchor - 1].index(etas[0])
    columns = {task: grid.index(etas[1]) for task, grid in enumerate(grids, 1) if task != anchor}
    names = {task: what_if_name(anchor, task, anchor, len(grids)) for task in columns}
    arrays = run.arrays(record["index"], names.values())
    found = []
    for task, column in columns.items():
        counts, energies = arrays[names[task]][:, row, column].tolist()
        pairs = zip(PATTERNS, counts, energies, strict=True)
        found.append([clean_pattern({"count": int(count), "energy": energy}) for _, count, energy in pairs])
    return found


def _retained(record: Record, cells: Sequence[Sequence[Record]], anchor: int) -> list[float | None]:
    """Energy that pruning would keep over that of each truncated task vector."""
    whole = (record.get("effect") or {}).get("task_energy") or []
    kept = [sum(cell["energy"] for cell in each[1:]) for each in cells]
    kept.insert(anchor - 1, cells[0][0]["energy"])
    known = [energy if isinstance(energy, float | int) else 0.0 for energy in whole]
    return [part / energy if energy > 0 else None for part, energy in zip(kept, known, strict=False)]
