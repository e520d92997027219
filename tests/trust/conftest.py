from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.trust.command import INTERFACE, Zygote
from tests.trust.kitchen import Kitchen
from tests.trust.trial import Bench, Operation


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with Zygote() as made:
        yield made


@pytest.fixture(scope="session")
def interface() -> Iterator[Zygote]:
    """A warm process without torch, as the terminal interface is."""
    with Zygote(INTERFACE) as made:
        yield made


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    return Kitchen(tmp_path_factory.mktemp("kitchen"))


@pytest.fixture(scope="session")
def bench(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), zygote)


@pytest.fixture(scope="session")
def operations(bench: Bench) -> dict[str, Operation]:
    return bench.operations()
