"""What every number of a layer is: its unit, its meaning, and the equation it comes from.

The layer sheet of `show --layer` and docs/metrics.md are made from this registry.
``python -m globa_tui.quantities`` prints the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number, or a list of numbers, at a path of a layer's record."""

    path: str
    """Keys of `show --json`, with dots between them; one for everything below where it is not listed further."""
    unit: str
    meaning: str
    source: str = ""
    """Paper and equation."""


_G, _A, _M, _C = "GLOBA", "GLOBA, appendix", "AlignMerge", "merging collapse, appendix A"
_W = "weight"
"""The unit of the model's weights."""
_E = "weight²"

_LISTED = (
    Quantity("name", "", "tensor name in the base"),
    Quantity("shape", "entries", "rows (outputs) x columns (inputs)"),
    Quantity("pair", "", "whose task vector the numbers of a pair compare with whose"),
    Quantity("kind", "", "what the matrix does in its block"),
    Quantity("block", "", "number of the transformer block"),
    Quantity("role", "", "matrix, vector or other"),
    Quantity("status", "", "done, pending, failed or skipped"),
    Quantity("error", "", "why the layer failed or was skipped"),
    Quantity("seconds", "s", "time the analysis took"),
    Quantity("device", "", "where the layer was analysed"),
    Quantity("norm.base", _W, "Frobenius norm of the base weight"),
    Quantity("norm.task_vectors", _W, "Frobenius norm of each task vector (fine-tuned - base)", f"{_G}, eq. 1"),
    Quantity("relative_size", "share", "norm of each task vector over the norm of the base"),
    Quantity("decomposition", "", "how the singular vectors of each task vector were computed", f"{_G}, eq. 10"),
    Quantity("accuracy.residual", "share", "error of the singular triplets of each task vector, measured"),
    Quantity("accuracy.orthogonality", "share", "how far the singular vectors are from orthonormal, measured"),
    Quantity("spectrum_complete", "", "whether all singular values of each task vector were computed"),
    Quantity("rank", "directions", "directions kept of each task vector (--svd-energy)", f"{_G}, eq. 10"),
    Quantity("basis_rank", "directions", "directions of the global basis: outputs, inputs", f"{_G}, eq. 11-14"),
    Quantity(
        "clusters.left.directions",
        "directions",
        "output directions in clusters of equal singular values, which LAPACK turns freely",
    ),
    Quantity("clusters.left.energy", _E, "energy of the task vectors in those"),
    Quantity(
        "clusters.right.directions",
        "directions",
        "input directions in clusters of equal singular values, which LAPACK turns freely",
    ),
    Quantity("clusters.right.energy", _E, "energy of the task vectors in those"),
    Quantity("inner.C1.D+", _E, "inner product of C1 and D+"),
    Quantity("inner.C1.D-", _E, "inner product of C1 and D-"),
    Quantity("orthogonality.left", "0 to 1", "overlap of the output spaces: 0 orthogonal, 1 contained", f"{_G}, eq. 7"),
    Quantity("orthogonality.right", "0 to 1", "overlap of the input spaces: 0 orthogonal, 1 contained", f"{_G}, eq. 7"),
    Quantity(
        "retained",
        "share",
        "energy kept by pruning over the energy of each truncated task vector (--eta)",
        f"{_G}, eq. 17",
    ),
    Quantity(
        "stable_rank", "directions", "squared Frobenius norm over squared largest singular value, of each task vector"
    ),
    Quantity("effective_rank", "directions", "exponential of the entropy of the singular values, of each task vector"),
    Quantity("rank_at", "directions", "directions that reach this share of each task vector's energy", f"{_A}, step 1"),
    Quantity(
        "knee",
        "directions, share",
        "knee of the cumulative energy: rank and energy there, a good start for --eta",
        f"{_A}, Figure 1, step 2",
    ),
    Quantity("blocks.both", "share", "share of task 2's energy with both spaces shared with task 1", f"{_A}, eq. 4"),
    Quantity("blocks.left", "share", "share of task 2's energy with only the output space shared", f"{_A}, eq. 4"),
    Quantity("blocks.right", "share", "share of task 2's energy with only the input space shared", f"{_A}, eq. 4"),
    Quantity("blocks.none", "share", "share of task 2's energy in neither space: conflict-free", f"{_A}, eq. 5"),
    Quantity(
        "angles.left",
        "count",
        "principal angles of the output spaces, counts for each 10 degrees from 0 to 90",
        f"{_G}, section 3.2",
    ),
    Quantity(
        "angles.right",
        "count",
        "principal angles of the input spaces, counts for each 10 degrees from 0 to 90",
        f"{_G}, section 3.2",
    ),
    Quantity(
        "alignment.first.left",
        "0 to 1",
        "|cosine| of the two strongest output directions: 0 apart, 1 the same",
        f"{_M}, Figure 10",
    ),
    Quantity("alignment.first.right", "0 to 1", "|cosine| of the two strongest input directions", f"{_M}, Figure 10"),
    Quantity("alignment.mean.left", "0 to 1", "the same, mean over the 32 strongest ranks", f"{_M}, Figure 10"),
    Quantity(
        "alignment.mean.right",
        "0 to 1",
        "the same for the inputs, mean over the 32 strongest ranks",
        f"{_M}, Figure 10",
    ),
    Quantity(
        "alignment.windows",
        "0 to 16",
        "similarity S of the spaces of ranks 1-8, 9-16, 17-24, 25-32",
        f"{_M}, Figure 1b",
    ),
    Quantity(
        "conflict.magnitude_change",
        "share",
        "sum of |difference| over the sum of both magnitudes: 0 moved alike, 1 apart",
        f"{_C}, eq. 4",
    ),
    Quantity(
        "conflict.sign_change",
        "share",
        "share of entries that the two fine-tunes move in different directions, or only one moves",
        f"{_C}, eq. 5",
    ),
    Quantity(
        "conflict.conflicting_magnitude_change", "share", "magnitude change of those entries alone", f"{_C}, eq. 6"
    ),
    Quantity("conflict.cosine", "-1 to 1", "cosine of the two task vectors, entry by entry", f"{_C}, eq. 7"),
    Quantity("conflict.zeros", "share", "share of entries that a fine-tune leaves exactly as they were"),
    Quantity("conflict.sums", "", "sums that the conflicts are made of; those of layers add up", f"{_C}, eq. 4-7"),
    Quantity("what_if.eta", "share", "thresholds per task at which the patterns are known: --what-if", f"{_G}, eq. 17"),
    Quantity(
        "sum.directions", "directions", "leading directions of the summed task vectors that were found", f"{_M}, eq. 4"
    ),
    Quantity("sum.share", "share", "energy of the summed task vectors in those"),
    Quantity("sum.energy", _E, "that energy itself"),
    Quantity(
        "sum.sai",
        "times, less 1",
        "how far the sum amplifies (above 0) or holds back (below 0) each task there, mean",
        f"{_M}, eq. 7 and 8",
    ),
    Quantity("sum.sai_first", "times, less 1", "the same in the first direction", f"{_M}, eq. 7 and 8"),
    Quantity("sum.sai_absolute", "times", "the same without its sign, mean: 0 undisturbed", f"{_M}, eq. 8"),
    Quantity(
        "sum.influence",
        "ratio",
        "what task j adds in units of task i's own, for each i and j; 1 on the diagonal",
        f"{_M}, eq. 5 and B.2",
    ),
    Quantity("frozen", "", "whether a fine-tune left this tensor exactly as it was"),
    Quantity("patterns.C1", "entries, weight²", "the first task's own entries", f"{_G}, eq. 17"),
    Quantity(
        "patterns.A", "entries, weight²", "rows and columns that task 1 leaves empty: fully orthogonal", f"{_A}, eq. 25"
    ),
    Quantity(
        "patterns.B", "entries, weight²", "column shared with task 1, row not: new output directions", f"{_A}, eq. 26"
    ),
    Quantity(
        "patterns.C", "entries, weight²", "row shared with task 1, column not: new input directions", f"{_A}, eq. 27"
    ),
    Quantity("patterns.D+", "entries, weight²", "same entry as task 1, same sign", f"{_A}, eq. 28-30"),
    Quantity("patterns.D-", "entries, weight²", "same entry as task 1, opposite sign", f"{_A}, eq. 28-30"),
    Quantity("patterns.E", "entries, weight²", "row and column shared with task 1, entry not", f"{_A}, eq. 31"),
    Quantity(
        "hidden.apart",
        "share",
        "after the block, where `represent` ran: largest distance of two fine-tunes' hidden states over their norm",
        "merging collapse, section 3.4",
    ),
    Quantity("hidden.moved", "share", "the same from the base, of each fine-tune", "merging collapse, section 3.4"),
    Quantity("pairs", "", "all numbers of each ordered pair, where more than one was compared"),
    Quantity("reason", "", "why the tensor is not analysed"),
    Quantity("union", "entries, weight²", "the six types of each task against the union of all others"),
    Quantity("effect", _E, "inner products that the effect of any coefficients follows from"),
)

