"""Opening a run of many layers: the first ones are on the screen while the others are still being read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from globa_tui.tui import follow
from globa_tui.tui.app import InspectApp
from globa_tui.tui.follow import RunFollower
from globa_tui.tui.messages import RecordsRead, RunOpened
from globa_tui.tui.metrics import METRICS
from globa_tui.tui.model import RunModel
from tests.tui.driving import opened, screen_text
from tests.tui.fake_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("opening") / "run.globa", 2, done=0.8)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a record at each look."""
    monkeypatch.setattr(follow, "BLOCK", 1)
    monkeypatch.setattr(follow, "FIRST", 0.0)


def followed(follower: RunFollower) -> Iterator[RunModel]:
    """What the interface knows after each look, until all is read."""
    model = RunModel(follower.path)
    for news in follower.poll():
        assert isinstance(news, RunOpened)
        model.load(
            news.manifest, news.records, packed=news.packed, stored=news.stored,
            numbers=news.numbers, tally=news.tally, share_read=news.share_read,
        )  # fmt: skip
    yield model
    while follower.reading:
        for news in follower.poll():
            assert isinstance(news, RecordsRead)
            model.read_on(news.portion, news.share_read)
        yield model


def known(model: RunModel) -> Any:
    leaders = {key: model.leaders.of(key) for key in ("overlap", "size", "share.D-", "clustered")}
    return model.records, model.counts, model.matrices, leaders, [model.numbers(metric.key) for metric in METRICS]


@pytest.mark.usefixtures("one_at_a_time")
def test_what_is_read_bit_by_bit_is_what_is_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower, shares = RunFollower(run, None), []
    for model in followed(follower):
        known(model)  # from here on everything has to follow
        shares.append(model.share_read)
        assert not follower.findings_due or not follower.reading
        assert not follower.complete
        assert model.effect_gathered != model.reading
    assert len(shares) > 10
    assert shares == sorted(set(shares))
    monkeypatch.undo()
    whole = list(followed(RunFollower(run, None)))
    assert len(whole) == 1
    assert known(model) == known(whole[0])
    for pattern, (entries, energy) in whole[0].pattern_totals().items():
        assert model.pattern_totals()[pattern] == (entries, pytest.approx(energy, rel=1e-12))


@pytest.mark.usefixtures("one_at_a_time")
def test_a_layer_that_was_analysed_again_counts_once(run: Path, tmp_path: Path) -> None:
    again = make_run(tmp_path / "again.globa", 2, done=0.8)
    lines = (again / "summary.jsonl").read_text().splitlines()
    (again / "summary.jsonl").write_text("\n".join([*lines, *lines[1:3]]) + "\n")
    *_, twice = followed(RunFollower(again, None))
    *_, once = followed(RunFollower(run, None))
    assert twice.counts == once.counts
    assert twice.numbers("size") == once.numbers("size")
    assert twice.pattern_totals()["A"] == pytest.approx(once.pattern_totals()["A"], rel=1e-12)


@pytest.mark.usefixtures("one_at_a_time")
async def test_screens_say_that_layers_are_being_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def look(app: InspectApp) -> None:
        if app.model.reading:
            app.action_export()
            seen.append(screen_text(app))

    show = InspectApp._show_everything
    monkeypatch.setattr(InspectApp, "_show_everything", lambda app: (show(app), look(app))[0])
    async with opened(run, (120, 40)) as (app, _):
        text = screen_text(app)
        assert len(seen) > 10
        assert all("reading the layers" in each for each in seen[1:])
        assert any("of 16 layers read so far" in each for each in seen)
        assert "reading the layers" not in text
        assert "read so far" not in text
        assert [said.message for said in app._notifications][0].startswith("The layers are still being read")
