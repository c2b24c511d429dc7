# Two commands on a fresh machine with Python 3.11 and make:
#   make demo      installs, trains on the embedded data set, prints metrics and the report's path
#   make test      installs, runs the checks and the default test suite: under ten minutes on two cores
# and while you work:
#   make quick     the tests that start no other process, without verbs and pages: under a minute on two cores
#   make check     ruff, mypy, lint-imports
#   make slow      the tests that take longest: full-size networks, Triton's interpreter, memory of large problems
#   make ci        the checks beside one run of all tests, make slow's too: what .ci/run does
#   make thorough  all tests, with all cases of which the suite tries some (tests/thorough.py)
#   make fuzz      damaged files into every parser, for an hour (MINUTES=60); make kills: 200 kills of every verb (KILLS=200)
#   make docs      the documentation site, strictly, into site/
#   make dist      wheel and sdist into dist/, looked into, and the wheel used in an empty environment; uploads nothing
#   make coverage  the whole suite again, with a table of the lines that no test runs; pages in build/coverage
PYTHON ?= python3
WORKERS ?= 2
MINUTES ?= 60
KILLS ?= 200
PYTHONS ?=
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# pip would compile the packages on one processor.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
COMPILE := $(BIN)/python -m compileall -qq -j 0 .venv/lib || true

# Without the kept bytecode of the package each process that a test starts would compile all of it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick check slow ci all-tests thorough fuzz kills docs dist coverage clean

demo: .venv/installed
	$(BIN)/circlet train

test: .venv/test-installed check
	$(PYTEST) -m "not slow"

quick: .venv/test-installed
	$(PYTEST) -q -m "not subprocess and not slow" tests --ignore=tests/cli --ignore=tests/pages

check: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: .venv/test-installed
	$(PYTEST) -m slow

ci: .venv/test-installed
	$(MAKE) --jobs=2 check all-tests

all-tests: .venv/test-installed
	$(PYTEST)

thorough: .venv/test-installed
	CIRCLET_THOROUGH=1 $(PYTEST)

# Stops at the first example that fails, which hypothesis has made small by then.
fuzz: .venv/test-installed
	timeout --foreground $(MINUTES)m sh -c 'while CIRCLET_FUZZ_EXAMPLES=2000 $(PYTEST) -q tests/fuzz/test_fuzz.py; do :; done'; \
	  test $$? = 124

kills: .venv/test-installed
	$(BIN)/python -m tests.fuzz.kills $(KILLS)

# NO_MKDOCS_2_WARNING: the theme's note about a version of mkdocs that is not there yet.
docs: .venv/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# PYTHONS="python3.11 python3.12": with which; by default those that pyproject.toml declares, as far as they are here.
dist: .venv/test-installed
	$(BIN)/python -m release.dist --python $(PYTHONS)

coverage: .venv/test-installed
	$(PYTEST) -q --cov --cov-report=term --cov-report=html

clean:
	rm -rf .venv build dist site

# constraints.txt pins torch to the version whose CPU build is enough; pip's own download goes on where it was cut off.
.venv/made:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python {sys.version.split()[0]} found, 3.11 expected"'
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed: .venv/made pyproject.toml constraints.txt
	$(INSTALL) --editable .
	$(COMPILE)
	touch $@

.venv/test-installed: .venv/made pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	$(COMPILE)
	touch .venv/installed $@

.venv/docs-installed: .venv/installed
	$(INSTALL) --editable '.[docs]'
	$(COMPILE)
	touch $@
