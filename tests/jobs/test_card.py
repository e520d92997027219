"""The model card: lineage and licences of the sources, and nothing of theirs that a reader would execute or believe."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from globa_tui.jobs.merge import run_merge
from globa_tui.recipe import Recipe
from tests.jobs.family import family, tensors, tuned
from tests.store.make import hub_cache, single


def card(folder: Path, *readmes: str | None) -> tuple[dict, str]:
    """Head and body of the card of a merge whose sources have these cards."""
    base, fine_tuned = family(folder)
    for path, text in zip((base, *fine_tuned), readmes, strict=False):
        if text is not None:
            (path / "README.md").write_text(text)
    recipe = Recipe(base=str(base), fine_tuned=tuple(map(str, fine_tuned)), method="linear")
    run_merge(recipe, folder / "out")
    _, head, body = (folder / "out" / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head), body


def licence(text: str) -> str:
    return f"---\nlicense: {text}\n---\n# A model\n"


def test_one_licence_of_all_sources_is_stated(tmp_path) -> None:
    head, body = card(tmp_path, *[licence("apache-2.0")] * 3)
    assert head["license"] == "apache-2.0"
    assert body.count("| `apache-2.0` |") == 3
    assert "| fine-tune 2 | `ft2` |" in body


@pytest.mark.parametrize("other", [licence("mit"), None, licence("other"), "no head", "---\nlicense: [a\n---\n"])
def test_licences_that_differ_are_left_to_people(tmp_path, other) -> None:
    head, body = card(tmp_path, licence("apache-2.0"), licence("apache-2.0"), other)
    assert "license" not in head
    assert body.count("| `apache-2.0` |") == 2
    assert "The licences of all sources apply" in body


@pytest.mark.parametrize(
    "text",
    [
        licence("'mit\n\nextra: yes'"),
        licence("!!python/object/apply:os.system ['touch owned']"),
        licence("'<script>alert(1)</script>'"),
        licence('other\nlicense_name: "x` | <b>| \\e[31m"'),
        "---\n" + "a: &a [1]\n" + "b: *a\n" * 10 + "---\n",
        "---\nlicense: " + "m" * 200_000 + "\n---\n",
        "\xff\xfe---\nlicense\n",
    ],
)
def test_a_card_from_strangers_stays_text(tmp_path, text) -> None:
    head, body = card(tmp_path, text, text, text)
    assert set(head) == {"library_name", "tags"}
    assert "\x1b" not in body
    rows = [line for line in body.splitlines() if line.startswith("| base")]
    assert len(rows) == 1
    outside = "".join(rows[0].replace("\\|", "").split("`")[::2])
    assert "<" not in outside
    assert outside.count("|") == 4


def test_a_model_of_the_hub_is_named_by_its_id(tmp_path) -> None:
    base = tensors()
    paths = []
    for number, name in enumerate(("base", "one", "two")):
        made = single(tmp_path / name, tuned(base, number) if number else base, {})
        files = {path.name: path.read_bytes() for path in made.iterdir()}
        paths.append(str(hub_cache(tmp_path / "cache" / name, f"org/{name}", files)))
    run_merge(Recipe(base=paths[0], fine_tuned=tuple(paths[1:]), method="linear"), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["base_model"] == ["org/base", "org/one", "org/two"]
    assert head["base_model_relation"] == "merge"
    assert "| base | `org/base` |" in text


def test_processor_and_template_files_come_along_and_code_does_not(tmp_path) -> None:
    base, fine_tuned = family(tmp_path)
    wanted = (
        *("generation_config.json", "preprocessor_config.json", "video_preprocessor_config.json"),
        *("processor_config.json", "chat_template.jinja", "merges.txt", "vocab.json", "tokenizer.model"),
    )
    for name in (*wanted, "modeling_evil.py", "optimizer.pt", "training_args.bin", "notes.txt"):
        (base / name).write_text("{}")
    run_merge(Recipe(base=str(base), fine_tuned=tuple(map(str, fine_tuned)), method="linear"), tmp_path / "out")
    made = {"model.safetensors", "config.json", "globa_recipe.yaml", "README.md"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == made | set(wanted)
