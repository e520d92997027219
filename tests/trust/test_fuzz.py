"""The readers that `make fuzz` feeds: they read the whole files, and judge errors as they should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.errors import StoreError
from tests.trust import fuzz, fuzz_seeds


@pytest.fixture(scope="module", autouse=True)
def place() -> Iterator[Path]:
    with fuzz_seeds.made():
        yield fuzz_seeds.place()


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_the_seed_is_read_and_a_broken_one_judged(place: Path, name: str) -> None:
    pattern, read = fuzz.TARGETS[name]
    file = next(iter(sorted(place.glob(pattern))))
    whole = place / pattern.split("/")[0]
    read(whole)
    data = file.read_bytes()
    file.write_bytes(b"{" + data[: len(data) // 2])
    try:
        fuzz.safely(read)(whole)
    finally:
        file.write_bytes(data)


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError("deep"), StoreError("two\x1b[2J lines")])
def test_what_nobody_foresaw_is_a_finding(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(error, StoreError):
        monkeypatch.setattr("globa_tui.diagnostics.printable", str)

    def read(path: Path) -> None:
        raise error

    with pytest.raises(type(error)):
        fuzz.safely(read)(Path())


def test_a_foreseen_error_is_none() -> None:
    def read(path: Path) -> None:
        msg = "model.safetensors: its header claims more than the file has; fetch it again"
        raise StoreError(msg)

    fuzz.safely(read)(Path())
