"""Every rule speaks where it should, with the right numbers, and is silent where it should be."""

from __future__ import annotations

from typing import Any

import pytest

from globa_tui.findings import RULES, SURE, find
from tests.findings.evidence import TYPES, evidence, layer, said


def test_an_ordinary_run_says_nothing() -> None:
    assert find(evidence(layer(), layer(kind="q_proj"))) == []


def test_a_run_without_layers_says_nothing() -> None:
    assert find(evidence()) == []


def test_unrelated_comes_first() -> None:
    unrelated = {
        "severity": "warning",
        "code": "unrelated",
        "message": "ft2 does not look like a fine-tune of this base",
    }
    other = {"severity": "info", "code": "renamed", "message": "no"}
    failed = {**layer("x"), "status": "failed", "error": "NaN"}
    found = find(evidence(layer(), failed, findings=[other, unrelated]))
    assert [finding.code for finding in found] == ["unrelated", "failed"]
    assert found[0].text == unrelated["message"]


def test_failed_and_pending_layers_are_counted() -> None:
    failed = {**layer("bad"), "status": "failed", "error": "holds NaN"}
    pending = {**layer("later"), "status": "pending"}
    skipped = {**layer("norm"), "status": "skipped"}
    assert said("failed", layer(), skipped) == said("incomplete", layer(), skipped) == []
    assert said("failed", layer(), failed)[0].text.startswith("1 of 2 layers failed, the first is bad (holds NaN)")
    assert said("incomplete", layer(), pending, skipped)[0].numbers == {"done": 1, "pending": 1}


@pytest.mark.parametrize(
    ("moved", "text"),
    [(0.005, "ft2 barely differs from the base: it moved 0.05 %"), (0.0, "ft2 is the base"), (0.02, None)],
)
def test_barely_differs(moved: float, text: str | None) -> None:
    found = said("barely_differs", layer(norms=(0.1, moved)))
    assert [finding.text.startswith(text or "") for finding in found] == ([True] if text else [])


def test_sizes_are_of_the_whole_model() -> None:
    """3:1 counts, 2.9:1 does not; norms of layers add up in squares."""
    assert said("sizes", layer(norms=(1.0, 2.9))) == []
    found = said("sizes", layer(norms=(0.6, 1.8)), layer(norms=(0.8, 2.4)))
    assert found[0].numbers == {"larger": 2, "smaller": 1, "ratio": pytest.approx(3.0)}
    assert said("sizes", layer(norms=(1.0, 0.0))) == [], "the other rule says that ft2 is the base"


def test_frozen_layers() -> None:
    found = said("frozen", layer(), layer("still", norms=(1.0, 0.0)))
    assert (found[0].layers, found[0].numbers) == (("still",), {"task": 2, "layers": 1})
    assert said("frozen", layer()) == []


@pytest.mark.parametrize(("cosine", "code"), [(0.95, "alike"), (-0.2, "against"), (0.5, None), (None, None)])
def test_the_cosine_of_the_whole(cosine: float | None, code: str | None) -> None:
    records = [layer(conflict={"cosine": cosine}), layer(conflict={"cosine": cosine})]
    found = [finding for finding in find(evidence(*records)) if finding.code in ("alike", "against")]
    assert [finding.code for finding in found] == ([code] if code else [])
    assert all(finding.numbers["cosine"] == pytest.approx(cosine) for finding in found)


def test_nearly_rank_one_suggests_to_leave_embeddings_out() -> None:
    narrow = layer("model.embed_tokens.weight", "embed", None, rank=[1, 4], stable_rank=[1 / 0.94, 3.0])
    found = said("nearly_rank_one", narrow, layer())
    assert found[0].text.startswith("model.embed_tokens.weight: 94 % of ft1's energy lies in one direction")
    assert "--exclude embed" in found[0].text
    assert said("nearly_rank_one", layer(rank=[2, 4], stable_rank=[1 / 0.94, 3.0])) == [], "more is kept"
    assert said("nearly_rank_one", layer(rank=[1, 4], stable_rank=[1.0, 3.0])) == [], "nothing is lost"
    assert said("nearly_rank_one", layer(rank=[1, 4], stable_rank=[1.1, 3.0], shape=[4, 64])) == [], "it is narrow"


def test_lost_energy_counts_truncation_and_pruning() -> None:
    """Of ft2's 4 the types hold 2.4: 40 % is gone. Of ft1 nothing is."""
    found = said("lost", layer(norms=(1.0, 2.0), types={"A": 2.4}))
    assert [finding.numbers for finding in found] == [{"task": 2, "lost": pytest.approx(0.4)}]
    assert said("lost", layer(norms=(1.0, 2.0), types={"A": 3.0})) == []


