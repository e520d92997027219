"""Commands that run models are killed, and their disk fails: what was measured is kept and not measured again."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.trust.command import Zygote
from tests.trust.measuring import MODULES, MeasuringBench
from tests.trust.scale import SOAK, rounds
from tests.trust.trial import attempt, faults_at_points, random_kills

NAMES = ("represent", "evaluate", "sweep", "compare")
SEED = int(os.environ.get("GLOBA_SEED", "0"))

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.timeout(3000),
    pytest.mark.xdist_group("measuring"),
]


@pytest.fixture(scope="module")
def measuring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasuringBench]:
    with Zygote(MODULES) as zygote:
        yield MeasuringBench(tmp_path_factory.mktemp("measuring"), zygote)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_measured_is_kept(measuring: MeasuringBench, name: str) -> None:
    operation = measuring.operation(name)
    tried = random_kills(operation, rounds(4, 12), SEED) + faults_at_points(operation, 1, SEED)
    for disturbance in tried if SOAK else random.Random(f"{name} {SEED}").sample(tried, 1):
        attempt(measuring, operation, disturbance)
