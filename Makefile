# Verbs of the project. `make demo` and `make test` need Python 3.10 or newer, and nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test test-slow test-faults conformance bench check format docs publish clean

help:  ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## install the project and its tools into .venv

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

demo: setup  ## train the three arms on drawn faces, print their table, write the pictures
	$(BIN)/fmpn demo

test: setup  ## the default tests
	$(BIN)/python -m pytest

test-slow: setup  ## the tests that take long
	$(BIN)/python -m pytest -m slow

test-faults: setup  ## kill, fill and damage runs, on one and two processes, and see that they go on
	$(BIN)/python -m pytest -m faults tests/faults

conformance: setup  ## timm's own model tests, from its source distribution, over our models
	$(BIN)/python tests/conformance/run.py -q

bench: setup  ## what is fast: inference, data path, augmentation, convolutions, detection, growth on one core, results in benchmarks/
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.inference --batches 1 --no-compile \
		--model fmpn_lite_inception_v3 --json benchmarks/inference-not-compiled.json
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.data_path --pictures 64
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.augment
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.depthwise
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.detection
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.growth

check: setup  ## lint
	$(BIN)/ruff check .

format: setup  ## mend what the linter can mend
	$(BIN)/ruff check --fix .

docs: setup  ## write docs/cli.md from the program itself
	$(BIN)/python docs/generate.py

publish: setup  ## push every trained model of hub/ to the Hugging Face Hub (log in first: hf auth login)
	$(BIN)/python hub/publish.py --all

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache build *.egg-info
