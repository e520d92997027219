"""Names: a run folder for every way to write it, and no tensor name that leads out of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.run import run_folder
from store.run.layout import LAYERS, layer_file, layer_file_name

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b/c",
    "a\\b",
    "x" * 300,
    "naïve.Ω.\u202e.weight",
    "a\x00b\x1b[31mc\nd",
    "CON",
    "-rf",
    ".hidden",
    "%2e%2e%2f",
    "\ud800",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tensor_name_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    assert_safe(tmp_path, layer_file_name(7, name))


@given(name=st.text(), index=st.integers(0, 10**8 - 1))
def test_any_tensor_name_stays_in_the_folder(name: str, index: int) -> None:
    assert_safe(Path("/run"), layer_file_name(index, name))


def assert_safe(folder: Path, file: str) -> None:
    assert file.isascii()
    assert file.isprintable()
    assert len(file) < 120
    path = layer_file(folder, f"{LAYERS}/{file}")
    assert path is not None
    assert path.parent == folder / LAYERS
    assert path.name == file


def test_layers_have_different_files_even_when_their_names_look_alike() -> None:
    assert layer_file_name(1, "a/b") != layer_file_name(2, "a_b")
    assert layer_file_name(12, "model.norm.weight") == "00000012-model.norm.weight.h5"


@pytest.mark.parametrize(
    "name",
    [
        "layers/../run.h5",
        "layers/..",
        "../x.h5",
        "/etc/x.h5",
        "layers//etc/x.h5",
        "layers/a/b.h5",
        "x.h5",
        "layers/x.txt",
        "layers/.x.h5",
        "layers/x.h5\n",
        "layers/ü.h5",
        "",
        None,
        7,
        ["layers/x.h5"],
    ],
)
def test_a_summary_cannot_name_a_file_elsewhere(name: object) -> None:
    assert layer_file(Path("/run"), name) is None


@pytest.mark.parametrize(
    ("given_path", "expected"),
    [
        ("RUN", "RUN.globa"),
        ("RUN.globa", "RUN.globa"),
        ("RUN.globa/", "RUN.globa"),
        ("a/RUN", "a/RUN.globa"),
        ("out.h5", "out.h5"),
        ("qwen2.5", "qwen2.5.globa"),
    ],
)
def test_run_folder(given_path: str, expected: str) -> None:
    assert run_folder(given_path) == Path(expected)


def test_a_folder_that_holds_a_run_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "renamed").mkdir()
    (tmp_path / "renamed" / "run.json").write_text("{}")
    assert run_folder(tmp_path / "renamed") == tmp_path / "renamed"
