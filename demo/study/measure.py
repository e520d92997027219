"""Everything the study measures of one pair of fine-tunes, and of all of them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.merged_alignment import merged_alignment
from demo.study.bed import SETTINGS, Bed
from demo.study.members import BASE_FOLDER, Member, data_words
from demo.study.score import Scores
from globa_tui.aggregate import aggregate
from globa_tui.jobs.represent import RepresentRequest, run_represent
from globa_tui.jobs.sweep.candidate import Candidate
from globa_tui.jobs.sweep.search import two_stage
from globa_tui.suggest import suggest

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "WA": ("linear", {}),
    "TA": ("task_arithmetic", {}),
    "TIES": ("ties", {}),
    "DARE": ("dare_linear", {}),
    "SLERP": ("slerp", {}),
    "TSV-M": ("tsv_m", {}),
    "Iso-C": ("iso_c", {}),
    "Iso-CTS": ("iso_cts", {}),
    "AlignMerge-O": ("alignmerge_o", {}),
    "AlignMerge-B": ("alignmerge_b", {}),
    "TIES + B": ("alignmerge_b", {"base_method": "ties"}),
    "DARE + B": ("alignmerge_b", {"base_method": "dare_linear"}),
}
RIVALS = ("WA", "TA", "TIES", "DARE")
COLLAPSE = ("TIES", "WA", "DARE", "SLERP", "TA")
"""The columns of the collapse paper's Table 4; its LA is the average."""
DIRECTIONS = 32


@dataclass(frozen=True)
class Pair:
    """What was measured of a pair: results by merge, and numbers from the weights."""

    members: tuple[Member, Member]
    results: dict[str, Any]
    weights: dict[str, float]
    sai: dict[str, dict[str, list[float]]]
    """``signed`` and ``absolute`` SAI by method and place in the spectrum, median over matrices and tasks."""

    @property
    def name(self) -> str:
        return " + ".join(member.name for member in self.members)

    def scores(self, part: str) -> Scores:
        return Scores(self.members, self.results, part)


def measure_pair(members: tuple[Member, Member]) -> Pair:
    """Measure all merges of a pair; what its journal has is not measured again."""
    torch.set_num_threads(1)
    bed = Bed(members)
    bed.sources()
    for key, (name, params) in METHODS.items():
        bed.method(key, name, params)
    bed.kept("swept", lambda: _two_stages(bed))
    weights = bed.kept("weights", lambda: weight_measures(bed.records))
    sai = bed.kept("SAI", lambda: {key: _sai(bed, key) for key in RIVALS[:3]})
    suggested = bed.kept("suggestion", lambda: _suggestion(bed))
    bed.candidate("suggested", Candidate.from_dict(suggested["candidate"]))
    return Pair(members, bed.found, weights, sai)


def is_measured(members: tuple[Member, Member]) -> bool:
    """Whether nothing of a pair is left to measure."""
    return "suggested" in Bed(members).found


def _two_stages(bed: Bed) -> str:
    """The paper's search on the tuning data; the key of its best candidate."""
    search = two_stage()
    wave = next(search)
    scores: dict[str, float] = {}
    while True:
        for one in wave:
            bed.candidate(one.why, one.candidate)
            scores[one.why] = Scores(bed.members, bed.found, "tune").harmonic(one.why)
        try:
            wave = search.send([scores[one.why] for one in wave])
        except StopIteration:
            return max(scores, key=lambda why: scores[why])


def _suggestion(bed: Bed) -> dict[str, Any]:
    """What `suggest` says from the weights alone."""
    found = suggest(str(bed.run), bed.records, SETTINGS.to_dict(), None)
    return {"scenario": found.scenario, "candidate": Candidate(found.recipe.coefficients).to_dict()}


def weight_measures(records: list[dict[str, Any]]) -> dict[str, float]:
    """Measures of the weights over all analysed matrices; the first of the pair is the anchor."""
    (model,) = aggregate([record for record in records if record["status"] == "done"], "model", 1, 2)
    (found,) = model["pairs"]
    conflict = found["conflict"]
    return {
        "Parameter Magnitude Change Ratio": conflict["magnitude_change"],
        "Parameter Sign Change Ratio": conflict["sign_change"],
        "Conflicting Parameter Magnitude Change Ratio": conflict["conflicting_magnitude_change"],
        "Average Cosine Similarity": conflict["mean_cosine"],
        **{f"energy of type {name}": found["patterns"][name]["share"] for name in ("A", "B", "C", "D+", "D-", "E")},
        "overlap of outputs": found["orthogonality"]["left"],
        "overlap of inputs": found["orthogonality"]["right"],
        "size of the first": model["relative_size"][0],
        "size of the second": model["relative_size"][1],
    }


def _sai(bed: Bed, key: str) -> dict[str, list[float]]:
    """SAI of a method's merge by place in the spectrum, median over matrices and tasks."""
    bed.show_method(*METHODS[key])
    rows = torch.cat([_signed(deltas, merged) for _, deltas, merged in bed.matrices()])
    kinds = {"signed": rows, "absolute": rows.abs()}
    return {kind: [float(value) for value in values.nanmedian(0).values] for kind, values in kinds.items()}


def _signed(deltas: list[Tensor], merged: Tensor) -> Tensor:
    """Of every task in the leading directions; NaN where a matrix has fewer."""
    found = merged_alignment(merged, deltas, count=DIRECTIONS).signed_index
    rows = torch.full((len(deltas), DIRECTIONS), float("nan"), dtype=torch.float64)
    rows[:, : found.shape[1]] = found
    return rows


@dataclass(frozen=True)
class Group:
    """All members merged into one, and how far apart their hidden states are."""

    members: tuple[Member, ...]
    results: dict[str, Any]
    similar: list[list[float]]
    """HiddenSim."""
    difficulty: list[float]
    """MDS."""

    def scores(self, part: str) -> Scores:
        return Scores(self.members, self.results, part)


def measure_group(members: tuple[Member, ...], progress: Callable[[str], None] = lambda text: None) -> Group:
    """Merge all members by every method that takes so many, and run them all on the same inputs."""
    bed = Bed(members)
    bed.sources()
    for key, (name, params) in METHODS.items():
        if name != "slerp":
            progress(f"all of them: {key}")
            bed.method(key, name, params)
    states = bed.kept("states", lambda: _states(members))
    return Group(members, bed.found, states["similar"], states["difficulty"])


def _states(members: tuple[Member, ...]) -> dict[str, Any]:
    """HiddenSim at the last token, on five datapoints of every task, as in the paper."""
    tasks = tuple(dict.fromkeys(member.task for member in members))
    data = tuple(Path(word.partition("=")[2]) for word in data_words(tasks, ("test",)))
    sources = tuple(str(member.folder) for member in members)
    found = run_represent(RepresentRequest(str(BASE_FOLDER), sources, data, samples=5, text_field="prompt"))
    return {"similar": found["last"]["hidden_sim"], "difficulty": found["last"]["mds"]}
