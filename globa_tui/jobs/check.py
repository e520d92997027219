"""A merged model looked at once more: whether it would load, is whole, and is still a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from analysis.merge import BLOCK
from globa_tui.diagnostics import ProgramError
from globa_tui.jobs.check_model import config_faults, tokenizer_faults, transformers_faults
from globa_tui.jobs.drift import Drift, DriftMeter, norm
from globa_tui.jobs.sources import open_index, sources_of
from globa_tui.jobs.weights import LayerWeights, bad_entries
from globa_tui.recipe import Recipe
from globa_tui.safe_yaml import read as read_text
from store.checkpoints import Checkpoint, Index, Layer, TensorReader, open_checkpoint
from store.checkpoints.dtypes import FLOATING
from store.checkpoints.tied import find_ties
from store.errors import StoreError
from store.run import Run

State = Literal["passed", "warning", "failed", "skipped"]

MOST_LISTED = 5
FAR = 10.0
"""A norm this many times below or above those of all sources is a collapse."""
ODD = 2.0
"""A norm this many times below or above those of all sources is worth a look."""


@dataclass(frozen=True)
class CheckItem:
    """One thing that was looked at."""

    name: str
    state: State
    message: str


@dataclass(frozen=True)
class CheckReport:
    """Everything that was looked at, and the tensors that moved farthest."""

    out: str
    items: tuple[CheckItem, ...]
    drift: Mapping[str, Drift] = field(repr=False)

    @property
    def failed(self) -> bool:
        """Whether anything failed."""
        return any(item.state == "failed" for item in self.items)

    def largest(self, count: int = MOST_LISTED) -> list[tuple[str, Drift]]:
        """The tensors that moved farthest from the base, by ‖W − W0‖ / ‖W0‖."""
        return sorted(self.drift.items(), key=lambda pair: -pair[1].relative)[:count]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``; numbers that are not finite become null."""
        largest = [
            {"name": name, "relative": _finite(drift.relative), "inputs": list(drift.relative_inputs)}
            for name, drift in self.largest()
        ]
        return {
            "output": self.out,
            "failed": self.failed,
            "items": [asdict(item) for item in self.items],
            "largest_drift": largest,
        }


def check_output(
    out: Path,
    against: tuple[str, ...] = (),
    drift: Mapping[str, Drift] | None = None,
    vocab: str | None = None,
    *,
    allow_failed: bool = False,
) -> CheckReport:
    """Check a merged model.

    Parameters
    ----------
    out
        The folder.
    against
        Base and fine-tunes it was made of; empty means those that its ``globa_recipe.yaml`` names.
    drift
        What the merge measured; without it every value of the model and its sources is read.
    vocab
        Whose tokens it has; None is what its recipe says.
    allow_failed
        NaN and infinity are a warning: whoever merged let them through.

    Raises
    ------
    CheckpointError
        When `out`, or a source that was named, cannot be opened.
    """
    merged = open_checkpoint(str(out))
    items = [CheckItem("files", "passed", f"{len(merged.tensors):,} tensors, {merged.nbytes:,} bytes")]
    sources, found_vocab = (against, "base") if against else recorded_sources(out)
    index: Index | None = None
    if sources:
        index = open_index(sources[0], sources[1:], vocab=vocab or found_vocab)
        items.append(_names(merged, index))
    else:
        items.append(CheckItem("names", "skipped", "its sources are not known here; name them with --against"))
    usable = index if index is not None and items[-1].state == "passed" else None
    values, moved = _values(merged, usable, drift, "warning" if allow_failed else "failed")
    items += [*values, _tied(merged)]
    base = index.base if index is not None else None
    for name, faults in (
        ("config", config_faults(merged, base)),
        ("tokenizer", tokenizer_faults(merged, base)),
        ("transformers", transformers_faults(merged)),
    ):
        items.append(CheckItem(name, *faults))
    items.append(_collapse(moved) if usable is not None else _not_compared(index))
    return CheckReport(str(out), tuple(items), moved)


def recorded_sources(out: Path) -> tuple[tuple[str, ...], str]:
    """Sources and vocabulary that the recipe in the folder names, where they are on this machine."""
    path = out / "globa_recipe.yaml"
    try:
        recipe = Recipe.from_yaml(read_text(path), str(path)) if path.is_file() and not path.is_symlink() else None
        if recipe is None:
            return (), "base"
        names = (recipe.base or "", *recipe.fine_tuned)
        vocab = recipe.vocab or str(recipe.settings.get("vocab", "base"))
        if recipe.run is not None:
            manifest = Run.open(recipe.run).manifest
            base, fine_tuned = sources_of(manifest)
            names, vocab = (base, *fine_tuned), str(manifest["settings"].get("vocab", "base"))
    except (StoreError, ProgramError, ValueError, OSError):
        return (), "base"
    there = all(Path(name).is_absolute() and Path(name).exists() for name in names)
    return (names, vocab) if there else ((), "base")


