"""`kill -9` during the analysis, again and again: nothing finished is lost or computed twice."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from store.run import Run
from tests.jobs.family import family

KILLS = 20
HOME = Path(__file__).parents[2]

# A job that is warm before it starts, so that the moments of the kills fall into its work and not into imports.
JOB = """
import os, sys
from pathlib import Path
from globa_tui.jobs.analyze import run_analysis
from globa_tui.jobs.settings import AnalysisRequest
import analysis.layer
base, one, two, store = sys.argv[1:]
while True:
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        run_analysis(AnalysisRequest(base, (one, two), Path(store)))
        os._exit(0)
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(status, flush=True)
    if status == 0:
        break
"""


def finished(store: Path) -> dict[str, Path]:
    """The file of every layer that the summary calls done."""
    if not (store / "run.json").exists():
        return {}
    records = Run.open(store).records()
    return {record["name"]: store / record["file"] for record in records if record["status"] == "done"}


def identities(files: dict[str, Path]) -> dict[str, tuple[int, int]]:
    """Which file on the disk it is: another one, or one that was written again, has another identity."""
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in files.items()}


def values(store: Path) -> dict[str, bytes]:
    """Every array of every finished layer."""
    run = Run.open(store)
    done = [record for record in run.records() if record["status"] == "done"]
    return {
        f"{record['name']} {name}": array.tobytes()
        for record in done
        for name, array in sorted(run.arrays(record["index"]).items())
    }


def test_twenty_kills_lose_nothing(tmp_path):
    base, fine_tuned = family(tmp_path, blocks=30)
    store = tmp_path / "run.globa"
    chance = random.Random(4)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", JOB, str(base), *map(str, fine_tuned), str(store)]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=HOME)
    assert job.stdout is not None
    kept: dict[str, tuple[int, int]] = {}
    kills = 0
    try:
        for line in job.stdout:
            worker = int(line)
            if kills < KILLS:
                time.sleep(chance.uniform(0.02, 0.25))
                os.kill(worker, signal.SIGKILL)
                kills += 1
            assert int(job.stdout.readline()) in (0, signal.SIGKILL)
            now = identities(finished(store))
            assert kept.items() <= now.items(), "a finished layer was lost or written again"
            kept = now
    finally:
        job.kill()
        job.communicate()
    assert kills == KILLS
    assert len(kept) == 30 * 6 + 1
    undisturbed = tmp_path / "undisturbed.globa"
    command[-1] = str(undisturbed)
    # On as many threads: a product on others may end in another last digit.
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=HOME)
    assert values(undisturbed) == values(store)
