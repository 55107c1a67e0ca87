# make lab    a virtual environment, what the lab needs, and the lab in the browser
# make test   what the tests need on top of that, and every test
# make lint   format and lint

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.PHONY: lab test lint clean

lab: $(VENV)/.lab
	$(BIN)/python app.py

test: $(VENV)/.test
	@path="$$(tests/browser/find_chromium.sh)" && CHROMIUM_PATH="$$path" $(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Guppy Lab needs Python 3.10 to 3.13: name one, for example 'make PYTHON=python3.12 $(MAKECMDGOALS)'."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing: 'apt install python3-venv' brings it on Debian and Ubuntu."; exit 1; }

$(VENV)/.lab: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.test: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $(VENV)/.lab $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
