"""What ``show --findings`` prints."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from globa_tui.diagnostics import printable
from globa_tui.findings import SURE, Finding

WIDEST = 120


def print_findings(found: Sequence[Finding]) -> None:
    """Print the findings as a numbered list, and what the words about how sure they are mean."""
    if not found:
        print("Nothing stands out.")
        return
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST) if sys.stdout.isatty() else WIDEST
    for number, finding in enumerate(found, 1):
        text = printable(f"{finding.text}. [{finding.sure}]")
        lines = textwrap.wrap(text, width - 4, break_long_words=False, break_on_hyphens=False)
        print(f"{number:>2}. " + "\n    ".join(lines))
    print()
    for name in dict.fromkeys(finding.sure for finding in found):
        print(f"{name}: {SURE[name]}")