def test_types_are_read_once_whatever_the_number_of_rules() -> None:
    """A run may have 20,000 layers."""
    reads = []

    class Counted(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            reads.append(key)
            return super().__getitem__(key)

    record = layer(types={"D-": 0.5, "A": 0.5})
    record["patterns"] = Counted(record["patterns"])
    assert {finding.code for finding in find(evidence(record, layer(types={"B": 9.0})))} >= {"opposite_signs"}
    assert sorted(reads) == sorted(["C1", *TYPES])


def downs(*shares: float) -> list[dict[str, Any]]:
    """A down_proj for each block with that share in D-, and much else without any."""
    made = [
        layer(f"model.layers.{block}.mlp.down_proj.weight", "down_proj", block, types={"D-": share, "A": 1 - share})
        for block, share in enumerate(shares)
    ]
    return [*made, layer(norms=(3.0, 3.0), types={"B": 9.0})]


def test_opposite_signs_name_the_blocks() -> None:
    found = said("opposite_signs", *downs(0.5, 0.3, 0.02, 0.4))
    assert [(finding.numbers["blocks"], finding.numbers["share"]) for finding in found] == [
        ([0, 1], pytest.approx(0.4)),
        ([3], pytest.approx(0.4)),
    ]
    assert found[0].text.startswith("blocks 0-1 down_proj: 40 % of ft2's retained energy lies in opposite-sign overlap")
    assert "with ft1 (9.4 % over all layers)" in found[0].text
    assert found[0].layers == ("model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight")
    assert said("opposite_signs", *downs(0.05, 0.09)) == []


def test_opposite_signs_everywhere_are_no_place() -> None:
    """What all layers have alike does not stand out."""
    records = [layer(kind=kind, types={"D-": 0.4, "A": 0.6}) for kind in ("q_proj", "k_proj")]
    assert said("opposite_signs", *records) == []


def test_the_anchor_decides_who_is_the_other() -> None:
    found = said("opposite_signs", *downs(0.5), anchor=2)
    assert "of ft1's retained energy lies in opposite-sign overlap with ft2" in found[0].text


def test_more_fine_tunes_are_told_apart() -> None:
    """Energies come from the pair, not from the sum over all pairs."""
    pairs = []
    for task, share in ((2, 0.6), (3, 0.0)):
        energy = {"C1": 1.0, **dict.fromkeys(TYPES, 0.0), "D-": share, "A": 1 - share}
        pairs.append({"task": task, "patterns": {key: {"count": 1, "energy": value} for key, value in energy.items()}})
    first = layer(norms=(1.0, 1.0, 1.0), pairs=pairs)
    clear = {name: {"count": 1, "energy": 9.0 if name == "B" else 0.0} for name in ("C1", *TYPES)}
    rest = layer("rest", "rest", norms=(1.0, 3.0, 3.0), pairs=[{"task": n, "patterns": clear} for n in (2, 3)])
    found = said("opposite_signs", first, rest, tasks=3)
    assert [finding.numbers["task"] for finding in found] == [2]


@pytest.mark.parametrize(
    ("share", "words"), [(0.6, "60 % of ft2's energy is conflict-free"), (0.02, "only 2.0 % of"), (0.3, None)]
)
def test_conflict_free(share: float, words: str | None) -> None:
    found = said("conflict_free", layer(types={"A": share, "B": 1 - share}))
    assert [finding.text.startswith(words or "") for finding in found] == ([True] if words else [])


def test_degenerate_energy_is_a_share_of_the_truncated() -> None:
    """Pruning kept half of each: the truncated energies are 2 and 2, of which 1.2 lie in clusters on the right."""
    clusters = {"left": {"energy": 0.4}, "right": {"energy": 1.2}}
    record = layer(types={"A": 1.0}, retained=[0.5, 0.5], clusters=clusters)
    found = said("degenerate", record)
    assert found[0].numbers["share"] == pytest.approx(0.3)
    assert "the canonical basis is not" in found[0].text
    worse = said("degenerate", record, basis="lapack")
    assert worse[0].score > found[0].score
    assert "analyse with --basis canonical" in worse[0].text
    assert said("degenerate", layer()) == []


def states(relative: list[list[float]], mds: list[float | None] | None) -> dict[str, Any]:
    names = [{"source": f"models/{name}"} for name in ("base", "math", "code", "law", "prose")[: len(relative) + 1]]
    return {"models": names, "position": "last", "inputs": {"count": 15}, "last": {"relative": relative, "mds": mds}}


def test_hidden_states_name_the_farthest_pair_and_what_is_known() -> None:
    found = said("far_apart", representation=states([[0, 0.2, 0.5], [0.2, 0, 0.1], [0.5, 0.1, 0]], [5.0, 1.0, 2.0]))
    assert found[0].text.startswith("hidden states of math and law differ by 50 % of their norm on 15 inputs, the most")
    assert "no limit is published" in found[0].text
    assert found[0].sure == "published correlation"
    assert said("far_apart", layer()) == []


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        ([1.2, None, 1.1, 1.3], "code is hardest to merge of 4 (MDS inf"),
        ([1.2, 1.1, 1.0, 4.0], "prose is hardest to merge of 4 (MDS 4"),
        ([1.2, 1.1, 1.0, 2.9], None),
        ([16.0, 1.5, 2.0], None),
        (None, None),
    ],
)
def test_the_hardest_is_named_from_four_on(scores: list[float | None] | None, text: str | None) -> None:
    count = len(scores or [0, 0])
    found = said("hard_to_merge", representation=states([[0.0] * count] * count, scores))
    assert [finding.text.startswith(text or "") for finding in found] == ([True] if text else [])


def test_the_list_is_ranked_and_says_how_sure() -> None:
    narrow = layer("e", "embed", None, rank=[1, 1], stable_rank=[1.1, 1.2])
    found = find(evidence(narrow, *downs(0.5, 0.4), representation=states([[0, 0.3], [0.3, 0]], None)))
    assert len(found) >= 3
    assert [finding.score for finding in found] == sorted((finding.score for finding in found), reverse=True)
    assert all(finding.sure in SURE and 0 <= finding.score <= 1 for finding in found)
    assert len(set(RULES)) == len(RULES)


def test_records_that_a_rule_cannot_read_are_said_and_stop_no_other() -> None:
    broken = layer(norms=(1.0, 4.0), clusters={"left": {"energy": "much"}})
    found = find(evidence(broken))
    assert [finding.code for finding in found] == ["sizes", "unreadable"]
    assert found[1].text.startswith("the rule degenerate cannot read the records of this run (ValueError")
