# `make run` and `make test` do all set-up themselves; Python 3.11 or newer is all they need.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-slow test-all lint docs setup clean

run: setup
	$(BIN)/python experiments/run.py --config=configs/soar_math.py

# Every feature once: a tiny run, its resume after a kill -9, sampling and training against references, the grader,
# configs.
test: setup
	$(BIN)/python -m pytest -q -m "not slow"

# What that leaves out: also every method's kills, several processes, buckets, studies, compilers.
test-slow: setup
	$(BIN)/python -m pytest -q -m slow

# All tests, each once.
test-all: test test-slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, in site/; a broken link is an error.
docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

setup: .venv/installed

.venv/installed: pyproject.toml requirements.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

clean:
	rm -rf .venv site
