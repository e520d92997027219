"""What `show` and `status` print for a small run with known records."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from globa_tui.cli import layers, tables
from store.run import RunWriter
from tests.cli.records import HOSTILE, LAYERS, call, done, make_run, manifest

TABLE = """\
layer                                   shape  ranks  orth L  orth R   A %   B %   C %  D+ %  D- %  E %  clusters %  status
model.layers.0.self_attn.q_proj.weight  8x6    4/2     0.125   0.250  50.0  25.0  12.5   6.2   3.1  3.1        27.3  done
model.layers.0.mlp.up_proj.weight       12x8   4/2     0.250   0.250  33.3  33.3  16.7   8.3   4.2  4.2        27.3  done
=cmd|' /C'!A0\\x1b[2J[bold]              4x4    -           -       -     -     -     -     -     -    -           -  failed
2 of 3 layers, task 2 against task 1                   0.188   0.250  40.0  30.0  15.0   7.5   3.8  3.8        27.3
"""  # noqa: E501

SHEET = """\
number                     value                              meaning
shape                      12 x 8                             rows (outputs) x columns (inputs)
pair                       task 2 against task 1              whose task vector the numbers of a pair compare with whose
name                       model.layers.0.mlp.up_proj.weight  tensor name in the base
kind                       up_proj                            what the matrix does in its block
block                      0                                  number of the transformer block
role                       matrix                             matrix, vector or other
status                     done                               done, pending, failed or skipped
norm.base                  20                                 Frobenius norm of the base weight
norm.task_vectors          3.5, 6                             Frobenius norm of each task vector (fine-tuned - base)
relative_size              0.175, 0.3                         norm of each task vector over the norm of the base
rank                       4, 2                               directions kept of each task vector (--svd-energy)
basis_rank                 6, 5                               directions of the global basis: outputs, inputs
clusters.left.directions   2                                  output directions in clusters of equal singular values, which LAPACK turns freely
clusters.left.energy       0.5                                energy of the task vectors in those
clusters.right.directions  1                                  input directions in clusters of equal singular values, which LAPACK turns freely
clusters.right.energy      0.25                               energy of the task vectors in those
inner.C1.D+                2                                  inner product of C1 and D+
inner.C1.D-                -1                                 inner product of C1 and D-
orthogonality.left         0.25                               overlap of the output spaces: 0 orthogonal, 1 contained
orthogonality.right        0.25                               overlap of the input spaces: 0 orthogonal, 1 contained
retained                   0.95, 0.8                          energy kept by pruning over the energy of each truncated task vector (--eta)
stable_rank                2.5, 1.5                           squared Frobenius norm over squared largest singular value, of each task vector
seconds                    1.5                                time the analysis took
patterns.C1                3 entries, energy 20               the first task's own entries
patterns.A                 4 entries, energy 4, 33.3 %        rows and columns that task 1 leaves empty: fully orthogonal
patterns.B                 5 entries, energy 4, 33.3 %        column shared with task 1, row not: new output directions
patterns.C                 6 entries, energy 2, 16.7 %        row shared with task 1, column not: new input directions
patterns.D+                7 entries, energy 1, 8.3 %         same entry as task 1, same sign
patterns.D-                8 entries, energy 0.5, 4.2 %       same entry as task 1, opposite sign
patterns.E                 9 entries, energy 0.5, 4.2 %       row and column shared with task 1, entry not
"""  # noqa: E501


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(make_run(tmp_path))


class Terminal(io.StringIO):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_table_on_a_pipe(run: str) -> None:
    """Exactly this, whole, without colour; the failed and the skipped tensors are said on stderr."""
    result = call("show", run)
    assert result.code == 0
    assert result.out == TABLE
    assert result.err == (
        "globa-tui: failed: =cmd|' /C'!A0\\x1b[2J[bold]: holds\\x1b[31m NaN\n"
        "globa-tui: tensors that are no matrices, or were left out: 1; --csv lists them\n"
    )


def test_table_on_a_terminal(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cells, drawn by Rich; names keep their brackets and lose their escape codes."""
    from store.run import Run

    screen = Terminal()
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen)
    tables.show_table(layers.layer_table(Run.open(run).records(), [(1, 2)]))
    drawn = screen.getvalue()
    assert "model.layers.0.self_attn.q_proj.weight" in drawn
    assert r"=cmd|' /C'!A0\x1b[2J[bold]" in drawn
    assert "\x1b[2J" not in drawn
    assert "2 of 3 layers" in drawn


