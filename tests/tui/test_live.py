"""Following a run that another thread or process writes, and a disk that misbehaves."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from globa_tui.effect import as_array
from globa_tui.jobs.settings import AnalysisRequest
from globa_tui.recipe import Recipe
from globa_tui.tui.widgets.row_table import RowTable
from store.run import RunWriter, pack
from tests.tui.driving import opened, press, screen_text, settle, until
from tests.tui.fake_run import make_run, make_status, manifest, write_layer


def table(app: Any) -> RowTable:
    found = app.screen.query_one("#layers", RowTable)
    assert isinstance(found, RowTable)
    return found


async def test_index_shows_at_once_and_fills_in(tmp_path: Path) -> None:
    run = make_run(tmp_path / "empty.globa", blocks=3, done=0.0)
    whole = manifest(3)
    async with opened(run) as (app, pilot):
        text = await press(pilot, "3", "j", "j")
        assert text.count(" ..\n") >= 17
        with RunWriter.create_or_resume(run, whole) as writer:
            for layer in whole["layers"][:5]:
                write_layer(writer, layer)
                await settle(pilot)
                assert table(app).key == 2
                assert table(app).scroll_offset.y == 0
        lines = screen_text(app).splitlines()
        assert lines[3].rstrip().endswith("ok")
        assert lines[6].rstrip().endswith("!!")
        assert lines[8].rstrip().endswith("..")
        assert "4/23" in lines[0]


async def test_filling_in_from_a_thread(tmp_path: Path) -> None:
    run = make_run(tmp_path / "live.globa", blocks=3, done=0.0)
    whole = manifest(3)

    def write() -> None:
        with RunWriter.create_or_resume(run, whole) as writer:
            for layer in whole["layers"]:
                write_layer(writer, layer)

    async with opened(run, (120, 40)) as (app, pilot):
        await press(pilot, "3", "j", "j", "j", "j", "enter")
        thread = threading.Thread(target=write)
        thread.start()
        await until(pilot, lambda: app.model.counts.pending == 0)
        thread.join()
        await settle(pilot)
        text = screen_text(app)
        assert "✔ DONE 22/23 !! 1 failed" in text
        assert "how far it moved" in text
        assert "rank r" in text
        await press(pilot, "escape")
        assert table(app).key == 4
        await press(pilot, "4")
        assert "22 of 23 layers" in screen_text(app)
        assert (
            app.model.effect.estimate(as_array(dict.fromkeys(["C1", "A", "B", "C", "D+", "D-", "E"], 1.0))).layers == 22
        )


async def test_new_results_do_not_reorder_until_asked(tmp_path: Path) -> None:
    run = make_run(tmp_path / "sorted.globa", blocks=3, done=0.3)
    whole = manifest(3)
    async with opened(run) as (app, pilot):
        await press(pilot, "3", "s", "G")
        before, key = list(table(app).rows), table(app).key
        with RunWriter.create_or_resume(run, whole) as writer:
            for layer in whole["layers"][10:20]:
                write_layer(writer, layer)
        await settle(pilot)
        assert list(table(app).rows) == before
        assert "order is stale, s sorts" in screen_text(app)
        text = await press(pilot, "s")
        assert list(table(app).rows) != before
        assert "sort Ovlp↓" in text
        assert table(app).key == key


async def test_filter_by_status_follows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "filtered.globa", blocks=3, done=0.3)
    whole = manifest(3)
    async with opened(run) as (app, pilot):
        await press(pilot, "3", "slash", *"!done", "enter")
        assert len(table(app).rows) == 7
        with RunWriter.create_or_resume(run, whole) as writer:
            write_layer(writer, whole["layers"][9])
        await settle(pilot)
        assert len(table(app).rows) == 8


async def test_unchanged_run_repaints_nothing(partial_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_status(partial_run, "running", done=15)
    async with opened(partial_run) as (app, pilot):
        for done, key in enumerate(("1", "3", "4", "5"), 15):
            await press(pilot, key)
            await pilot.pause(0.1)
            painted: list[object] = []
            monkeypatch.setattr(app, "_display", lambda screen, renderable: painted.append(renderable))  # noqa: B023
            make_status(partial_run, "running", done=done)
            await settle(pilot)
            await settle(pilot)
            monkeypatch.undo()
            assert [frame for frame in painted if frame is not None] == [], key
            monkeypatch.setattr(app, "_display", lambda screen, renderable: painted.append(renderable))  # noqa: B023
            make_status(partial_run, "running", done=done + 1)
            await settle(pilot)
            monkeypatch.undo()
            assert painted, key


async def test_job_that_ends_is_told(partial_run: Path) -> None:
    make_status(partial_run, "running")
    async with opened(partial_run) as (app, pilot):
        await press(pilot, "3")
        make_status(partial_run, "failed", message="CUDA out of memory")
        await settle(pilot)
        text = screen_text(app)
        assert "Analysis failed: CUDA out of memory" in " ".join(text.replace("▌", "").split())


async def test_missing_layer_file_is_told_and_survived(partial_run: Path) -> None:
    next(partial_run.glob("layers/00000001-*")).unlink()
    async with opened(partial_run, (120, 40)) as (app, pilot):
        await press(pilot, "3", "j", "enter")
        assert "missing" in app.troubles["layer"]
        assert "relative size" in screen_text(app)
        assert "singular value by rank" in await press(pilot, "full_stop")


async def test_run_that_disappears_keeps_its_last_numbers(partial_run: Path) -> None:
    async with opened(partial_run) as (app, pilot):
        await press(pilot, "3")
        (partial_run / "run.json").rename(partial_run / "gone.json")
        await settle(pilot)
        assert "the run is gone" in app.troubles["run"]
        assert "L0 self_attn.q_proj" in screen_text(app)
        (partial_run / "gone.json").rename(partial_run / "run.json")
        await settle(pilot)
        assert "run" not in app.troubles


async def test_no_run_at_all_leaves_with_the_code_of_the_store(tmp_path: Path) -> None:
    async with opened(tmp_path / "nothing.globa") as (app, _):
        assert app.return_code == 4
        assert "there is no run" in app.last_words[0]


async def test_damaged_manifest_leaves_with_the_code_of_the_store(partial_run: Path) -> None:
    (partial_run / "run.json").write_text("{")
    async with opened(partial_run) as (app, _):
        assert app.return_code == 4


async def test_run_started_afresh_is_opened_anew(partial_run: Path) -> None:
    async with opened(partial_run) as (app, pilot):
        await press(pilot, "3", "G")
        with RunWriter.create_or_resume(partial_run, {**manifest(1), "settings": {"eta": [0.5, 0.5]}}, fresh=True):
            await settle(pilot)
            text = screen_text(app)
            assert "10/10" in text
            assert " ok" not in text


async def test_packed_run_shows_everything(whole_run: Path, tmp_path: Path) -> None:
    packed = tmp_path / "whole.h5"
    pack(whole_run, packed, allow_incomplete=True)
    async with opened(packed, (120, 40)) as (app, pilot):
        assert "(packed)" in screen_text(app)
        assert "rank r" in await press(pilot, "3", "j", "enter")
        await press(pilot, "4", "j", "right")
        assert "cannot be resumed" in await press(pilot, "5", "R")
    assert (tmp_path / "whole.h5.jobs" / "recipes" / "current.yaml").exists()


async def test_a_review_does_without_fine_tunes_that_nothing_is_taken_from(whole_run: Path, tmp_path: Path) -> None:
    """The base is here; the saved recipe takes the rest of the model from it."""
    manifest = json.loads((whole_run / "run.json").read_text())
    for source, path in zip(manifest["sources"], (str(tmp_path), "/nowhere/1", "/nowhere/2"), strict=True):
        source["path"] = path
    (whole_run / "run.json").write_text(json.dumps(manifest))
    for weight, trouble in (("0.5", True), ("0", False)):
        packed = tmp_path / f"{weight}.h5"
        pack(whole_run, packed, allow_incomplete=True)
        saved = tmp_path / f"{weight}.h5.jobs" / "recipes" / "current.yaml"
        saved.parent.mkdir(parents=True)
        saved.write_text(Recipe(run=str(packed), skip_weights=(float(weight),)).to_yaml())
        async with opened(packed, (120, 40)) as (_, pilot):
            text = " ".join((await press(pilot, "4", "M", "tab", "tab", "space")).split())
        assert ("/nowhere/1 and 1 more cannot be found" in text) == trouble
        assert ("others as the base has them" in text) == (not trouble)


async def test_a_packed_file_alone_in_the_world(whole_run: Path, tmp_path: Path) -> None:
    """On another machine, without run and checkpoints: all but merging works, and that says what it lacks."""
    manifest = json.loads((whole_run / "run.json").read_text())
    for source in manifest["sources"]:
        source["path"] = "/nowhere/model"
    (whole_run / "run.json").write_text(json.dumps(manifest))
    packed = tmp_path / "away" / "whole.h5"
    packed.parent.mkdir()
    pack(whole_run, packed, allow_incomplete=True)
    shutil.rmtree(whole_run)
    async with opened(packed, (120, 40)) as (app, pilot):
        assert "22 of 23 layers" in screen_text(app)
        assert "subspace overlap" in await press(pilot, "2")
        page = await press(pilot, "3", "j", "enter", *["right_square_bracket"] * 4)
        assert "strongest type of τ2 per tile" in page
        assert "energy of fine-tune 2 kept" in await press(pilot, "4", "j", "right")
        await press(pilot, "3", "escape", "X", "enter")
        assert (tmp_path / "layers.csv").read_text().count("\n") == 27
        text = " ".join((await press(pilot, "4", "M", "tab", "tab", "space")).split())
        assert "a merge reads the checkpoints, and /nowhere/model and 2 more cannot be found" in text
        assert "--fine-tuned" in text
        assert "`--skip-weights 0` does without the fine-tunes" in text
        assert "✔ ready" not in text


# Starting


def request(run: Path, base: Path, *fine_tuned: Path) -> AnalysisRequest:
    return AnalysisRequest(str(base), tuple(map(str, fine_tuned)), run)


def write_checkpoint(path: Path, tensors: dict[str, tuple[int, ...]]) -> Path:
    """A safetensors file of zeros, written by hand."""
    header: dict[str, Any] = {}
    offset = 0
    for name, shape in tensors.items():
        end = offset + 4 * (shape[0] * shape[1])
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(offset))
    return path


class Starts:
    """Stands in for the client: counts what would be started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        monkeypatch.setattr("globa_tui.jobs.client.start", self.start)

    def start(self, kind: str, argv: list[str], run_folder: Path) -> Any:
        self.asked.append((kind, list(argv)))
        return Ended()


