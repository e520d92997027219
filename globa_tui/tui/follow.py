"""Following a run on disk while another process writes it. Runs in the disk thread only."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from globa_tui.diagnostics import exit_code, message
from globa_tui.tui.cleaning import clean_record
from globa_tui.tui.curves import curve
from globa_tui.tui.hidden import Hidden, hidden_stamp, read_hidden
from globa_tui.tui.messages import FindingsRead, LayerRead, RecordsChanged, RecordsRead, RunOpened, Trouble
from globa_tui.tui.pictures import array_names, pair_picture
from globa_tui.tui.portion import Portion
from globa_tui.tui.what_if import Etas, at_etas
from store.errors import RunNotFoundError, StoreError

if TYPE_CHECKING:
    from globa_tui.jobs.settings import AnalysisRequest
    from store.run import Run

Stamp = tuple[int, int, int]
MANY = 5_000
BLOCK = 1 << 18
"""Bytes of a summary that are read, and dealt with, at once."""
FIRST, LONGER = 0.1, 2
"""Seconds for which a large run is read before more of it is shown, and how many times as long it is each time."""
SLICE = 0.2
"""Seconds of reading before other work of the disk thread has its turn."""
FINDINGS_EVERY = 30.0
"""Least seconds between two looks for findings while layers still arrive."""
FINDINGS_REST = 300.0
"""How many times as long as a look took the next one waits: while 20,000 layers are looked through, keys wait too."""


class RunFollower:
    """Opens the run when it is there, shows the checkpoints' index until then, and finds what is new.

    Parameters
    ----------
    path : Path
        Run folder or packed file.
    request : AnalysisRequest, optional
        Where to take the index from while there is no run yet.
    """

    def __init__(self, path: Path, request: AnalysisRequest | None) -> None:
        self.path = path
        self.fits = True
        """Whether the checkpoints fit each other, as far as is known."""
        self._request = request
        self._run: Run | None = None
        self._seen: Stamp | None = None
        self._raw: list[dict[str, Any]] = []
        self._records: list[dict[str, Any]] = []
        self._slice = FIRST
        """Seconds for which the next look at a large run reads on."""
        self._pending: set[int] = set()
        """Where layers stand that are still to be analysed."""
        self._places: dict[int, int] = {}
        """Where in these lists a layer stands, by its index."""
        self._previewed = False
        self._changed = False
        """Whether records are other ones than when findings were last looked for."""
        self._looking = False
        """Whether findings are being looked for."""
        self._next_findings: float | None = None
        self._hidden: Hidden | None = None
        self._etas: Etas | None = None
        """Thresholds that finished layers are shown at; the run's own ones when None."""
        self._behind: list[int] = []
        """Layers that are still shown at other ones."""

    @property
    def layers(self) -> Sequence[dict[str, Any]]:
        """Records of all layers, as far as they are known."""
        return self._records

    @property
    def reading(self) -> bool:
        """Whether records of the run are still to be read, at the next looks."""
        return self._run is not None and self._run.share_read < 1

    @property
    def complete(self) -> bool:
        """Whether nothing is left to analyse."""
        return (
            self._run is not None
            and not self.reading
            and not self._pending
            and all(record["status"] in ("done", "skipped") for record in self._records)
        )

    def poll(self) -> Iterator[Message]:
        """What is new since the last call."""
        stamp = self._stamp()
        if stamp is None:
            yield from self._without_run()
        elif stamp != self._seen or self._run is None:
            yield self._open(stamp)
        elif self.reading:
            yield self._read_on()
        else:
            yield from self._changes()

    @property
    def findings_due(self) -> bool:
        """Whether the last findings are about older records, and it is time for new ones."""
        if self._run is None or self.reading or self._looking or not self._changed:
            return False
        waited = self._next_findings is None or time.monotonic() > self._next_findings
        return waited or not self._pending

    def findings(self) -> Iterator[FindingsRead | None]:
        """Look for findings in the records of now, a rule at each step."""
        assert self._run is not None
        self._changed, self._looking = False, True
        return self._look_for_findings(self._run, self._run.records())

    def _look_for_findings(self, run: Run, records: Sequence[dict[str, Any]]) -> Iterator[FindingsRead | None]:
        from globa_tui.findings import Evidence, ranked, rule_by_rule
        from store.run import read_result

        found, start = [], time.thread_time()
        try:
            for part in rule_by_rule(Evidence(run.manifest, records, read_result(run.path))):
                found += part
                yield None
        finally:
            self._looking = False
            rest = FINDINGS_REST * (time.thread_time() - start)
            self._next_findings = time.monotonic() + max(FINDINGS_EVERY, rest)
        yield FindingsRead(ranked(found))

    def turn_to(self, etas: Etas | None) -> tuple[dict[int, dict[str, Any]], bool]:
        """Some layers as they would be at other thresholds, and whether the next call gives more."""
        if etas != self._etas:
            self._etas = etas
            self._behind = [place for place, record in enumerate(self._records) if record["status"] == "done"][::-1]
        changed, end = {}, time.monotonic() + SLICE
        while self._behind and time.monotonic() < end:
            place = self._behind.pop()
            changed[place] = self._records[place] = self._shown(place)
        return changed, bool(self._behind)

    def _shown(self, place: int) -> dict[str, Any]:
        record = clean_record(self._raw[place])
        record |= self._hidden.of(record) if self._hidden else {}
        if self._etas is None or self._run is None or record["status"] != "done":
            return record
        anchor = (self._run.manifest.get("settings") or {}).get("anchor")
        return at_etas(self._run, record, self._etas, anchor if type(anchor) is int else 1)

    def layer(self, index: int) -> LayerRead:
        """Read the spectra of one layer, and the pictures of its pairs."""
        if self._run is None or not 0 <= index < len(self._records):
            return LayerRead(index, ())
        record = self._records[index]
        if record["status"] != "done" or not (record.get("file") or self._run.packed):
            return LayerRead(index, ())
        number = int(record["index"])
        norms = (record.get("norm") or {}).get("task_vectors") or []
        present = set(self._run.array_names(number))
        wanted = {f"spectrum/{task + 1}": norm for task, norm in enumerate(norms) if f"spectrum/{task + 1}" in present}
        anchor = (self._run.manifest.get("settings") or {}).get("anchor")
        pairs = array_names(present, anchor if type(anchor) is int else 1, len(norms))
        arrays = self._run.arrays(number, [*wanted, *(name for names in pairs.values() for name in names.values())])
        return LayerRead(
            index,
            [curve(arrays[name], norm) for name, norm in wanted.items()],
            [pair_picture(task, {name: arrays[at] for name, at in names.items()}) for task, names in pairs.items()],
        )

    def _stamp(self) -> Stamp | None:
        place = self.path if self.path.is_file() else self.path / "run.json"
        try:
            found = place.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, hidden_stamp(self.path)

    def _open(self, stamp: Stamp) -> RunOpened:
        from store.run import Run

        portion = Portion()
        with self._collector_held():
            self._run = run = Run.open(self.path, limit=BLOCK)
            self._seen, self._raw, self._slice = stamp, run.records(), FIRST
            self._places = {record["index"]: place for place, record in enumerate(self._raw)}
            self._hidden = read_hidden(self.path)
            portion.add(range(len(self._raw)), self._raw, hidden=self._hidden)
            self._records = portion.records
            self._pending = {place for place, each in enumerate(self._records) if each["status"] == "pending"}
        self._changed = True
        self._etas, self._behind = None, []
        return RunOpened(
            dict(run.manifest),
            list(self._records),
            packed=run.packed,
            stored=True,
            numbers=portion.numbers,
            tally=portion.tally,
            hidden=self._hidden,
            share_read=run.share_read,
        )

    def _read_on(self) -> RecordsRead:
        """Read some more of a large run, for longer each time: every time a screen shows all anew."""
        assert self._run is not None
        portion, end = Portion(), time.monotonic() + self._slice
        self._slice *= LONGER
        with self._collector_held():
            self._read_block(self._run, portion)
            while self.reading and time.monotonic() < end:
                self._read_block(self._run, portion)
        return RecordsRead(portion, self._run.share_read)

    def _read_block(self, run: Run, portion: Portion) -> None:
        """Read so much that it stays in the processor's cache until it was dealt with."""
        places = [self._places[index] for index in run.refresh(BLOCK) if index in self._places]
        for place in places:
            self._raw[place] = run.record(self._raw[place]["index"])
        first = len(portion.records)
        portion.add(
            places, [self._raw[place] for place in places], [self._records[place] for place in places], self._hidden
        )
        for place, record in zip(places, portion.records[first:], strict=True):
            self._take(place, record)

    def _take(self, place: int, record: dict[str, Any]) -> None:
        self._records[place] = record
        if record["status"] == "pending":
            self._pending.add(place)
        else:
            self._pending.discard(place)

    @contextmanager
    def _collector_held(self) -> Iterator[None]:
        """Hold the garbage collector until all records are there.

        Of 20,000 it would look through millions of values again and again: five times the time of reading them, and
        later half a second in which no key is answered.
        """
        gc.disable()
        try:
            yield
        except BaseException:
            gc.enable()
            raise
        if not self.reading:
            if len(self._records) > MANY:
                gc.freeze()
            gc.enable()

    def _changes(self) -> Iterator[Message]:
        assert self._run is not None
        changed = {}
        for index in self._run.refresh():
            place = self._places.get(index)
            if place is None:  # the manifest is another one; the next look opens it
                continue
            self._raw[place] = self._run.record(index)
            changed[place] = self._shown(place)
            self._take(place, changed[place])
        if changed:
            self._changed = True
            yield RecordsChanged(changed)

    def _without_run(self) -> Iterator[Message]:
        if self._run is not None:
            self._seen = None
            msg = f"{self.path}: the run is gone; shown is what it held"
            raise RunNotFoundError(msg)
        if self._request is None:
            msg = f"{self.path}: there is no run; `globa-tui inspect BASE FT1 FT2 --store {self.path}` makes one"
            raise RunNotFoundError(msg)
        if not self._previewed:
            self._previewed = True
            yield from self._preview(self._request)

    def _preview(self, request: AnalysisRequest) -> Iterator[Message]:
        try:
            manifest = preview(request)
        except StoreError as error:
            # A checkpoint that the job may still download is no reason to give up.
            self.fits = request.download
            yield Trouble("sources", message(error), exit_code(error))
            return
        errors = [finding["message"] for finding in manifest["findings"] if finding["severity"] == "error"]
        self.fits = not errors
        records = [clean_record({**layer, "status": "pending"}) for layer in manifest["layers"]]
        yield RunOpened(manifest, records, packed=False, stored=False)
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            yield Trouble("sources", f"{errors[0]}{more}", 3)


def preview(request: AnalysisRequest) -> dict[str, Any]:
    """The index of the checkpoints as a manifest, read from their headers alone."""
    from store.checkpoints import build_index, open_checkpoint

    base = open_checkpoint(request.base)
    fine_tuned = [open_checkpoint(source) for source in request.fine_tuned]
    index = build_index(base, fine_tuned, request.settings.vocab)
    sources = [{"role": "base", "source": base.source, "path": str(base.path)}]
    sources += [{"role": "fine_tuned", "source": each.source, "path": str(each.path)} for each in fine_tuned]
    return {
        "sources": sources,
        "settings": request.settings.to_dict(),
        "layers": [asdict(layer) for layer in index.layers],
        "findings": [asdict(finding) for finding in index.findings],
    }