def _names(merged: Checkpoint, index: Index) -> CheckItem:
    wanted = {name: shape for name, _, shape in index.outputs}
    for name, shape in wanted.items():
        found = merged.tensors.get(name)
        if found is None:
            return CheckItem("names", "failed", f"{name}: is in the base, not in the result")
        if found.shape != shape:
            text = f"{name}: has the shape {list(found.shape)}, expected {list(shape)}"
            return CheckItem("names", "failed", text)
    extra = next((name for name in merged.tensors if name not in wanted), None)
    if extra is not None:
        return CheckItem("names", "failed", f"{extra}: is in the result, not in the base")
    return CheckItem("names", "passed", "names and shapes as in the base")


def _values(
    merged: Checkpoint, index: Index | None, known: Mapping[str, Drift] | None, fault: State
) -> tuple[list[CheckItem], Mapping[str, Drift]]:
    """Whether all values are finite, and how far they moved."""
    moved: dict[str, Drift] = dict(known or {})
    bad = {name: -1 for name, drift in moved.items() if not math.isfinite(drift.merged)}
    if known is None:
        for name, drift, count in _measured(merged, index):
            if count:
                bad[name] = count
            if drift is not None:
                moved[name] = drift
    if bad:
        name, count = next(iter(bad.items()))
        text = f"{name}: holds {'' if count < 0 else f'{count:,} '}NaN or infinite entries"
        more = f" ({len(bad) - 1:,} more tensors do)" if len(bad) > 1 else ""
        return [CheckItem("finite", fault, text + more)], moved
    return [CheckItem("finite", "passed", "every value is finite")], moved


def _measured(merged: Checkpoint, index: Index | None) -> Iterator[tuple[str, Drift | None, int]]:
    """Every floating tensor: its drift where sources are known, and how many of its entries are not finite."""
    with TensorReader(merged) as reader:
        if index is None:
            for name, header in merged.tensors.items():
                if header.dtype in FLOATING:
                    yield name, None, sum(bad_entries(part) for part in _parts(reader, name, math.prod(header.shape)))
            return
        with LayerWeights(index, torch.device("cpu")) as weights:
            for layer in index.layers:
                if layer.dtype in FLOATING:
                    yield layer.name, *_drift(reader, layer, weights)


def _drift(reader: TensorReader, layer: Layer, weights: LayerWeights) -> tuple[Drift, int]:
    """How far a layer moved, and how many of its entries are not finite."""
    meter, bad = DriftMeter(len(layer.fine_tuned)), 0
    offset = (layer.part or 0) * math.prod(layer.shape)
    for part in weights.parts(layer):
        start = offset + part.first
        result = reader.read_flat(layer.tensor, start, start + part.weight.numel())
        size = meter.add(part.weight, result, [norm(one) for one in (part.weight, *part.deltas)])
        bad += 0 if math.isfinite(size) else bad_entries(result)
    return meter.drift, bad


def _parts(reader: TensorReader, name: str, entries: int) -> Iterator[torch.Tensor]:
    for start in range(0, entries, BLOCK):
        yield reader.read_flat(name, start, min(entries, start + BLOCK))


def _tied(merged: Checkpoint) -> CheckItem:
    ties = find_ties(merged)
    with TensorReader(merged) as reader:
        for name, other in ties.items():
            entries = math.prod(merged.tensors[name].shape)
            pairs = zip(_parts(reader, name, entries), _parts(reader, other, entries), strict=True)
            if not all(torch.equal(one, two) for one, two in pairs):
                return CheckItem("tied", "failed", f"{name}: differs from {other}, which the config ties it to")
    text = f"{len(ties)} tied tensors are equal" if ties else "no tensor is stored twice"
    return CheckItem("tied", "passed", text)


def _collapse(moved: Mapping[str, Drift]) -> CheckItem:
    """Tensors whose norm is nowhere near those of the sources."""
    far: list[str] = []
    odd: list[str] = []
    for name, drift in moved.items():
        # ‖W0‖ ± ‖τ_i‖ bounds the norm of every source.
        largest = max((drift.base + norm for norm in drift.task_vectors), default=drift.base)
        smallest = max(min((drift.base - norm for norm in drift.task_vectors), default=drift.base), 0.0)
        if (drift.merged == 0.0 < smallest) or drift.merged > FAR * largest or drift.merged < smallest / FAR:
            far.append(f"{name}: its norm is {drift.merged:.3g}, the base's {drift.base:.3g}")
        elif drift.merged > ODD * largest or drift.merged < smallest / ODD:
            odd.append(f"{name}: its norm is {drift.merged:.3g}, the base's {drift.base:.3g}")
    if far or odd:
        listed = far or odd
        more = f" ({len(listed) - 1:,} more tensors like it)" if len(listed) > 1 else ""
        return CheckItem("collapse", "failed" if far else "warning", listed[0] + more)
    return CheckItem("collapse", "passed", f"the norms of {len(moved):,} tensors are near those of the sources")


def _not_compared(index: Index | None) -> CheckItem:
    """Why nothing is said about norms and drift."""
    why = "its sources are not known here" if index is None else "names or shapes are not the base's"
    return CheckItem("collapse", "skipped", f"{why}, so that norms and drift have nothing to be compared with")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
