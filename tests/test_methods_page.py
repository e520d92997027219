"""docs/methods.md tells the truth about the registry of merge methods."""

from __future__ import annotations

import inspect
import json
import re

import pytest

from analysis.merge import METHODS
from demo.methods_table import MEASURED, PAGE, PARAMETERS, RESULTS, measured_table, parameter_tables
from tests.cli.records import call

TEXT = PAGE.read_text(encoding="utf-8")


def between(markers: tuple[str, str]) -> str:
    return TEXT.split(markers[0])[1].split(markers[1])[0].strip()


def test_the_tables_of_parameters_are_those_of_the_registry():
    assert between(PARAMETERS) == parameter_tables(), "run: python -m demo.methods_table --parameters"


def test_the_measured_table_is_what_was_measured():
    assert between(MEASURED) == measured_table(json.loads(RESULTS.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_formula_and_a_place_among_the_tensors(name):
    headings = re.findall(r"^### ([a-z_, ]+)$", TEXT, flags=re.MULTILINE)
    assert name in {word.strip() for heading in headings for word in heading.split(",")}
    header = next(line for line in TEXT.splitlines() if line.startswith("| |"))
    assert f"`{name}`" in header


@pytest.mark.parametrize("name", METHODS)
def test_the_defaults_of_the_function_are_those_of_the_table(name):
    """A default stands twice in the code, in the signature and in the registry: they are one."""
    method = METHODS[name]
    if name == "alignmerge_b":
        return
    signature = inspect.signature(method.function).parameters
    for parameter in method.parameters:
        default = signature[parameter.name].default
        wanted = parameter.default
        assert (wanted == (default,) or wanted == default) or (wanted, default) == ((), ()), parameter.name
    assert [one for one, p in signature.items() if p.kind is p.KEYWORD_ONLY] == [p.name for p in method.parameters]


def test_every_known_parameter_of_alignmerge_b_is_in_its_table_or_in_that_of_its_base():
    for base in METHODS:
        if base != "alignmerge_b":
            known = METHODS["alignmerge_b"].known({"base_method": base})
            own = {one.name for one in METHODS["alignmerge_b"].parameters}
            assert set(known) == own | {one.name for one in METHODS[base].parameters}


def test_the_help_names_every_method():
    words = " ".join(call("merge", "--help").out.split())
    assert all(name.replace("_", "-") in words for name in ("globa", *METHODS))
