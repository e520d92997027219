"""What the program says on stderr, and the exit code it leaves with. Nothing here imports anything heavy."""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from enum import IntEnum
from typing import TextIO


class ExitCode(IntEnum):
    """Exit codes that scripts may rely on."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    MISMATCH = 3
    STORE = 4
    INTERRUPTED = 130


class ProgramError(Exception):
    """An error of the program itself, with the exit code it leads to. The message is one line with the cure."""

    code = ExitCode.FAILED


class UsageError(ProgramError):
    """The command line, a recipe or the terminal is not what the command needs."""

    code = ExitCode.USAGE


class Interrupted(ProgramError):
    """Somebody pressed ctrl-C; the message says what is kept and how to go on."""

    code = ExitCode.INTERRUPTED


# Control characters, marks that reorder or hide text, line and paragraph separators, and undecodable bytes.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def printable(text: object) -> str:
    r"""The text on one line, with every character that could steer a terminal or hide itself written as ``\x1b``.

    Names of tensors and files come from strangers. The result is plain text: give it to Rich or Textual as a
    ``Text`` object, or through `markup_safe`.
    """
    text = str(text)
    # Nearly all texts are such, and a table may have hundreds of thousands.
    if text.isascii() and text.isprintable():
        return text
    return _HIDDEN.sub(_escape, text)


def markup_safe(text: object) -> str:
    """`printable`, and with square brackets escaped for places of Rich and Textual that parse markup."""
    # Textual parses more brackets as tags than Rich does, so every opening one is escaped.
    return re.sub(r"(\\*)\[", r"\1\1\\[", printable(text))


def _escape(match: re.Match[str]) -> str:
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    code = ord(match[0])
    letter, width = ("x", 2) if code < 0x100 else ("u", 4) if code < 0x10000 else ("U", 8)
    return short.get(match[0]) or f"\\{letter}{code:0{width}x}"


def exit_code(error: BaseException) -> ExitCode:
    """The exit code of an exception, by what the reader can do about it."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, ProgramError):
        return error.code
    from globa_tui.jobs.settings import SettingsError
    from store import errors as store_errors

    # Whoever raised an error of the mathematics has loaded its module; nobody else should.
    options_error = getattr(sys.modules.get("analysis.errors"), "OptionsError", ())
    if isinstance(error, (SettingsError, store_errors.OutputExistsError, options_error)):
        return ExitCode.USAGE
    if isinstance(error, store_errors.MismatchError):
        return ExitCode.MISMATCH
    if isinstance(error, store_errors.RunError):
        return ExitCode.STORE
    return ExitCode.FAILED


def message(error: BaseException) -> str:
    """One line that says what is wrong; of an exception that nobody foresaw, also its type."""
    text = " ".join(str(error).splitlines()) if not _expected(error) else str(error)
    if isinstance(error, KeyboardInterrupt):
        text = text or "interrupted"
    elif isinstance(error, MemoryError):
        text = text or "out of memory"
    elif isinstance(error, ImportError) and (library := _did_not_fit(text)) is not None:
        text = f"out of memory: {library} was not loaded; free some, or raise the limit on it (ulimit -v)"
    elif isinstance(error, OSError):
        text = text if _expected(error) else _os_error(error)
    elif not _expected(error):
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    notes = getattr(error, "__notes__", [])
    return printable("; ".join([text, *(" ".join(str(note).splitlines()) for note in notes)]))


def fail(error: BaseException, *, debug: bool = False, stream: TextIO | None = None) -> ExitCode:
    """Print ``globa-tui: …`` on stderr (with `debug` the traceback before it) and return the exit code."""
    stream, error = stream or sys.stderr, _uncovered(error)
    if debug:
        print(*map(printable, _trace(error)), sep="\n", file=stream)
    say(message(error), stream=stream)
    return exit_code(error)


def _uncovered(error: BaseException) -> BaseException:
    """What was raised first: h5py's lock makes a `SystemError` of an interruption that comes while it is let go."""
    cause = error.__cause__
    return cause if isinstance(error, SystemError) and isinstance(cause, KeyboardInterrupt) else error


def say(text: str, *, stream: TextIO | None = None) -> None:
    """Print one line of talk on stderr, under the name of the program."""
    # A terminal that hung up must not change how the program ends.
    with contextlib.suppress(OSError):
        print(f"globa-tui: {printable(text)}", file=stream or sys.stderr, flush=True)


def _trace(error: BaseException) -> list[str]:
    lines: list[str] = []
    for block in traceback.format_exception(error):
        lines += block.rstrip("\n").split("\n")
    return lines


def _expected(error: BaseException) -> bool:
    """Whether this program or its packages raised the error on purpose, with a message for people."""
    own = ("globa_tui.", "analysis.", "store.")
    return any(f"{base.__module__}.".startswith(own) for base in type(error).__mro__)


def _did_not_fit(text: str) -> str | None:
    """The shared library that an import had no memory for; a folder that forbids mapping is another matter."""
    found = re.search(r"(\S+): (?:failed to map segment from shared object|cannot allocate memory)(.*)", text, re.I)
    if found is None or re.search("not permitted|denied|static TLS", found[2], re.I):
        return None
    return found[1]


def _os_error(error: OSError) -> str:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    reason = error.strerror or " ".join(str(error).splitlines()) or type(error).__name__
    return f"{' -> '.join(names)}: {reason}" if names else reason
