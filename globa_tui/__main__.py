"""Entry point of the console script and of ``python -m globa_tui``."""

from __future__ import annotations

import os
import sys

from globa_tui._claim import claim
from globa_tui._streams import open_closed_streams

# Before torch is loaded, which reads it then; jobs inherit it (docs/decisions/0012).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
claim()


def main() -> int:
    """Run the command line of this process and return its exit code."""
    open_closed_streams()
    from globa_tui.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
