PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: demo test lint type bench clean

demo: $(STAMP)  ## hyperfit the embedded models, offline, and write a report of each
	$(BIN)/python -m text.run --out runs/text/demo --overwrite
	$(BIN)/python -m image.run --out runs/image/demo --overwrite

test: $(DEV_STAMP)  ## the whole test suite with coverage
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

lint: $(DEV_STAMP)  ## format check and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(DEV_STAMP)  ## static types
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(STAMP)  ## speed and memory, as ratios against a peer in the same run
	$(BIN)/python -m benchmarks.training_speed
	$(BIN)/python -m benchmarks.generation_speed
	$(BIN)/python -m benchmarks.measure_speed

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(DEV_STAMP): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@ $(STAMP)
