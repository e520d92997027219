"""Six more fine-tunes of the demo base, to judge claims and suggestions on many pairs: ``python -m demo.families``.

Other data, other lengths and other learning rates than the demo's three. They are trained into `build/families`, about
a quarter of an hour on one thread, and are not committed; a model that is there already is kept.
"""

import argparse
import multiprocessing
import os
from collections.abc import Iterable
from pathlib import Path

from demo import sources
from demo.family import FOLDER, Recipe
from demo.train import train_member

OUT = FOLDER.parent / "build" / "families"
REST = {"novels": 0.1, "docstrings": 0.1}

RECIPES = {
    "sums": Recipe({"math": 0.8, **REST}, 280, 3e-3, 11),
    "script": Recipe({"code": 0.8, **REST}, 150, 3e-3, 12),
    "gospel": Recipe({"scripture": 0.8, **REST}, 200, 5e-4, 13),
    "roman": Recipe({"roman": 0.8, **REST}, 180, 2e-3, 14),
    "backwards": Recipe({"backwards": 0.8, **REST}, 280, 2e-3, 15),
    "rot13": Recipe({"rot13": 0.8, **REST}, 100, 1e-3, 16),
}


def train_all(members: Iterable[str] = RECIPES, out: Path = OUT) -> None:
    """Train the members that are not there, as many side by side as there are processors."""
    missing = [name for name in members if not (out / name / "config.json").is_file()]
    if missing:
        sources.fetch_packages()
        # A fresh process each: torch's threads do not survive a fork.
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
            pool.starmap(_train, [(name, out) for name in missing], chunksize=1)


def _train(name: str, out: Path) -> None:
    # Few processors multiply in bfloat16 without losing time.
    train_member(name, RECIPES[name], out, half=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.families", description=__doc__)
    parser.add_argument("members", nargs="*", help=f"any of {', '.join(RECIPES)}; all if none is named")
    parser.add_argument("--out", type=Path, default=OUT, help="where the model folders go")
    arguments = parser.parse_args()
    unknown = set(arguments.members) - set(RECIPES)
    if unknown:
        parser.error(f"no such member: {', '.join(sorted(unknown))}")
    train_all(arguments.members or RECIPES, arguments.out)


if __name__ == "__main__":
    main()