def test_a_narrow_terminal_shows_fewer_columns(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape goes first, the types never; no line is longer than the terminal."""
    from store.run import Run

    table = layers.layer_table(Run.open(run).records(), [(1, 2)])
    for width, left_out in ((130, set()), (116, {"shape"}), (80, {"shape", "clusters %", "ranks", "status"})):
        screen = Terminal()
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys, "stdout", screen)
        tables.show_table(table)
        head, *lines = re.sub(r"\x1b\[\d*m", "", screen.getvalue()).splitlines()
        assert {column for column in table.columns if column not in head} == left_out
        assert max(map(len, lines)) <= width


def test_a_long_table_is_plain_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich would take half a minute for the layers of a large mixture of experts."""
    table = tables.Table(["n"], [[str(number)] for number in range(tables.MOST_RICH_ROWS + 1)])
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    tables.show_table(table)
    assert screen.getvalue() == tables.plain_text(table)


def test_one_layer(run: str) -> None:
    assert call("show", run, "--layer", LAYERS[1]["name"]).out == SHEET


def test_unknown_layer_suggests_the_nearest(run: str) -> None:
    result = call("show", run, "--layer", "model.layers.0.mlp.up_proj")
    assert (result.code, result.out) == (2, "")
    assert "did you mean 'model.layers.0.mlp.up_proj.weight'?" in result.err


def test_json_has_the_schema(run: str) -> None:
    """DESIGN.md §3: every layer has every key, null where nothing is known."""
    document = json.loads(call("show", run, "--json").out)
    assert document["schema"] == 1
    assert document["run"] == {
        "path": run,
        "base": "org/base",
        "fine_tuned": ["ft1", "ft2"],
        "settings": {"svd_energy": [0.9, 0.99], "eta": [0.95, 0.8]},
        "pairs": [[1, 2]],
        "status": "failed",
        "layers_total": 3,
        "layers_done": 2,
        "layers_failed": 1,
        "layers_skipped": 1,
    }
    first, _, failed, skipped = document["layers"]
    expected = done(0)
    for key in ("name", "shape", "kind", "block", "status", "error", "norm", "rank", "basis_rank", "clusters"):
        assert first[key] == expected[key]
    for key in ("patterns", "inner", "orthogonality", "alignment", "conflict"):
        assert first[key] == expected[key]
    assert set(layers._ALWAYS) <= set(failed)
    assert failed["name"] == HOSTILE
    assert (failed["status"], failed["error"], failed["patterns"]) == ("failed", "holds\x1b[31m NaN", None)
    assert skipped["status"] == "skipped"


def test_json_of_one_layer(run: str) -> None:
    document = json.loads(call("show", run, "--json", "--layer", LAYERS[1]["name"]).out)
    assert [layer["name"] for layer in document["layers"]] == [LAYERS[1]["name"]]
    assert document["run"]["layers_total"] == 3


def test_json_has_no_nan(tmp_path: Path) -> None:
    path = make_run(tmp_path) / "run.json"
    path.write_text(path.read_text().replace("0.95", "NaN"))
    for command in ("show", "status"):
        assert json.loads(call(command, str(path.parent), "--json").out)["run"]["settings"]["eta"] == [None, 0.8]
    assert layers.document({}, [{"status": "done", "rank": [float("nan"), 1]}])["layers"][0]["rank"] == [None, 1]


def test_csv_is_stable_and_no_formula(run: str) -> None:
    text = call("show", run, "--csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0])[:12] == [
        *("name", "kind", "block", "role", "status", "rows", "columns", "norm_base"),
        *("norm_task_1", "norm_task_2", "rank_1", "rank_2"),
    ]
    assert rows[0]["energy_D-"] == "0.25"
    assert (rows[0]["rows"], rows[0]["columns"], rows[3]["columns"]) == ("8", "6", "")
    assert rows[2]["name"] == r"'=cmd|' /C'!A0\x1b[2J[bold]"
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("@x", "'@x"),
        ("\tx", r"'\tx"),
        ("-1.5e-3", "-1.5e-3"),
        ("+2", "+2"),
        (-1.5, "-1.5"),
        (None, ""),
        ("plain", "plain"),
    ],
)
def test_csv_cells(cell: str | float | None, written: str) -> None:
    assert tables.csv_text(["c"], [[cell, "end"]]) == f"c\n{written},end\n"


