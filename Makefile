# `make demo` and `make test` set everything up by themselves; they need Python >= 3.11, git and make.
PYTHON ?= python3
VENV ?= .venv
# Installed before everything else. A plain "torch" may be another build than the one you want: choose it here,
# e.g. make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
PYTEST_ARGS ?= -n auto

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

.PHONY: help demo demo-train test check lint format bench soak audit clean

help:
	@echo "make demo        analyse the demo family, merge it twice, evaluate, open the terminal interface"
	@echo "make test        run the tests"
	@echo "make soak        kill, disturb and mislead the program for ten minutes; renew docs/reliability.md"
	@echo "make audit       ask pypi.org for known vulnerabilities of what is installed"
	@echo "make check       format, lint, types, imports and tests: what CI runs"
	@echo "make demo-train  train the demo family again (about half an hour on two cores)"
	@echo "make bench       measure speed and memory as ratios (BENCH_ARGS=--full for the large ones)"
	@echo "make format      format the code"

$(RUNTIME): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "globa-tui needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=python3.12, say." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
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

test: $(DEV)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

NOTES ?= build/trust-notes.jsonl
soak: $(DEV)
	@mkdir -p $(dir $(NOTES)) && rm -f $(NOTES)
	GLOBA_SOAK=1 GLOBA_TRUST_NOTES=$(abspath $(NOTES)) $(BIN)/python -m pytest tests/trust -n 2 --dist loadgroup
	$(BIN)/python -m tests.trust.table $(NOTES)

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/lint-imports

audit: $(DEV)
	.ci/audit $(BIN)

check: lint test

bench: $(RUNTIME)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo/out .pytest_cache .mypy_cache .ruff_cache .hypothesis
