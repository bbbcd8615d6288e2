# Every target sets up what it needs: Python 3.11 or newer, make and git are enough.
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint check bench soak clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP)  ## make .venv and install the pinned tools into it

$(STAMP): pyproject.toml constraints.txt scripts/setup
	scripts/setup $(VENV)
	@touch $@

demo: $(STAMP)  ## see it work; CRASH=1 kills it in the middle, MODEL=provider:name thinks, ISOLATION=level runs the code
	$(BIN)/python examples/demo/main.py

test: $(STAMP)  ## all tests
	$(BIN)/python scripts/all_tests.py

lint: $(STAMP)  ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports

check: lint  ## lint, and the tests of the architecture
	$(BIN)/pytest tests/architecture

bench: $(STAMP)  ## measure; results go to benchmarks/RESULTS.md; ONLY=services measures these and puts them in as a section
	$(BIN)/python -m benchmarks.peers.install .venv-bench
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY) --add)

soak: $(STAMP)  ## the long rounds in full
	SHOAL_LONG=full $(BIN)/pytest -m long -s -o faulthandler_timeout=1800

clean:  ## remove what was built
	rm -rf $(VENV) .venv-bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
