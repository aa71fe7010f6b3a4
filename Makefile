# Axiom Flow. `make` lists what there is. Everything stays in this folder: the environment in .venv, the home in axiom-home.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt
DEMO ?= 1
# `make test ARGS="tests/rules -x"`
ARGS ?=
export AXIOM_HOME ?= axiom-home

.PHONY: help install dev peers run up demo test test-slow check fix docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*##/\t/' | expand -t 14

install: $(VENV)/.run  ## make .venv and install what running needs (quick when it is there)

dev: $(VENV)/.dev  ## the same, with what tests and checks need

run: install  ## install, and start everything: listener, engine, API, workbench (DEMO=0 starts empty)
	@exec env DEMO=$(DEMO) $(BIN)/axiom up

up: run  ## the same as run

demo: install  ## send the sample studies once more to the running listener
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(BIN)/python -m engine.demo "$$folder"; $(BIN)/axiom send "$$folder" --calling-ae SAMPLE

test: dev peers  ## run all tests, but the slow ones (ARGS="tests/rules -x" for some)
	@$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile $(ARGS)

test-slow: dev peers  ## chaos and soak runs
	@$(BIN)/python -m pytest -q -m slow $(ARGS)

check: dev  ## ruff, mypy, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/axiom docs --check

fix: dev  ## what ruff can mend by itself
	@$(BIN)/ruff check --fix .

docs: install  ## write docs/reference from the code
	@$(BIN)/axiom docs

peers:  ## install the peers that tests talk to, where apt and root are at hand (else their tests are skipped)
	@.ci/peers

clean:  ## remove .venv and caches; the home stays
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
	echo "Axiom Flow needs Python 3.11 or later; none was found on PATH. Install one, or say: make PYTHON=/path/to/python3.12" >&2; \
	exit 1; fi
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"{sys.executable} is Python {v[0]}.{v[1]}; Axiom Flow needs 3.11 or later: make PYTHON=/path/to/python3.12")'
	@echo "Making $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "This Python cannot make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing packages (some minutes at the first time) ..."
	@$(PIP) -e '.[workbench,notebooks]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing what tests and checks need ..."
	@$(PIP) -e '.[workbench,notebooks,dev]'
	@touch $@
