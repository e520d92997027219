"""Standard streams that whoever started the program has closed, as services and schedulers do."""

from __future__ import annotations

import os
import sys


def open_closed_streams() -> None:
    """Open the null device in the place of standard streams that are closed.

    Else Python has None there, and worse: the first file that is opened takes the number of the stream, and what a
    library prints goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one: those below are open by now.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
