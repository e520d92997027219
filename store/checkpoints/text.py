"""Text that came from strangers, made safe for one line of a message."""

from __future__ import annotations


def shown(value: object) -> str:
    r"""Write a name or path for a message: whole, on one line, control characters escaped.

    Parameters
    ----------
    value : object
        A tensor name, a path, anything whose ``str`` may hold line breaks, escape sequences or lone surrogates.

    Returns
    -------
    str
        The same text with every unprintable character written as ``\n``, ``\x1b``, ``\ud800`` and so on.
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown_shape(shape: tuple[int, ...]) -> str:
    """Write a shape as ``[4096, 11008]``."""
    return "[" + ", ".join(map(str, shape)) + "]"
