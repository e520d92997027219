"""Pictures for a paper, drawn by matplotlib: the map, the overlap types by block, spectra, hidden states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from globa_tui.cli.represent_table import model_names
from globa_tui.diagnostics import ProgramError, UsageError, printable
from globa_tui.tui.block_map import block_map
from globa_tui.tui.metrics import BY_KEY, TYPES
from store.files import make_folder, write_atomic
from store.run import Run, read_result

COLOURS = ("#009e73", "#e69f00", "#56b4e9", "#0072b2", "#d55e00", "#b07aa1")
"""Of the six types; told apart by people who see colours differently."""
DPI = 200
MOST_SPECTRA = 6


class PlotsError(ProgramError):
    """matplotlib is not there."""


def write_plots(run: Run, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write every picture that the run has the numbers for.

    Returns
    -------
    The files: ``map-overlap.png``, ``types-by-block.png``, ``spectra.png``, ``hidden-states.png``.

    Raises
    ------
    PlotsError
        matplotlib is not installed.
    UsageError
        A file is there already, and `overwrite` is false.
    """
    figure = _figure()
    records = [record for record in run.records() if record["status"] == "done"]
    pictures: dict[str, Callable[[Any], bool]] = {
        "map-overlap.png": lambda axes: _map(axes, records),
        "types-by-block.png": lambda axes: _types(axes, records),
        "spectra.png": lambda axes: _spectra(axes, run, records),
        "hidden-states.png": lambda axes: _hidden(axes, read_result(run.path)),
    }
    taken = [folder / name for name in pictures if (folder / name).exists()]
    if taken and not overwrite:
        msg = f"{taken[0]}: already there; choose another folder, or allow --overwrite"
        raise UsageError(msg)
    make_folder(folder)
    return [folder / name for name, draw in pictures.items() if _write(folder / name, figure, draw)]


def _figure() -> Any:
    """The class of figures; drawn in memory, so that no window system is asked for."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        msg = "pictures need matplotlib; install it with: pip install 'globa-tui[plots]'"
        raise PlotsError(msg) from error
    return Figure


def _write(path: Path, figure: Any, draw: Callable[[Any], bool]) -> bool:
    import io

    drawn = figure(figsize=(7, 4), layout="constrained")
    if not draw(drawn.subplots()):
        return False
    buffer = io.BytesIO()
    drawn.savefig(buffer, dpi=DPI, format="png")
    write_atomic(path, buffer.getvalue())
    return True


def _map(axes: Any, records: Sequence[Mapping[str, Any]]) -> bool:
    grid, metric = block_map(records), BY_KEY["overlap"]
    rows = [row for row in grid.rows if len(row.cells) == len(grid.blocks)]
    if not rows or not grid.blocks:
        return False
    values = [[_mean([metric.value(records[at]) for at in cell]) for cell in row.cells] for row in rows]
    image = axes.imshow(values, aspect="auto", cmap="cividis", vmin=0, vmax=1)
    axes.set_yticks(range(len(rows)), [_plain(row.label) for row in rows])
    axes.set_xlabel("block")
    axes.locator_params("x", integer=True)
    axes.figure.colorbar(image, label="subspace overlap")
    return True


def _types(axes: Any, records: Sequence[Mapping[str, Any]]) -> bool:
    blocks = sorted({record["block"] for record in records if record["block"] is not None})
    if not blocks:
        return False
    energy = {block: dict.fromkeys(TYPES, 0.0) for block in blocks}
    for record in records:
        if record["block"] is not None:
            for name in TYPES:
                energy[record["block"]][name] += record["patterns"][name]["energy"]
    below = [0.0] * len(blocks)
    for name, colour in zip(TYPES, COLOURS, strict=True):
        shares = [energy[block][name] / (sum(energy[block].values()) or 1.0) for block in blocks]
        axes.bar(blocks, shares, bottom=below, color=colour, label=name, width=0.9)
        below = [low + share for low, share in zip(below, shares, strict=True)]
    axes.set(xlabel="block", ylabel="share of retained energy", ylim=(0, 1))
    axes.locator_params("x", integer=True)
    axes.legend(ncols=len(TYPES), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return True


def _spectra(axes: Any, run: Run, records: Sequence[Mapping[str, Any]]) -> bool:
    """Spectra of the layers that moved most, a line for each fine-tune."""
    longest = sorted(records, key=lambda record: -max(float(n or 0.0) for n in record["norm"]["task_vectors"]))
    for number, record in enumerate(longest[:MOST_SPECTRA]):
        names = sorted(name for name in run.array_names(record["index"]) if name.startswith("spectrum/"))
        for name, values in run.arrays(record["index"], names).items():
            style = ("-", "--", ":", "-.")[(int(name[9:]) - 1) % 4]
            label = _plain(record["name"]) if name == names[0] else None
            axes.loglog(range(1, len(values) + 1), values, style, color=f"C{number}", label=label, linewidth=1)
    if not longest:
        return False
    axes.set(xlabel="rank", ylabel="singular value (each fine-tune its own dashes)")
    axes.legend(fontsize=6, frameon=False)
    return True


def _hidden(axes: Any, found: Mapping[str, Any] | None) -> bool:
    if found is None:
        return False
    names, values = [_plain(name) for name in model_names(found)], found[found["position"]]["relative"]
    image = axes.imshow(values, cmap="cividis", vmin=0)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.3 else "black")
    axes.figure.colorbar(image, label="relative distance of hidden states")
    return True


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


def _plain(text: object) -> str:
    """A name that matplotlib does not take for mathematics."""
    return printable(text).replace("$", r"\$")
