# make up: everything runs.  make test: no root and no server needed.  make test-lab: the real parts.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
UV := $(BIN)/uv
SCRIPTS := sidecar/*.sh .ci/run $(shell git ls-files '*.sh' | grep -v '^sidecar/')

.PHONY: install up test test-lab lint lock bench lab
.DEFAULT_GOAL := up

$(UV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tsobs needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.installed: $(UV) requirements.lock pyproject.toml
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-build-isolation --no-deps -e .
	touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.lock
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --compile-bytecode --require-hashes -r requirements-dev.lock
	touch $@

install: .venv/.installed

# Ctrl-C reaches tsobs itself: it ends its parts, and make waits for it.
up: .venv/.installed
	@exec $(BIN)/tsobs up

test: .venv/.installed-dev
	$(BIN)/python -m pytest -m "not lab" tests

test-lab: .venv/.installed-dev
	$(BIN)/python -m pytest -m lab tests/lab

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck $(SCRIPTS)
	$(BIN)/shfmt -d -i 2 -ci $(SCRIPTS)
	$(BIN)/hadolint sidecar/Dockerfile
	$(BIN)/yamllint --strict .

lock: $(UV)
	$(UV) pip compile pyproject.toml --group build --universal --generate-hashes --python-version 3.11 -q -o requirements.lock
	$(UV) pip compile pyproject.toml --group build --group dev -c requirements.lock --universal --generate-hashes --python-version 3.11 -q -o requirements-dev.lock

bench: .venv/.installed-dev
	$(BIN)/python -m bench

lab: .venv/.installed-dev
	$(BIN)/python -m tests.lab up
