# Two commands on a fresh machine with Python 3.11+ and make:
#   make demo   installs, trains on the embedded data set, prints metrics and the report's path
#   make test   installs, runs the whole default test suite and the checks
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check slow clean

demo: .venv/installed
	$(BIN)/circlet train

test: .venv/test-installed check
	$(BIN)/python -m pytest

check: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: .venv/test-installed
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf .venv

# constraints.txt pins torch to the version whose CPU build is enough; pip's own download goes on where it was cut off.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python {sys.version.split()[0]} found, 3.11 or newer expected"'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable .
	touch $@

.venv/test-installed: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[test]'
	touch $@
