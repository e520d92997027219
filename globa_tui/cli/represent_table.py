"""What `represent` prints: a table of the fine-tunes, one of their pairs, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from globa_tui.cli.tables import Table, plain_text, show_table
from globa_tui.diagnostics import printable

Result = Mapping[str, Any]

MOST_PAIRS = 100
"""More pairs are left to --json."""


def print_representation(result: Result) -> None:
    """Print the tables and, in words, what they rest on."""
    show_table(model_table(result))
    names = model_names(result)
    if len(names) * (len(names) - 1) // 2 <= MOST_PAIRS:
        print()
        show_table(pair_table(result))
    print()
    for line in sentences(result):
        print(printable(line))


def representation_text(result: Result) -> str:
    """The same as one text."""
    names = model_names(result)
    few = len(names) * (len(names) - 1) // 2 <= MOST_PAIRS
    parts = [plain_text(model_table(result)), *([plain_text(pair_table(result))] if few else [])]
    return "\n".join([*parts, *(f"{printable(line)}\n" for line in sentences(result))])


def model_names(result: Result) -> list[str]:
    """A short name of every fine-tune: its number and the last part of its path."""
    return [
        f"{number} {Path(str(model.get('source'))).name or model.get('source')}"
        for number, model in enumerate(result["models"][1:], 1)
    ]


def model_table(result: Result) -> Table:
    """One row for each fine-tune."""
    measured = result[result["position"]]
    columns = ["fine-tune", "from base", "relative", "mean HiddenSim", "MDS"]
    base, similar, scores = measured["from_base"], measured["hidden_sim"], measured["mds"]
    rows = [
        [
            name,
            _number(base["distance"][place]),
            _percent(base["relative"][place]),
            _number(_mean_of_others(similar[place], place)) if similar else "-",
            _score(scores[place]) if scores else "-",
        ]
        for place, name in enumerate(model_names(result))
    ]
    return Table(columns, rows, words=frozenset({"fine-tune"}), wraps=frozenset({"fine-tune"}))


def pair_table(result: Result) -> Table:
    """One row for each pair of fine-tunes, the most different first."""
    measured = result[result["position"]]
    names, apart = model_names(result), measured["distance"]
    pairs = sorted(combinations(range(len(names)), 2), key=lambda pair: -apart[pair[0]][pair[1]])
    similar = measured["hidden_sim"]
    rows = [
        [
            f"{names[i]} - {names[j]}",
            _number(apart[i][j]),
            _number(error) if (error := measured["standard_error"][i][j]) is not None else "-",
            _percent(measured["relative"][i][j]),
            _number(similar[i][j]) if similar else "-",
        ]
        for i, j in pairs
    ]
    columns = ["pair", "distance", "+-", "relative", "HiddenSim"]
    return Table(columns, rows, words=frozenset({"pair"}), wraps=frozenset({"pair"}))


def sentences(result: Result) -> list[str]:
    """What the numbers are, and what follows from them."""
    measured = result[result["position"]]
    inputs, bounds = result["inputs"], measured["bounds"]
    where = "at the last token" if result["position"] == "last" else "averaged over the tokens"
    said = [
        f"Distance: mean over {inputs['count']} inputs of ||h_i - h_j||, last hidden state {where}; relative: by the "
        "mean norm; +-: standard error over the inputs.",
    ]
    said += _other_position(result)
    said += [f"{measured['undefined']}."] if measured["undefined"] else []
    said.append(
        f"Diameter {measured['diameter']:.4g}: the best merge is off by {bounds['low']:.4g} (squared) or more, and by "
        f"{bounds['high_of_group']:.4g} at most if hidden states are linear in the weights."
    )
    said += _choice(result)
    others = [model["role"] for model in result["models"] if not model["same_tokens_as_base"]]
    if others:
        said.append(f"{', '.join(others)}: another tokenizer than the base's; the same texts, not the same tokens.")
    if inputs["cut"]:
        said.append(f"{inputs['cut']} inputs have {result['settings']['max_tokens']} tokens or more and were cut.")
    return said


def _other_position(result: Result) -> list[str]:
    """A warning where the two positions put the pairs into another order."""
    names = model_names(result)
    pairs = list(combinations(range(len(names)), 2))
    ends = {}
    for where in ("last", "mean"):
        apart = result[where]["distance"]
        ranked = sorted(pairs, key=lambda pair: apart[pair[0]][pair[1]])
        ends[where] = (ranked[0], ranked[-1]) if len(pairs) > 1 else None
    if ends["last"] == ends["mean"]:
        return []
    other = "mean" if result["position"] == "last" else "last"
    near, far = (f"{names[i]} - {names[j]}" for i, j in ends[other] or ())
    return [f"The order is not sure: at --position {other} the closest pair is {near}, the farthest {far}."]


def _choice(result: Result) -> list[str]:
    said: list[str] = []
    chosen, budget = result.get("selection"), result.get("budget")
    if chosen and chosen["members"]:
        names = model_names(result)
        how = "" if chosen["exact"] else ", found step by step: there may be a better one"
        picked = ", ".join(names[member - 1] for member in chosen["members"])
        said.append(f"Merge {picked}: worst MDS {_score(chosen['worst_mds'])} within the group{how}.")
    elif chosen:
        said.append(f"No choice: {chosen['undefined']}.")
    if budget:
        words = {True: "there is such a merge if hidden states are linear", False: "no merge can", None: "left open"}
        corollary = "yes" if budget["corollary_1"] else "no"
        said.append(
            f"Distortion of {budget['distortion']:g} or less: {words[budget['mergeable']]} "
            f"(Corollary 1 of the paper, which takes its sufficient condition for a necessary one: {corollary})."
        )
    return said


def _mean_of_others(row: Sequence[float], place: int) -> float:
    return (sum(row) - row[place]) / (len(row) - 1)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _score(value: float | None) -> str:
    return "inf" if value is None else f"{value:.3g}"