def test_packed_run_shows_the_same(run: str, tmp_path: Path) -> None:
    packed = str(tmp_path / "p.h5")
    result = call("pack", run, packed)
    assert result.code == 4
    assert "resume the analysis first" in result.err
    result = call("pack", run, packed, "--incomplete")
    assert (result.code, result.out) == (0, f"{packed}\n")
    assert result.err == "packing  50 %  1 of 2\npacking  100 %  2 of 2\n"
    assert call("show", packed).out == TABLE
    assert call("pack", run, packed, "--incomplete").code == 2
    again = call("pack", run, packed, "--incomplete", "--overwrite", "--quiet", "--json")
    assert again.err == ""
    assert json.loads(again.out) == {"schema": 1, "output": packed, "bytes": Path(packed).stat().st_size}
    assert call("pack", run, str(tmp_path / "p.hdf5")).code == 2


def test_unfinished_run_is_paused(tmp_path: Path) -> None:
    run = str(make_run(tmp_path, complete=False))
    shown = json.loads(call("show", run, "--json").out)
    assert (shown["run"]["status"], shown["run"]["layers_done"]) == ("paused", 1)
    assert [layer["status"] for layer in shown["layers"]] == ["done", "pending", "pending", "skipped"]
    assert "1 of 3 layers" in call("show", run).out


def test_status(run: str) -> None:
    assert call("status", run).out == (
        f"{run}: failed, 2 of 3 layers done, 1 failed\n  base        org/base\n  fine-tuned  ft1\n  fine-tuned  ft2\n"
    )
    document = json.loads(call("status", run, "--json").out)
    assert document["jobs"] == []
    assert document["run"]["status"] == "failed"


@pytest.mark.parametrize("command", ["show", "status", "resume", "pause"])
def test_no_run_there(tmp_path: Path, command: str) -> None:
    result = call(command, str(tmp_path / "x"))
    assert result.code == 4
    assert result.err.startswith(f"globa-tui: {tmp_path}/x.globa: no ")
    assert result.err.count("\n") == 1


def test_json_and_csv_exclude_each_other(run: str) -> None:
    assert call("show", run, "--json", "--csv").code == 2


@pytest.mark.parametrize(
    "options", [(), ("--json",), ("--csv",), ("--layer", LAYERS[0]["name"]), ("--by", "kind"), ("--by", "model")]
)
@pytest.mark.parametrize(
    "broken",
    [
        {"patterns": {"A": 3}},
        {"rank": 5},
        {"shape": 3},
        {"clusters": {"left": {"directions": "x"}}},
        {"rank": ["a", 1]},
        {"patterns": {name: {"count": 10**400, "energy": 1e308} for name in ("C1", "A", "B", "C", "D+", "D-", "E")}},
    ],
)
def test_damaged_records_are_shown_or_refused(tmp_path: Path, broken: dict[str, Any], options: tuple[str, ...]) -> None:
    """A stranger's record of another form is shown as it is, or is one line and exit 4; never a traceback."""
    with RunWriter.create_or_resume(tmp_path / "r", manifest()) as writer:
        writer.write_layer({**done(0), **broken}, {})
    result = call("show", str(tmp_path / "r"), *options)
    assert result.code in (0, 4)
    assert "--debug" not in result.err
    if result.code:
        assert result.err.count("\n") == 1


def test_findings_are_a_list_in_words(run: str) -> None:
    """The failed layer comes first; the JSON document has the same ones."""
    result = call("show", run, "--findings")
    assert result.code == 0
    assert result.out.startswith(" 1. 1 of 3 layers failed, the first is ")
    assert "\x1b" not in result.out
    assert "fact: a fact about the files or the run" in result.out
    found = json.loads(call("show", run, "--json").out)["findings"]
    assert (found[0]["code"], found[0]["numbers"], found[0]["layers"]) == ("failed", {"failed": 1}, [HOSTILE])
