"""Exit codes, the one line on stderr, and text that cannot steer a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text
from textual.content import Content

from analysis.errors import NotFiniteError, OptionsError
from globa_tui.coefficients import RecipeError
from globa_tui.diagnostics import ExitCode, Interrupted, exit_code, fail, markup_safe, message, printable
from globa_tui.jobs.settings import SettingsError
from store import errors
from tests.cli.records import call


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("x"), ExitCode.FAILED),
        (OSError(2, "No such file", "f"), ExitCode.FAILED),
        (MemoryError(), ExitCode.FAILED),
        (NotFiniteError("x"), ExitCode.FAILED),
        (OptionsError("x"), ExitCode.USAGE),
        (SettingsError("x"), ExitCode.USAGE),
        (RecipeError("x"), ExitCode.USAGE),
        (Interrupted("x"), ExitCode.INTERRUPTED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (errors.CheckpointError("x"), ExitCode.FAILED),
        (errors.DiskFullError(Path("f"), 2, 1), ExitCode.FAILED),
        (errors.OutputExistsError("x"), ExitCode.USAGE),
        (errors.MismatchError("x"), ExitCode.MISMATCH),
        (errors.RunNotFoundError("x"), ExitCode.STORE),
        (errors.RunBusyError("x"), ExitCode.STORE),
        (errors.RunDamagedError("x"), ExitCode.STORE),
        (errors.RunForeignError("x"), ExitCode.STORE),
        (errors.RunIncompleteError("x"), ExitCode.STORE),
    ],
)
def test_exit_codes(error: BaseException, code: ExitCode) -> None:
    assert exit_code(error) == code


def test_messages() -> None:
    assert message(errors.CheckpointError("a\x1b[31m\nb")) == r"a\x1b[31m\nb"
    assert message(RuntimeError("two\nlines")) == "RuntimeError: two lines (--debug shows where)"
    assert message(OSError(13, "Permission denied", "dir/file")) == "dir/file: Permission denied"
    assert message(MemoryError()) == "out of memory"
    assert message(KeyboardInterrupt()) == "interrupted"
    noted = errors.RunDamagedError("damaged")
    noted.add_note("while reading /layers/3")
    assert message(noted) == "damaged; while reading /layers/3"


def test_an_import_that_memory_did_not_suffice_for() -> None:
    """NumPy says at length that its installation is broken, and last what was wrong."""
    advice = "\n\nIMPORTANT: PLEASE READ THIS\n\nOriginal error was: "
    fault = "libopenblas.so: failed to map segment from shared object"
    wanted = "out of memory: libopenblas.so was not loaded; free some, or raise the limit on it (ulimit -v)"
    for text in (fault, advice + fault, f"{fault}: Cannot allocate memory"):
        assert message(ImportError(text)) == wanted
    tls = "libgomp.so.1: cannot allocate memory in static TLS block"
    for text in (f"{fault}: Operation not permitted", tls, "No module named 'x'"):
        assert message(ImportError(text)) == f"ImportError: {text} (--debug shows where)"


def test_fail_prints_one_line_and_with_debug_the_traceback() -> None:
    def broken() -> ExitCode:
        stream = io.StringIO()
        try:
            msg = "no\x07"
            raise errors.RunBusyError(msg)
        except errors.RunBusyError as error:
            short, long = fail(error, stream=stream), fail(error, debug=True, stream=stream)
        assert short == long
        lines = stream.getvalue().splitlines()
        assert lines[0] == lines[-1] == r"globa-tui: no\x07"
        assert any("test_diagnostics.py" in line for line in lines)
        assert "\x07" not in stream.getvalue()
        return short

    assert broken() == ExitCode.STORE


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\udc80\ud800\x85")))
def test_printable_is_one_line_of_what_can_be_seen(text: str) -> None:
    shown = printable(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    assert not {"\u202e", "\u2028", "\u200b", "\ufeff"} & set(shown)
    shown.encode()
    assert printable(shown) == shown


@given(st.text(st.sampled_from("a[]/\\b=,0 @") | st.characters(), max_size=12))
def test_markup_safe_is_literal_in_rich_and_textual(text: str) -> None:
    shown = printable(text)
    assert Content.from_markup(markup_safe(text)).plain == shown
    if not shown.endswith("\\") and "\\" not in shown:
        assert Text.from_markup(markup_safe(text), emoji=False).plain == shown


def test_command_line_errors_are_one_line() -> None:
    for words, said in [
        (("bogus",), "No such command 'bogus'; see `globa-tui --help`"),
        (("show", "--foo"), "No such option: --foo; see `globa-tui show --help`"),
        (("show",), "Missing argument 'RUN'; see `globa-tui show --help`"),
    ]:
        result = call(*words)
        assert (result.code, result.out, result.err) == (2, "", f"globa-tui: {said}\n")


def test_debug_works_in_any_place(tmp_path: Path) -> None:
    for words in (("--debug", "show", str(tmp_path)), ("show", str(tmp_path), "--debug")):
        result = call(*words)
        assert result.code == 4
        assert "Traceback" in result.err
    assert "Traceback" not in call("show", str(tmp_path)).err


def test_an_interruption_that_a_library_hid_is_one() -> None:
    stream = io.StringIO()
    hidden = SystemError("returned a result with an exception set")
    hidden.__cause__ = KeyboardInterrupt()
    assert fail(hidden, stream=stream) == ExitCode.INTERRUPTED
    assert stream.getvalue() == "globa-tui: interrupted\n"
    assert fail(SystemError("x"), stream=stream) == ExitCode.FAILED
