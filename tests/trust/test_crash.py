"""Commands that are killed, and disks that fail: nothing finished is lost, nothing half-done is shown."""

from __future__ import annotations

import os
import random

import pytest

from tests.trust.scale import SOAK, rounds
from tests.trust.trial import Bench, Operation, attempt, faults_at_points, random_kills

NAMES = ("analyze", "merge", "merge --overwrite", "pack")
SEED = int(os.environ.get("GLOBA_SEED", "0"))

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.timeout(3000),
    pytest.mark.xdist_group("trust"),
]


@pytest.mark.parametrize("name", NAMES)
def test_kills_at_random_moments(bench: Bench, operations: dict[str, Operation], name: str) -> None:
    for disturbance in random_kills(operations[name], rounds(4, 52), SEED):
        attempt(bench, operations[name], disturbance)


@pytest.mark.parametrize("name", NAMES)
def test_faults_of_the_disk(bench: Bench, operations: dict[str, Operation], name: str) -> None:
    chosen = faults_at_points(operations[name], rounds(1, 3), SEED)
    if not SOAK:
        chosen = random.Random(SEED).sample(chosen, 8)
    for disturbance in chosen:
        attempt(bench, operations[name], disturbance)
