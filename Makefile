# Two commands are all a fresh machine needs: `make train` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FUZZ_SECONDS ?= 120
RUN := outputs/quickstart/$(shell date +%Y-%m-%d_%H-%M-%S)

.PHONY: help train claims docs test test-slow fuzz bench lint format clean

help:  ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt -e '.[dev]'
	touch $@

train: $(VENV)/installed  ## Train a classifier on the embedded data, then guide it; ends in a table and a picture.
	$(BIN)/python train.py experiment=shapes_baseline hydra.run.dir=$(RUN)/baseline
	$(BIN)/python train.py experiment=shapes_guided loss.weight=1 model.checkpoint=$(RUN)/baseline/checkpoints/best.ckpt hydra.run.dir=$(RUN)/guided
	@echo "Look at $(RUN)/guided/gallery/before_after.png"

claims: $(VENV)/installed-dev  ## Measure what the paper claims on the embedded data (hours); writes docs/claims.md.
	OMP_NUM_THREADS=1 $(BIN)/python -m guidance.claims jobs=2

docs: $(VENV)/installed-dev  ## Write the documentation's site; site/index.html opens from disk.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "Look at site/index.html"

test: $(VENV)/installed-dev  ## Run the tests, all but the slow ones.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal

test-slow: $(VENV)/installed-dev  ## Run the tests that take minutes.
	$(BIN)/python -m pytest -m slow

fuzz: $(VENV)/installed-dev  ## Fuzz every parser, FUZZ_SECONDS=120 each.
	$(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m tests.fuzzing -max_total_time=$(FUZZ_SECONDS)

bench: $(VENV)/installed-dev  ## Compare speed with a stand-in for the official code; takes minutes.
	$(BIN)/python benchmarks/guided_step.py
	$(BIN)/python benchmarks/evaluation.py

lint: $(VENV)/installed-dev  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the virtual environment; data and outputs stay.
	rm -rf $(VENV)
