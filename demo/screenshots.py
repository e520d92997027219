"""Screenshots of the terminal interface for the README: ``python -m demo.screenshots``, after ``make demo``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from globa_tui.tui.app import InspectApp

ROOT = Path(__file__).parents[1]
RUN = ROOT / "demo" / "out" / "math-code.globa"
IMAGES = ROOT / "docs" / "images"
SIZE = (100, 30)
SHOTS = {
    "layers": ("3", "down", "down", "down"),
    "layer": ("3", "down", "down", "down", "enter"),
    "recipe": ("4", "down", "down", "down", "down", "down", "left", "left", "left", "left"),
}


async def shoot(name: str, keys: tuple[str, ...]) -> Path:
    """Open the demo's run, press `keys`, and save what the screen shows."""
    app = InspectApp(RUN)
    async with app.run_test(size=SIZE) as pilot:
        await _settle(app, pilot)
        for key in keys:
            await pilot.press(key)
            await _settle(app, pilot)
        image = IMAGES / f"{name}.svg"
        image.write_text(app.export_screenshot(title="globa-tui"), encoding="utf-8")
    return image


async def _settle(app: InspectApp, pilot: object) -> None:
    """Wait for the disk thread and the messages that follow."""
    for _ in range(4):
        await app.workers.wait_for_complete([w for w in app.workers if w.group != "disk"])
        await asyncio.sleep(0.15)
        await pilot.pause()  # type: ignore[attr-defined]


def main() -> None:
    """Save every screenshot."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, keys in SHOTS.items():
        print(asyncio.run(shoot(name, keys)))


if __name__ == "__main__":
    main()
