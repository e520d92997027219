"""Hidden states in the interface: read with the run, and anew when `represent` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from globa_tui.cli.represent_table import print_representation
from globa_tui.tui.hidden import read_hidden
from globa_tui.tui.metrics import BY_KEY
from store.run import write_result
from tests.tui.driving import opened, press, screen_text, settle


def distances(share: float) -> dict[str, Any]:
    apart = [[0.0, share], [share, 0.0]]
    return {"distance": apart, "relative": apart, "standard_error": apart,
            "from_base": {"distance": [1.0, 2.0], "relative": [share / 2, share / 4]}}  # fmt: skip


def result() -> dict[str, Any]:
    """As `represent` writes it for two fine-tunes, after the embeddings and after three blocks."""
    whole = {
        **distances(0.8),
        "hidden_sim": None,
        "mds": None,
        "undefined": "one pair only",
        "diameter": 1.5,
        "bounds": {"low": 0.5, "high": 1.0, "high_of_group": 0.7},
        "by_layer": [{"layer": layer, **distances(0.2 * (layer + 1))} for layer in range(4)],
    }
    models = [
        {"role": role, "source": f"models/{role}", "same_tokens_as_base": True} for role in ("base", "ft1", "ft2")
    ]
    return {"schema": 1, "models": models, "inputs": {"count": 15, "cut": 0}, "settings": {"max_tokens": 512},
            "position": "last", "last": whole, "mean": whole}  # fmt: skip


async def test_what_represent_wrote_is_shown_at_once(whole_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_representation(result())
    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    async with opened(whole_run, (120, 40)) as (app, pilot):
        assert "last token" not in screen_text(app)
        write_result(whole_run, result(), 3)
        await settle(pilot)
        assert "Hidden      80 % apart (last token, 15 inputs); H" in screen_text(app)
        text = await press(pilot, "H")
        assert printed[0] in text
        assert printed[1] in text
        await press(pilot, "escape")
        rows = [record for record in app.model.records if record["block"] == 1 and record["status"] == "done"]
        assert BY_KEY["hidden"].values(rows[0]) == pytest.approx((0.6,)), "what comes out of block 1 is entry 2"
        assert BY_KEY["hidden.moved"].values(rows[0]) == pytest.approx((0.3, 0.15))
        app.show_at((0.9, 0.9))
        await settle(pilot)
        assert BY_KEY["hidden"].value(app.model.records[rows[0]["index"]]) == pytest.approx(0.6)


@pytest.mark.parametrize("broken", [{}, {"position": 3}, {"position": "last", "last": {"relative": "x"}}])
def test_what_represent_would_not_write_is_not_shown(whole_run: Path, broken: dict[str, Any]) -> None:
    write_result(whole_run, broken, 3)
    assert read_hidden(whole_run) is None
