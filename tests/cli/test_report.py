"""The report: whole, safe against names that are markup, and really drawn by a browser."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from globa_tui.recipe import Recipe
from globa_tui.report import content as contents
from globa_tui.report.content import content
from globa_tui.report.page import page
from store.run import Array, Run, RunWriter, write_result
from tests.cli.records import call
from tests.findings.evidence import layer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ATTACK = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\u202e|`x`"


def manifest(names: list[str]) -> dict[str, Any]:
    sources = [
        {"role": role, "source": role, "path": f"/nowhere/{role}", "files": []} for role in ("base", "ft1", "ft2")
    ]
    sources[1]["source"] = ATTACK
    settings = {"basis": "canonical", "anchor": 1, "svd_energy": [0.9, 0.99], "eta": [0.95, 0.8]}
    layers = [
        {"index": n, "name": name, "shape": [32, 64], "kind": "up_proj", "block": n, "role": "matrix", "dtype": "F32"}
        for n, name in enumerate(names)
    ]
    return {"sources": sources, "settings": settings, "layers": layers, "findings": []}


def arrays(seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    falling = np.sort(random.random((2, 100)).astype(np.float32) + 0.01, axis=1)[:, ::-1]
    found = {f"spectrum/{task + 1}": Array(falling[task].copy(), "weight", "σ", ("value",)) for task in range(2)}
    for side in ("left", "right"):
        found[f"principal_angles/{side}"] = Array(np.array([0.1, 0.2, 1.5]), "radian", "angles", ("pair",))
        found[f"alignment/{side}"] = Array(random.random(5), "none", "cosine", ("rank",))
    found["type_map"] = Array(random.integers(0, 8, (6, 9)).astype(np.uint8), "code", "types", ("left", "right"))
    return found


REPRESENTATION = {
    "schema": 1,
    "models": [{"role": name, "source": source, "same_tokens_as_base": True} for name, source in
               (("base", "base"), ("fine-tune 1", ATTACK), ("fine-tune 2", "ft2"))],
    "inputs": {"count": 3, "cut": 0}, "settings": {"max_tokens": 9}, "position": "last", "width": 4, "layers": [0, 1],
} | {
    where: {
        "distance": [[0, 2.0], [2.0, 0]], "relative": [[0, 0.25], [0.25, 0]], "standard_error": [[0, 0.1], [0.1, 0]],
        "from_base": {"distance": [1.0, 1.5], "relative": [0.1, 0.2]}, "hidden_sim": None, "mds": None,
        "undefined": "HiddenSim is undefined", "diameter": 2.0,
        "bounds": {"low": 1.0, "high": 1.2, "high_of_group": 1.0},
        "by_layer": [{"layer": n, "relative": [[0, 0.2], [0.2, 0]]} for n in (0, 1)],
    }
    for where in ("last", "mean")
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    names = ["model.layers.0.mlp.up_proj.weight", ATTACK, "model.layers.10.mlp.up_proj.weight", "pending"]
    with RunWriter.create_or_resume(tmp_path_factory.mktemp("runs") / "r", manifest(names)) as writer:
        for index, name in enumerate(names[:2]):
            sides = {"left": 0.2, "right": 0.4 + index}
            found = layer(name, block=index, norms=(1.0, 2.0 + index), relative_size=[0.1, 0.2 + index])
            found["orthogonality"] = sides
            writer.write_layer({**found, "index": index}, arrays(index))
        writer.write_record({"index": 2, "name": names[2], "status": "failed", "error": ATTACK})
    write_result(writer.path, REPRESENTATION, 3)
    return str(writer.path)


@pytest.fixture(scope="module")
def html(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    recipe = folder / "recipe.yaml"
    recipe.write_text(Recipe(base=ATTACK, fine_tuned=("ft1", "ft2"), method="linear").to_yaml(), encoding="utf-8")
    result = call("report", run, "-o", str(folder / "r.html"), "--recipe", str(recipe), "--quiet")
    assert (result.code, result.out, result.err) == (0, f"{folder / 'r.html'}\n", "")
    return folder / "r.html"


class Elements(HTMLParser):
    """Everything that a browser would find in the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_names_are_data_and_nothing_else(html: Path) -> None:
    """No element comes from a name, nothing refers to anything outside, and the policy forbids both."""
    text = html.read_text(encoding="utf-8")
    tags = [tag for tag, _ in Elements(text).found]
    assert tags.count("script") == 2
    assert not {"img", "link", "iframe", "object", "embed", "base", "form"} & set(tags)
    assert all("src" not in attributes and "href" not in attributes for _, attributes in Elements(text).found)
    assert re.findall(r"https?://[^\"']*", text) == ["http://www.w3.org/2000/svg"], "the name of SVG"
    assert "\u202e" not in text
    policy = next(a["content"] for t, a in Elements(text).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def browse(file: Path, *options: str) -> tuple[str, str]:
    """What the page is after its script ran, and what the browser complained of."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *options]
    command += [f"--user-data-dir={file.parent / 'profile'}", "--virtual-time-budget=2000"]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; CI has one")


@browser
def test_a_browser_draws_it_and_runs_no_name(html: Path) -> None:
    dom, complaints = browse(html, "--dump-dom")
    assert complaints == ""
    assert "<title>r.globa - globa-tui</title>" in dom, "nobody took the title"
    assert dom.count("<h2>") == 7, "findings, overlap, map, layers, one layer, hidden states, recipe"
    assert "<img" not in dom
    assert dom.count('class="cell') >= 2
    assert 'fill-opacity="0.060"' in dom
    assert "&lt;/script&gt;&lt;script&gt;document.title='taken'" in dom, "shown as it is"
    assert dom.count("<canvas") == 1
    assert "HiddenSim is undefined." in dom


@browser
def test_the_table_sorts_and_filters(html: Path) -> None:
    """Driven by a script of the test, which the page's policy would forbid."""
    drive = """<script>{
      const cells = () => [...document.querySelectorAll("#layers tbody tr")].map((row) => row.dataset.index).join();
      const head = (name) => [...document.querySelectorAll("#layers th button")].find((b) => b.textContent === name);
      const seen = [cells()];
      head("Size%").click(); seen.push(cells()); head("Size%").click(); seen.push(cells());
      head("layer").click(); seen.push(cells());
      const filter = document.querySelector("input");
      filter.value = "LAYERS 10"; filter.dispatchEvent(new Event("input"));
      seen.push(cells());
      filter.value = ""; filter.dispatchEvent(new Event("input"));
      document.querySelector("#layers tbody tr[data-index='1']").click();
      seen.push(document.querySelector("#layer h3").textContent.slice(0, 9));
      document.title = JSON.stringify(seen);
    }</script></body>"""
    text = re.sub(r"<meta http-equiv[^>]*>", "", html.read_text(encoding="utf-8")).replace("</body>", drive)
    other = html.with_name("driven.html")
    other.write_text(text, encoding="utf-8")
    found = re.search(r"<title>(.*?)</title>", browse(other, "--dump-dom")[0])
    assert found is not None
    seen = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">"))
    assert seen == ["0,1,2,3", "1,0,2,3", "0,1,2,3", "1,0,2,3", "2", "</script>"]


