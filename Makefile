# `make demo` and `make test` set everything up by themselves; they need Python >= 3.11, git and make.
PYTHON ?= python3
VENV ?= .venv
# Installed before everything else. A plain "torch" may be another build than the one you want: choose it here,
# e.g. make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
# A worker more than processors: tests of the interface and of processes wait for about half of their time.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(1 + (os.cpu_count() or 1))')
PYTEST_ARGS ?= -n $(WORKERS)

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

# `make check` asks pypi.org for known vulnerabilities where it can be reached: that names every package. AUDIT= leaves it out.
AUDIT ?= 1
# LOCK=1 installs the files of .ci/lock.txt first, hashes checked, where it is for this Python and machine: what CI does.
LOCK ?=

.PHONY: help demo demo-train demo-sweep families study test check lint format bench bench-gpu soak fuzz coverage mutants lock audit clean

help:
	@echo "make demo        analyse the demo family, merge it twice, evaluate, open the terminal interface"
	@echo "make test        run the tests"
	@echo "make soak        kill, disturb and mislead the program for ten minutes; renew docs/reliability.md"
	@echo "make fuzz        look for bytes that our readers do not foresee, a minute for each kind of file (Linux)"
	@echo "make coverage    run the tests of analysis and store and print which lines and branches of them they miss"
	@echo "make mutants     change analysis line by line and see whether its tests notice; takes hours (MUTANTS=prune,merge/ties)"
	@echo "make lock        renew .ci/lock.txt, the files with hashes that CI installs"
	@echo "make audit       ask pypi.org for known vulnerabilities of what is installed"
	@echo "make check       format, lint, types, imports and tests, and the audit (AUDIT= leaves it out)"
	@echo "make demo-train  train the demo family again (about half an hour on two cores)"
	@echo "make demo-sweep  tune a merge of the demo family and test it on data apart; renew docs/sweep-demo.md"
	@echo "make families    train six more fine-tunes of the demo base into build/ (about a quarter of an hour)"
	@echo "make study       judge the papers' claims and our suggestions on them; renew docs/claims.md and calibration.md"
	@echo "make bench       measure speed and memory as ratios (BENCH_ARGS=--full for the large ones)"
	@echo "make bench-gpu   check what a GPU computes, and measure it against the processor (docs/gpu.md)"
	@echo "make format      format the code"

$(RUNTIME): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "globa-tui needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=python3.12, say." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(LOCK),.ci/install $(BIN))
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV): $(RUNTIME)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(RUNTIME)
	$(BIN)/python -m demo.run

demo-train: $(RUNTIME)
	$(BIN)/python -m demo.train
	$(BIN)/python -m demo.table

demo-sweep: $(DEV)
	$(BIN)/python -m demo.sweep

families: $(RUNTIME)
	$(BIN)/python -m demo.families

study: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m demo.study

test: $(DEV)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

NOTES ?= build/trust-notes.jsonl
soak: $(DEV)
	@mkdir -p $(dir $(NOTES)) && rm -f $(NOTES)
	GLOBA_SOAK=1 GLOBA_TRUST_NOTES=$(abspath $(NOTES)) $(BIN)/python -m pytest tests/trust -n 2 --dist loadgroup
	$(BIN)/python -m tests.trust.table $(NOTES)

# The extras of `fuzz` and `mutants` are large or for Linux alone, and nothing else needs them.
FUZZ_ARGS ?=
fuzz: $(DEV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.trust.fuzz $(FUZZ_ARGS)

# The tests that are about analysis and store; those of jobs and commands that run the same lines again are left out,
# and those that do nothing but kill, for a process that is killed leaves no figures.
COVERED ?= tests/analysis tests/store tests/inputs tests/jobs/test_merge_resume.py tests/jobs/test_card.py \
	--deselect tests/store/test_run_kill.py --deselect tests/analysis/test_reproducibility.py --deselect tests/inputs/test_matrix.py \
	--deselect tests/jobs/test_merge_resume.py::test_kills_at_any_moment
coverage: $(DEV)
	@rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest $(PYTEST_ARGS) $(COVERED)
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under 95

# Modules of analysis/, such as prune,merge/ties; all when empty. What has a result already is not run again.
MUTANTS ?=
mutants: $(DEV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[mutants]'
	OMP_NUM_THREADS=1 nice -n 19 $(BIN)/python -m mutmut run --max-children 1 "analysis.core*"
	cd mutants && OMP_NUM_THREADS=1 MUTANTS="$(MUTANTS)" nice -n 19 $(abspath $(BIN))/python -m pytest -q -s --tb=no \
		-o addopts=--strict-markers -p no:jaxtyping -p tests.typed -p tests.mutants -p no:randomly -p no:cacheprovider \
		--deselect tests/analysis/test_reproducibility.py tests/analysis
	$(BIN)/python -m mutmut results

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/lint-imports

lock: $(DEV)
	$(BIN)/python .ci/lock "$(TORCH)"

audit: $(DEV)
	.ci/audit $(BIN)

check: lint test $(if $(AUDIT),audit)

bench: $(RUNTIME)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-gpu: $(RUNTIME)
	$(BIN)/python -m benchmarks.gpu $(BENCH_ARGS)

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo/out .pytest_cache .mypy_cache .ruff_cache .hypothesis
