"""The interface's side of a job: its status, its log, starting and steering it. Runs in the disk thread only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from globa_tui.tui.messages import JobsChanged, LogRead, OutputChecked, Trouble
from globa_tui.tui.status import JobView, view_of
from globa_tui.tui.words import size

if TYPE_CHECKING:
    from globa_tui.jobs.protocol import Command, Kind
    from globa_tui.jobs.settings import AnalysisRequest

LOG_TAIL = 16_384
ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2}
ITEM_SIZES |= {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


class JobLink:
    """Follows the two kinds of job of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.followed: Kind | None = None
        """Kind of the job whose log is on the screen."""
        self._views: dict[Kind, JobView] = {"analyze": JobView("analyze"), "merge": JobView("merge")}
        self._children: dict[Kind, subprocess.Popen[bytes]] = {}
        self._later: dict[Kind, Command] = {}
        self._log_stamp: tuple[str, int, int] | None = None

    def poll(self) -> Iterator[Message]:
        """What a person would see change since the last call."""
        views: dict[Kind, JobView] = {kind: self._look(kind) for kind in self._views}
        if views != self._views:
            self._views = views
            yield JobsChanged(views["analyze"], views["merge"])
        yield from self._unborn()
        due: list[Kind] = [kind for kind in self._later if views[kind].state != "starting"]
        for kind in due:
            word = self._later.pop(kind)
            if views[kind].active:
                self._request(kind, word)
        if self.followed:
            yield from self._log(self.followed)

    def view(self, kind: Kind) -> JobView:
        """The job as last seen."""
        return self._views[kind]

    def _look(self, kind: Kind) -> JobView:
        from globa_tui.jobs.protocol import liveness, read_status

        status, child = read_status(self.folder, kind), self._children.get(kind)
        if child and child.poll() is None and (status is None or status.pid != child.pid):
            return JobView(kind, "starting", pid=child.pid)
        return view_of(kind, status, liveness(status)) if status else JobView(kind)

    def _unborn(self) -> Iterator[Message]:
        """Tell of a job that ended before it wrote a status; its log says why."""
        from globa_tui.jobs.client import log_tail
        from globa_tui.jobs.protocol import read_status

        for kind, child in list(self._children.items()):
            if child.poll() is None:
                continue
            del self._children[kind]
            status = read_status(self.folder, kind)
            if child.returncode and (status is None or status.pid != child.pid):
                last = (log_tail(self.folder, kind, 1) or ["its log is empty"])[-1]
                yield Trouble("job", f"the {kind} job ended with code {child.returncode}: {last}")

    def start_analysis(self, request: AnalysisRequest) -> None:
        """Start the analysis as a process of its own."""
        self._start("analyze", request.argv())

    def start_merge(self, recipe: Path, out: Path, *, allow_failed: bool, overwrite: bool) -> None:
        """Start the merge of a recipe file as a process of its own."""
        allowed = [*(["--allow-failed"] if allow_failed else []), *(["--overwrite"] if overwrite else [])]
        self._start("merge", ["--run", str(self.folder), "--recipe", str(recipe), "-o", str(out), *allowed])

    def control(self, kind: Kind, word: Command) -> None:
        """Ask a job to pause, resume or cancel; one that still starts is asked when it runs.

        A job forgets what it was asked before it began.
        """
        if self._views[kind].state == "starting":
            self._later[kind] = word
        else:
            self._request(kind, word)

    def _request(self, kind: Kind, word: Command) -> None:
        from globa_tui.jobs import client

        client.request(self.folder, kind, word)

    def _start(self, kind: Kind, argv: Sequence[str]) -> None:
        from globa_tui.jobs import client

        self._children[kind] = client.start(kind, argv, self.folder)

    def _log(self, kind: Kind) -> Iterator[Message]:
        from globa_tui.jobs.protocol import log_path
        from store import files

        place = log_path(self.folder, kind)
        try:
            found = place.lstat()
        except FileNotFoundError:
            return
        stamp = (kind, found.st_size, found.st_mtime_ns)
        if stamp != self._log_stamp:
            self._log_stamp = stamp
            with os.fdopen(files.open_plain(place), "rb") as stream:
                stream.seek(max(0, found.st_size - LOG_TAIL))
                yield LogRead(kind, stream.read(LOG_TAIL).decode(errors="replace"))


def check_output(
    out: Path, layers: Sequence[Mapping[str, Any]], dtype: str | None, sources: Sequence[Mapping[str, Any]] = ()
) -> OutputChecked:
    """Whether a merge could be done: its sources, the path it writes to, the space it needs and the space there is."""
    needed = 0
    for layer in layers:
        items = 1
        for dim in layer.get("shape") or ():
            items *= dim if isinstance(dim, int) else 1
        floating = not str(layer.get("dtype", "")).startswith(("I", "U", "BOOL"))
        code = dtype if dtype and floating else str(layer.get("dtype", "F32"))
        needed += items * ITEM_SIZES.get(code, 4)
    parent = next((place for place in out.parents if place.is_dir()), None)
    free = shutil.disk_usage(parent).free if parent else None
    trouble = None
    there = out.exists() or out.is_symlink()
    gone = [str(source["path"]) for source in sources if source.get("path") and not Path(str(source["path"])).exists()]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        trouble = (
            f"a merge reads the checkpoints, and {gone[0]}{more} cannot be found; "
            "`globa-tui merge RUN -o OUT --base … --fine-tuned …` says where they are now, "
            "`--skip-weights 0` does without the fine-tunes"
        )
    elif there and (out.is_symlink() or not (out / "config.json").is_file()):
        trouble = f"{out} is already there and is no model; choose another name"
    elif free is not None and free < needed:
        trouble = f"not enough space: {size(needed)} needed, {size(free)} free in {parent}"
    return OutputChecked(out, free, needed, trouble, there)
