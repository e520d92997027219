"""Screenshots of the terminal interface for the README: ``python -m demo.screenshots``, after ``make demo``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read when Textual is imported: without a terminal there would be no colours.
os.environ["TEXTUAL_COLOR_SYSTEM"] = "truecolor"
os.environ.pop("NO_COLOR", None)

from globa_tui.tui.app import InspectApp  # noqa: E402

if TYPE_CHECKING:
    from textual.pilot import Pilot

ROOT = Path(__file__).parents[1]
RUN = ROOT / "demo" / "out" / "math-code.globa"
IMAGES = ROOT / "docs" / "images"
SHOTS: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "map": ((100, 24), ("2", "v", "j", "j", "j", "enter", "l", "j", "j")),
    "layers": ((100, 30), ("3", "down", "down", "down")),
    "layer": ((120, 40), ("3", "down", "down", "down", "enter")),
    "types": ((120, 40), ("3", "down", "down", "down", "enter", *["right_square_bracket"] * 4)),
    "recipe": ((100, 30), ("4", "t", "T", "j", "enter", *["j"] * 5, *["left"] * 4, "k", "k", "right")),
}
"""Size of the terminal and keys; those that the README shows are described there."""


async def shoot(name: str, size: tuple[int, int], keys: tuple[str, ...]) -> Path:
    """Open the demo's run, press `keys`, and save what the screen shows."""
    app = InspectApp(RUN)
    async with app.run_test(size=size) as pilot:
        await _settle(app, pilot)
        for key in keys:
            await pilot.press(key)
            await _settle(app, pilot)
        image = IMAGES / f"{name}.svg"
        image.write_text(app.export_screenshot(title="globa-tui"), encoding="utf-8")
    return image


async def _settle(app: InspectApp, pilot: Pilot[Any]) -> None:
    """Wait for the disk thread and the messages that follow."""
    for _ in range(2):
        await asyncio.to_thread(app.disk.sync().wait, 60)
        await pilot.pause()


def main() -> None:
    """Save every screenshot."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, (size, keys) in SHOTS.items():
        print(asyncio.run(shoot(name, size, keys)))


if __name__ == "__main__":
    main()