QUANTITIES: Mapping[str, Quantity] = {quantity.path: quantity for quantity in _LISTED}


def quantity(path: str) -> Quantity | None:
    """What stands at a path of a record: the nearest listed one above it."""
    while path:
        if path in QUANTITIES:
            return QUANTITIES[path]
        path = path.rpartition(".")[0]
    return None


_UNION = (
    "## What the union of the others has not",
    "",
    "With more than two fine-tunes, `union` types each of them against all others together, at the run's own η;",
    "`show --by` adds them up in rows like `all-2`, task 2 against all others.",
    "",
    "- *Other thresholds.* D+ and D- go by the sign of the others' sum, and at another η other entries are in it.",
    "  So every point of the grid would be a pass of its own over all entries of every fine-tune, where a pair's grid",
    "  follows from one histogram. `show --what-if --pair A,T` has every ordered pair that `--pairs` compares.",
    "- *Conflicts.* The four metrics compare two models. The sum of the others is none: its length grows with their",
    "  number, so that the magnitude change would say how many they are and not how they conflict. `matrices` of",
    "  `show --by model --json` has the metrics of all pairs.",
)


def page() -> str:
    """The page docs/metrics.md."""
    lines = [
        "# The numbers of a layer",
        "",
        "What `globa-tui show RUN --layer NAME` prints and `show --json` holds for every analysed matrix. *Task 1* is",
        "the anchor (`--anchor`), *task 2* the fine-tune that is compared with it. Lists per task follow the order of",
        "the fine-tunes. Null, or a missing key, is a number that is not known; see [store.md](store.md) for when.",
        "",
        "`globa-tui show RUN --by kind|block|model` takes layers together, `--what-if` adds up `patterns` at",
        "other thresholds; `globa-tui check OUT --alignment` has `sum.sai` of any merged model, not the plain sum.",
        "",
        "| number | unit | meaning | source |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| `{q.path}` | {q.unit or '-'} | {q.meaning} | {q.source or '-'} |" for q in _LISTED]
    return "\n".join([*lines, "", *_UNION]) + "\n"


if __name__ == "__main__":
    print(page(), end="")
