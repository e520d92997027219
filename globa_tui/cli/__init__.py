"""The command line: a file per command, and one place that turns errors into a line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence

from globa_tui.cli.signals import ending_in_order
from globa_tui.diagnostics import ExitCode, fail, say

__all__ = ["run"]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code. ``--debug``, anywhere, adds the traceback to an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is escaped; it must not end the program.
            stream.reconfigure(errors="backslashreplace")
    words = list(argv)
    options = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:options]
    words = [word for word in words[:options] if word != "--debug"] + words[options:]
    try:
        with ending_in_order():
            return _invoke(words)
    except BrokenPipeError:
        # Leave quietly when whoever read our output stopped, as ``| head`` does.
        _drop_output()
        return ExitCode.DONE
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
            # What we write ourselves is named; what is printed has no name.
            error.filename = "stdout"
            _drop_output()
        return _report(error, debug=debug)


def _invoke(words: list[str]) -> int:
    from typer.main import get_command

    from globa_tui.cli.app import app

    result = get_command(app).main(words, prog_name="globa-tui", standalone_mode=False)
    sys.stdout.flush()
    code = int(result or ExitCode.DONE)
    if code == ExitCode.INTERRUPTED:
        say("interrupted")
    return code


def _report(error: BaseException, *, debug: bool) -> int:
    import typer

    if isinstance(error, typer.Abort):
        say("interrupted")
        return ExitCode.INTERRUPTED
    # Typer brings its own copy of Click or uses Click itself, by version: what both have is this method.
    describe = getattr(error, "format_message", None)
    if describe is not None:
        command = getattr(getattr(error, "ctx", None), "command_path", "globa-tui")
        say(f"{describe().rstrip('.')}; see `{command} --help`")
        return ExitCode.USAGE
    return fail(error, debug=debug)


def _drop_output() -> None:
    """Let what was printed and not written yet go to the null device; Python would fail on it again as it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
