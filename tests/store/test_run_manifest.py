"""A run goes on only with the sources and settings it was started with, and says what differs."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from store.errors import RunDamagedError, RunForeignError, RunNotFoundError
from store.run import FORMAT, Run, RunWriter
from tests.store.run_samples import manifest, write

Change = Callable[[dict[str, Any]], None]


def other_hash(value: dict[str, Any]) -> None:
    value["sources"][1]["files"][0]["header_sha256"] = "c" * 64


def other_size(value: dict[str, Any]) -> None:
    value["sources"][0]["files"][0]["size"] = 999


def other_time(value: dict[str, Any]) -> None:
    value["sources"][0]["files"][0]["mtime_ns"] = 18


def one_more_source(value: dict[str, Any]) -> None:
    value["sources"].append(value["sources"][1])


def one_more_file(value: dict[str, Any]) -> None:
    value["sources"][0]["files"].append({"name": "b"})


def swapped(value: dict[str, Any]) -> None:
    value["sources"].reverse()


def other_name(value: dict[str, Any]) -> None:
    value["sources"][0]["files"][0]["name"] = "b"


def other_setting(value: dict[str, Any]) -> None:
    value["settings"]["eta"] = [0.9, 0.8]


def new_setting(value: dict[str, Any]) -> None:
    value["settings"]["extra"] = True


def lost_setting(value: dict[str, Any]) -> None:
    del value["settings"]["basis"]


def fewer_layers(value: dict[str, Any]) -> None:
    value["layers"].pop()


def other_shape(value: dict[str, Any]) -> None:
    value["layers"][2]["shape"] = [4, 6]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_hash, ["fine-tune 1 file model.safetensors header_sha256", "b" * 64, "c" * 64]),
        (other_size, ["base file model.safetensors size", "1000", "999"]),
        (other_time, ["base file model.safetensors mtime_ns", "17", "18"]),
        (one_more_source, ["number of sources", "2", "3"]),
        (other_name, ["base file name", "model.safetensors", '"b"']),
        (one_more_file, ["base files"]),
        (swapped, ["source 0 role", "base", "fine-tune 1"]),
        (other_setting, ["settings.eta", "[0.95, 0.8]", "[0.9, 0.8]"]),
        (new_setting, ["settings.extra", "absent", "true"]),
        (lost_setting, ["settings.basis", "canonical", "absent"]),
        (fewer_layers, ["number of layers", "6", "5"]),
        (other_shape, ["layer shape", "[6, 4]", "[4, 6]"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_another_run_is_refused_with_the_difference_and_the_cure(
    tmp_path: Path, change: Change, words: list[str]
) -> None:
    run = write(tmp_path / "run", done=2)
    wanted = copy.deepcopy(manifest())
    change(wanted)
    with pytest.raises(RunForeignError) as caught:
        RunWriter.create_or_resume(run, wanted)
    message = str(caught.value)
    assert all(word in message for word in [*words, str(run), "--fresh"])
    assert "\n" not in message
    with RunWriter.create_or_resume(run, manifest()) as writer:
        assert writer.finished == {0, 1}


def test_a_model_that_was_moved_is_the_same(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=2)
    moved = manifest()
    moved["sources"][0] |= {"path": "/elsewhere/base", "source": "base"}
    with RunWriter.create_or_resume(run, moved) as writer:
        assert writer.finished == {0, 1}


def test_two_models_that_differ_only_in_their_path_are_told_apart(tmp_path: Path) -> None:
    """Fine-tunes unpacked from one archive can have the same size, time and header."""
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    started = manifest()
    started["sources"][1]["path"] = str(places[0])
    RunWriter.create_or_resume(tmp_path / "run", started).close()
    other = copy.deepcopy(started)
    other["sources"][1]["path"] = str(places[1])
    with pytest.raises(RunForeignError, match="fine-tune 1 path"):
        RunWriter.create_or_resume(tmp_path / "run", other)
    (tmp_path / "link").symlink_to(places[0])
    other["sources"][1]["path"] = str(tmp_path / "link")
    RunWriter.create_or_resume(tmp_path / "run", other).close()


def test_other_versions_may_continue(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=1)
    RunWriter.create_or_resume(run, {**manifest(), "versions": {"globa-tui": "0.2.0"}}).close()
    assert Run.open(run).manifest["versions"] == {"globa-tui": "0.1.0"}


def test_tuples_and_lists_are_the_same(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=1, exclude=("lm_head",))
    RunWriter.create_or_resume(run, manifest(exclude=["lm_head"])).close()


def test_fresh_starts_again_with_other_settings(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=3)
    with RunWriter.create_or_resume(run, manifest(anchor=2), fresh=True) as writer:
        assert writer.finished == set()
        assert list((run / "layers").iterdir()) == []
    opened = Run.open(run)
    assert opened.manifest["settings"]["anchor"] == 2
    assert {record["status"] for record in opened.records()} == {"pending"}


def rewrite(run: Path, **changes: Any) -> None:
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("open_run", [Run.open, lambda run: RunWriter.create_or_resume(run, manifest())])
def test_a_newer_format_says_update(tmp_path: Path, open_run: Callable[[Path], object]) -> None:
    run = write(tmp_path / "run", done=1)
    rewrite(run, format=FORMAT + 1)
    with pytest.raises(RunForeignError, match="written by a newer globa-tui .*update globa-tui"):
        open_run(run)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": None},
        {"format": "1"},
        {"format": True},
        {"format": 0},
        {"layers": None},
        {"layers": [1]},
        {"layers": [{"name": "x"}]},
        {"layers": [{"index": True, "name": "x"}]},
        {"layers": [{"index": 0, "name": "x"}, {"index": 0, "name": "y"}]},
        {"sources": {}},
        {"settings": []},
    ],
    ids=str,
)
def test_a_damaged_manifest_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = write(tmp_path / "run", done=1)
    rewrite(run, **changes)
    for attempt in (Run.open, lambda path: RunWriter.create_or_resume(path, manifest())):
        with pytest.raises(RunDamagedError, match=r"run\.json"):
            attempt(run)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff", "[" * 100_000])
def test_a_manifest_that_is_no_json_is_named(tmp_path: Path, text: str) -> None:
    run = write(tmp_path / "run", done=1)
    (run / "run.json").write_text(text, encoding="latin-1")
    with pytest.raises(RunDamagedError, match=r"run\.json.*--fresh"):
        Run.open(run)
    with RunWriter.create_or_resume(run, manifest(), fresh=True) as writer:
        assert writer.finished == set()


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    for name in ("nothing", "nothing.h5"):
        with pytest.raises(RunNotFoundError, match="nothing"):
            Run.open(tmp_path / name)


def test_a_lost_manifest_does_not_throw_layers_away(tmp_path: Path) -> None:
    run = write(tmp_path / "run", done=2)
    (run / "run.json").unlink()
    with pytest.raises(RunDamagedError, match=r"run\.json: missing, but layers are there"):
        RunWriter.create_or_resume(run, manifest())
    assert len(list((run / "layers").iterdir())) == 2


def test_a_folder_with_other_files_is_not_made_a_run(tmp_path: Path) -> None:
    """Not even with --fresh: somebody's home folder is no run."""
    folder = tmp_path / "home.globa"
    folder.mkdir()
    (folder / "thesis.tex").write_text("x")
    for fresh in (False, True):
        with pytest.raises(RunDamagedError, match="a folder with other files in it"):
            RunWriter.create_or_resume(folder, manifest(), fresh=fresh)
    assert [entry.name for entry in folder.iterdir()] == ["thesis.tex"]


def test_a_packed_run_is_not_continued(tmp_path: Path) -> None:
    with pytest.raises(RunDamagedError, match="resume the folder"):
        RunWriter.create_or_resume(tmp_path / "run.h5", manifest())
