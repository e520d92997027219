"""A configuration file that is broken in any way is one line, never a crash of the interface."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from globa_tui.diagnostics import UsageError, message
from globa_tui.tui.keymap import read_keymap
from tests.trust import mutate
from tests.trust.scale import SOAK, note, rounds

TEXT = '[keymap]\n"job.pause" = "z"\n"job.resume" = ["ctrl+r", "f5"]\n'


def test_the_whole_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(TEXT)
    assert read_keymap(tmp_path / "config.toml") == {"job.pause": "z", "job.resume": "ctrl+r,f5"}


@settings(
    max_examples=rounds(100, 2000),
    deadline=None,
    derandomize=not SOAK,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(content=mutate.of_text(TEXT))
def test_a_changed_keymap(tmp_path_factory, content: bytes) -> None:
    file = Path(tmp_path_factory.getbasetemp()) / "config.toml"
    file.write_bytes(content)
    said = []
    with contextlib.suppress(UsageError):
        try:
            read_keymap(file)
        except UsageError as error:
            said.append(message(error))
            raise
    assert all(text.isprintable() for text in said)
    note("open (interface)", "changed config.toml", "keys, or one line")