class Ended:
    """A process that has ended well."""

    pid = 1
    returncode = 0

    def poll(self) -> int:
        return 0


async def test_inspect_shows_the_index_and_starts_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch)
    files = [write_checkpoint(tmp_path / f"{name}.safetensors", {"a.weight": (4, 3)}) for name in ("b", "f", "g")]
    asked = request(tmp_path / "new.globa", *files)
    async with opened(tmp_path / "new.globa", request=asked) as (app, pilot):
        text = screen_text(app)
        assert "✔ fits: 1 tensors" in text
        assert "(not written yet)" in text
        assert "4x3" in await press(pilot, "3")
    assert starts.asked == [("analyze", asked.argv())]


async def test_checkpoints_that_do_not_fit_start_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch)
    files = [
        write_checkpoint(tmp_path / f"{name}.safetensors", {"a.weight": (rows, 3)})
        for name, rows in (("b", 4), ("f", 4), ("g", 5))
    ]
    async with opened(tmp_path / "new.globa", request=request(tmp_path / "new.globa", *files)) as (app, pilot):
        text = screen_text(app)
        assert "✖" in text
        assert "a.weight" in text
        await pilot.press("q")
        await pilot.pause()
        assert app.return_code == 3
    assert starts.asked == []


async def test_missing_checkpoint_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch)
    places = [tmp_path / name for name in ("b", "f", "g")]
    async with opened(tmp_path / "new.globa", request=request(tmp_path / "new.globa", *places)) as (app, _):
        assert "sources" in app.troubles
        assert "✖ sources:" in screen_text(app)
    assert starts.asked == []


async def test_inspect_joins_a_job_that_runs(partial_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch)
    make_status(partial_run, "running")
    async with opened(partial_run, request=request(partial_run, Path("b"), Path("f"), Path("g"))) as (app, _):
        assert "● RUN" in screen_text(app)
    assert starts.asked == []


async def test_inspect_resumes_an_unfinished_run_and_leaves_a_whole_one(
    partial_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(monkeypatch)
    async with opened(partial_run, request=request(partial_run, Path("b"), Path("f"), Path("g"))):
        pass
    assert len(starts.asked) == 1
    run = tmp_path / "skipped.globa"
    whole = {**manifest(1), "layers": [layer for layer in manifest(1)["layers"] if layer["index"] != 3]}
    with RunWriter.create_or_resume(run, whole) as writer:
        for layer in whole["layers"]:
            write_layer(writer, layer)
    async with opened(run, request=request(run, Path("b"), Path("f"), Path("g"))):
        pass
    assert len(starts.asked) == 1
