"""Run the tests against mutants that mutmut made, several times as fast as `mutmut run` does.

In the folder `mutants`, after a `mutmut run` that made them and noted which tests reach which function:

    python -m pytest -p tests.typed -p tests.mutants tests/analysis

The tests are collected once; every mutant is a fork that runs those which reach its function: the one that noticed the
mutant before, the quickest case of every test, the second quickest, and so on. Results go where mutmut keeps its own,
so that `mutmut results` and `mutmut show` tell them; what is there already is not run again. MUTANTS names the modules
and their order: `prune,merge/ties`.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from mutmut.mutation.trampoline import set_mutant_under_test

# Whether there is a counterexample is asked, not for the smallest.
settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], database=None)
settings.load_profile("mutants")

NOTICED, SURVIVED, NO_TESTS, TIMEOUT = 1, 0, 33, -24
"""As mutmut writes them."""
LONGEST = 120
"""Seconds of processor time after which a mutant counts as one that never ends."""
ENOUGH = float(os.environ.get("ENOUGH", "10"))
"""Seconds of processor time after which no further tests are begun: what is left are more cases of the same."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run mutants in the place of the tests."""
    stats = json.loads(Path("mutmut-stats.json").read_text())
    reached, durations = stats["tests_by_mangled_function_name"], stats["duration_by_test"]
    items = {item.nodeid: item for item in session.items}
    if os.environ.get("BASELINE") != "0" and _run("", list(items.values()))[0] != SURVIVED:
        sys.exit("the tests fail without any mutant")
    gc.freeze()  # the forks need not copy it
    for module in _modules():
        results = Path("analysis", f"{module}.py.meta")
        meta: dict[str, Any] = json.loads(results.read_text())
        quick: dict[str, str] = {}
        for mutant in [name for name, code in meta["exit_code_by_key"].items() if code is None]:
            function = mutant.rpartition("__mutmut_")[0]
            names = _in_order(set(reached.get(function, ())) & items.keys(), durations)
            names.sort(key=lambda name: name != quick.get(function))
            begun = time.monotonic()
            code, killer = _run(mutant, [items[name] for name in names]) if names else (NO_TESTS, "")
            quick[function] = killer or quick.get(function, "")
            meta["exit_code_by_key"][mutant] = code
            meta["durations_by_key"][mutant] = time.monotonic() - begun
            results.write_text(json.dumps(meta, indent=4))
        codes = list(meta["exit_code_by_key"].values())
        print(f"\n{module}: {len(codes)} run, {sum(code in (SURVIVED, NO_TESTS) for code in codes)} not noticed")
    return True


def _in_order(names: set[str], durations: dict[str, float]) -> list[str]:
    """The quickest case of every test, then the second quickest, and so on."""
    seen: Counter[str] = Counter()
    places = {}
    for name in sorted(names, key=lambda name: durations[name]):
        test = name.partition("[")[0]
        places[name] = (seen[test], durations[name])
        seen[test] += 1
    return sorted(places, key=lambda name: places[name])


def _modules() -> list[str]:
    wanted = os.environ.get("MUTANTS")
    if wanted:
        return wanted.split(",")
    return sorted(
        str(path.relative_to("analysis")).removesuffix(".py.meta") for path in Path("analysis").rglob("*.meta")
    )


def _run(mutant: str, items: list[pytest.Item]) -> tuple[int, str]:
    """Result of a mutant, and the test that noticed it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST if mutant else 10 * LONGEST, resource.RLIM_INFINITY))
        set_mutant_under_test(mutant)
        begun = time.process_time()
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if item.session.testsfailed:
                os.write(writing, item.nodeid.encode())
                os._exit(NOTICED)
            if mutant and time.process_time() - begun > ENOUGH:
                break
        os._exit(SURVIVED)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        killer = file.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), killer
