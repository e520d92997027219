"""Settings in the files of strangers may be of any kind."""

from __future__ import annotations

import dataclasses

import pytest

from globa_tui.jobs.settings import AnalysisSettings, SettingsError

WRONG: list[object] = [None, [[]], [1, "x"], "x", {"a": 1}, 1e308, [None], [[0.5]], True, 2.5]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(AnalysisSettings)])
def test_a_setting_of_another_kind_is_refused_by_name(name: str) -> None:
    refused = 0
    for value in WRONG:
        try:
            found = AnalysisSettings.from_dict({name: value})
        except SettingsError:
            refused += 1
        else:
            assert type(getattr(found, name)) is type(getattr(AnalysisSettings, name))
    assert refused >= 8
    with pytest.raises(SettingsError, match=name.replace("_", ".")):
        AnalysisSettings.from_dict({name: {"a": 1}})


def test_whole_numbers_become_shares() -> None:
    found = AnalysisSettings.from_dict({"basis_energy": 1, "eta": [1, 0.5]})
    assert [type(value) for value in (found.basis_energy, *found.eta)] == [float] * 3
    with pytest.raises(SettingsError):
        AnalysisSettings.from_dict({"basis_energy": 10**400})


def test_what_was_written_is_read() -> None:
    settings = AnalysisSettings(eta=(1, 0.5), include=("a",), factors=False)
    assert AnalysisSettings.from_dict(settings.to_dict()) == settings