@browser
def test_it_prints(html: Path) -> None:
    paper = html.with_name("r.pdf")
    browse(html, f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF")


def test_a_script_that_is_not_the_pages_breaks_its_hash(run: str) -> None:
    first = page(content(Run.open(run)))
    policy = re.search(r"script-src &#x27;(sha256-[^&]*)", first)
    assert policy is not None
    script = first.rpartition("<script>")[2].partition("</script>")[0]
    import base64
    import hashlib

    assert policy[1] == "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def test_markdown_escapes_names(run: str) -> None:
    text = call("report", run, "--format", "md").out
    assert text.startswith("# r.globa\n")
    assert "<script>" not in text.replace(r"\<script\>", "")
    assert r"\|\`x\`" in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "taken" in line]
    assert rows
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows if "up_proj" not in row}) <= 3
    assert "## Hidden states" in text
    assert "## Findings" in text


def test_csv_and_json_are_those_of_show(run: str) -> None:
    assert call("report", run, "--format", "csv").out == call("show", run, "--csv").out
    assert call("report", run, "--format", "json").out == call("show", run, "--json").out
    assert len(list(csv.reader(io.StringIO(call("report", run, "--format", "csv").out)))) == 5


def test_a_large_run_has_fewer_pictures_and_says_so(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MOST_PICTURED", 1)
    said: list[str] = []
    found = content(Run.open(run), None, said.append)
    assert list(found["pictures"]) == ["1"], "the one that moved most"
    assert said == ["spectra and pictures of the 1 layers that moved most; 2 are too many for a page"]


def test_spectra_are_thinned_evenly_on_a_logarithmic_axis(run: str) -> None:
    spectrum = content(Run.open(run))["pictures"]["0"]["spectra"][0]
    assert (spectrum["at"][:3], spectrum["at"][-1]) == ([1, 2, 3], 100)
    assert len(spectrum["at"]) <= contents.MOST_POINTS
    wanted = arrays(0)["spectrum/1"].values[np.array(spectrum["at"]) - 1]
    np.testing.assert_allclose(spectrum["value"], wanted, rtol=1e-4)


def test_a_damaged_layer_costs_its_pictures_only(run: str, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "r.globa")
    broken = next((folder / "layers").glob("00000000-*"))
    broken.write_bytes(broken.read_bytes()[:200])
    result = call("report", str(folder), "-o", str(tmp_path / "r.html"))
    assert result.code == 0
    assert "damaged" in result.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--format", "pdf"), 2, "--format 'pdf' is none; choose html, md, csv or json"),
        (("-o", "{here}/there.html"), 2, "already there"),
        (("--recipe", "{here}/no.yaml"), 1, "no.yaml: No such file"),
        (("--recipe", "{here}/there.html"), 2, "there.html"),
    ],
)
def test_bad_options_are_usage(run: str, tmp_path: Path, options: tuple[str, ...], code: int, said: str) -> None:
    (tmp_path / "there.html").write_text("mine")
    result = call("report", run, *(option.format(here=tmp_path) for option in options))
    assert result.code == code
    assert said in result.err
    assert (tmp_path / "there.html").read_text() == "mine"


def test_pictures_for_a_paper(run: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = call("report", run, "--plots", str(tmp_path / "figures"))
    assert result.code == 0, result.err
    names = ["map-overlap.png", "types-by-block.png", "spectra.png", "hidden-states.png"]
    assert result.out.splitlines() == [str(tmp_path / "figures" / name) for name in names]
    for name in names:
        data = (tmp_path / "figures" / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 5000
    assert call("report", run, "--plots", str(tmp_path / "figures")).code == 2


def test_without_matplotlib_the_cure_is_said(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = call("report", run, "--plots", str(tmp_path / "figures"))
    assert (result.code, result.err) == (
        1,
        "globa-tui: pictures need matplotlib; install it with: pip install 'globa-tui[plots]'\n",
    )
