"""A job that counts, for the tests of the protocol: `python -m tests.jobs.fake_runner KIND FOLDER MODE`."""

import sys
import time
from pathlib import Path
from typing import cast

from globa_tui.jobs.protocol import JobStatus, Kind, StatusWriter, clear_control, take_control


def main(kind: Kind, folder: Path, mode: str) -> int:
    print("hello from the job", flush=True)
    if mode == "crash":
        print("no such checkpoint", file=sys.stderr)
        return 3
    if mode == "silent":
        time.sleep(60)
    clear_control(folder, kind)
    writer = StatusWriter(folder, JobStatus.of_this_process(kind, total=1000))
    writer.update(state="running")
    if mode == "short":
        writer.update(state="complete", done=1000, message="done")
        return 0
    for step in range(600):
        word = take_control(folder, kind)
        if word == "cancel":
            writer.update(state="cancelled", message="cancelled")
            return 130
        if word is not None:
            writer.update(state="paused" if word == "pause" else "running")
        paused = writer.status.state == "paused"
        writer.update(done=writer.status.done if paused else step)
        time.sleep(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main(cast("Kind", sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
