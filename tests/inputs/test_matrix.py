"""docs/inputs.md says of every method and every kind of input what happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inputs.matrix import INPUTS, METHODS, PAGE, outcome, read_cells, table

CELLS = read_cells(PAGE.read_text())


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("method", METHODS)
def test_what_the_page_says_happens(method: str, kind: str, tmp_path: Path) -> None:
    assert (method, kind) in CELLS, "run `python -m tests.inputs.matrix`"
    assert CELLS[method, kind] == outcome(method, kind, tmp_path)


def test_the_page_has_these_cells_and_no_others() -> None:
    assert set(CELLS) == {(method, kind) for method in METHODS for kind in INPUTS}
    assert read_cells(f"<!-- matrix -->\n{table(CELLS)}\n<!-- end of matrix -->") == CELLS


def test_refusals_are_of_inputs_that_no_method_can_take() -> None:
    """Whatever one method merges the others merge, but for the number of models that SLERP is defined for."""
    refused = {(method, kind) for (method, kind), found in CELLS.items() if found != "works"}
    always = {(method, kind) for method in METHODS for kind in ("quantised", "DoRA", "other width")}
    assert refused == always | {("slerp", "three fine-tunes")}
