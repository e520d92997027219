"""Entry point of the console script and of ``python -m globa_tui``."""

from __future__ import annotations

import sys

from globa_tui._claim import claim

claim()


def main() -> int:
    """Run the command line of this process and return its exit code."""
    from globa_tui.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
