"""Measure, judge, and write docs/claims.md, docs/calibration.md and the evidence that `suggest` states."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from typing import Any

import torch

from demo import families
from demo.family import FOLDER
from demo.study import calibration, pages
from demo.study.alignmerge_claims import alignmerge_claims
from demo.study.bed import Bed
from demo.study.collapse_claims import collapse_claims
from demo.study.globa_claims import globa_claims
from demo.study.measure import Group, Pair, is_measured, measure_group, measure_pair
from demo.study.members import MEMBERS, Member, members_of, pairs_of, write_data
from demo.study.numerics import measure_numerics

DOCS = FOLDER.parent / "docs"
EVIDENCE = FOLDER.parent / "globa_tui" / "calibration.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.study", description=__doc__)
    parser.add_argument("members", nargs="*", help=f"at least two of {', '.join(m.name for m in MEMBERS)}; else all")
    parser.add_argument("--so-far", action="store_true", help="write the pages from the pairs that are measured")
    arguments = parser.parse_args()
    members = members_of(arguments.members)
    torch.set_num_threads(1)
    start = time.monotonic()
    families.train_all([member.name for member in members if member.name in families.RECIPES])
    write_data()
    wanted = [pair for pair in pairs_of(members) if not arguments.so_far or is_measured(pair)]
    pairs = measure_pairs(wanted)
    write_pages(members, pairs, measure_group(members, _say), _numerics())
    _say(f"done after {(time.monotonic() - start) / 60:.0f} minutes")


def measure_pairs(wanted: Sequence[tuple[Member, Member]]) -> list[Pair]:
    """Every pair, as many side by side as there are processors."""
    found = []
    # A fresh process each: torch's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for pair in pool.imap(measure_pair, wanted):
            found.append(pair)
            _say(f"{len(found)} of {len(wanted)} pairs: {pair.name}")
    return found


def _numerics() -> dict[str, Any]:
    bed = Bed(MEMBERS[:2])
    found: dict[str, Any] = bed.kept("numerics", lambda: measure_numerics(bed))
    return found


def write_pages(members: Sequence[Member], pairs: Sequence[Pair], group: Group, numerics: dict[str, Any]) -> None:
    """Write both pages and the evidence."""
    claims = [*globa_claims(pairs, numerics), *alignmerge_claims(pairs, group), *collapse_claims(pairs, group)]
    (DOCS / "claims.md").write_text(pages.claims_page(claims, members, len(pairs)), encoding="utf-8")
    evidence = calibration.evidence(pairs)
    EVIDENCE.write_text(json.dumps(evidence, indent=1) + "\n", encoding="utf-8")
    (DOCS / "calibration.md").write_text(pages.calibration_page(members, pairs, evidence), encoding="utf-8")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
