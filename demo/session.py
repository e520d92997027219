"""The README's session with its real output: ``python -m demo.session`` runs the commands and writes the block."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- session: python -m demo.session -->", "<!-- end of session -->"
MODELS = "demo/models"
COMMANDS = (
    f"globa-tui analyze {MODELS}/base {MODELS}/math {MODELS}/code --store demo/out/session --exclude embed",
    "globa-tui show demo/out/session",
    "globa-tui merge demo/out/session -o demo/out/careful --preset uniform-0.6 --coef 'mlp:D-=0'",
    f"python -m demo.evaluate {MODELS}/base {MODELS}/math {MODELS}/code demo/out/careful",
)
MOST_LINES = 14


def transcript() -> str:
    """Run the commands; what they print, with long tables cut in the middle."""
    shutil.rmtree(ROOT / "demo" / "out" / "session.globa", ignore_errors=True)
    shutil.rmtree(ROOT / "demo" / "out" / "careful", ignore_errors=True)
    (ROOT / "demo" / "out").mkdir(exist_ok=True)
    blocks = []
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in COMMANDS:
        done = subprocess.run(
            command, shell=True, cwd=ROOT, env=environment, check=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        blocks.append(f"$ {command}\n{_shortened(done.stdout.expandtabs(4))}")
    return "\n".join(blocks)


def _shortened(text: str) -> str:
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines = [*lines[:half], "…", *lines[-half:]]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def main() -> None:
    """Write the session into the README."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n```console\n{transcript()}```\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
