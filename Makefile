# make up: everything runs.  make test: what matters most.  make test-all: all that needs no root and no server.
# make test-lab: the real parts, as root.  make lint, make lock, make bench, make lab, make release: see CLAUDE.md.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
UV := $(BIN)/uv
# At a terminal uv shows what it downloads and how much is left; elsewhere it says nothing.
QUIET := $(shell test -t 2 || echo --quiet)
UV_INSTALL := VIRTUAL_ENV=.venv $(UV) pip install $(QUIET) --compile-bytecode
UV_COMPILE := $(CURDIR)/$(UV) pip compile --quiet pyproject.toml
UV_LOCKED := --universal --generate-hashes --python-version 3.11 -o

define COMPILE_LOCKS
$(UV_COMPILE) --group build $(UV_LOCKED) requirements.lock >/dev/null
$(UV_COMPILE) --group build --group dev --extra entsoe --extra celery --extra k8s -c requirements.lock $(UV_LOCKED) requirements-dev.lock >/dev/null
endef

SCRIPTS = .ci/run $(shell git ls-files '*.sh')
DOCKERFILES = $(shell git ls-files '*Dockerfile')
YAMLS = $(shell git ls-files '*.yaml' '*.yml')

.PHONY: install up test test-long test-all test-lab coverage lint lock lock-is-current audit sbom bench screenshots lab release upgrade-rehearsal
.DEFAULT_GOAL := up

$(UV):
	@echo "installing into .venv/, which takes a minute or two …"
	$(PYTHON) -c 'import sys; sys.exit("tsobs needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.installed: $(UV) requirements.lock pyproject.toml
	@$(UV_INSTALL) --require-hashes -r requirements.lock
	$(UV_INSTALL) --no-build-isolation --no-deps -e .
	touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.lock
	@echo "installing what the tests need …"
	$(UV_INSTALL) --require-hashes -r requirements-dev.lock
	touch $@

install: .venv/.installed

# Ctrl-C reaches tsobs itself, once: it ends its parts, and make waits for it.
up: .venv/.installed
	@exec $(BIN)/tsobs up

# More processes than cores, since tests wait as much as they compute. COVERAGE=1 records what they reach, for
# `make coverage`.
WORKERS ?= 4
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(if $(COVERAGE),--cov --cov-append --cov-report=)

.PHONY: test-programs
test-programs:
	@for program in git socat jq curl; do
	command -v "$$program" >/dev/null || { echo "the tests call $$program, which is not installed" >&2; exit 1; }
	done

test: test-programs .venv/.installed-dev
	$(PYTEST) -m "not lab and not long" tests
	@echo "Left out: the long tests (make test-all) and those that need root and servers (make test-lab)."

test-long: test-programs .venv/.installed-dev
	$(PYTEST) -m "long and not lab" tests

test-all: test test-long

coverage: .venv/.installed-dev
	$(BIN)/coverage xml -q -o coverage.xml
	$(BIN)/coverage report --sort=cover

# The servers are built before pytest starts its clocks: on a new machine that takes minutes. Each process has
# servers and a tailnet of its own.
test-lab: WORKERS := 2
test-lab: .venv/.installed-dev
	$(BIN)/python -m tests.support.lab.build
	$(PYTEST) -m lab tests

lint: .venv/.installed-dev lock-is-current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck -x $(SCRIPTS)
	$(BIN)/shfmt -d -i 2 -ci $(SCRIPTS)
	$(if $(DOCKERFILES),$(BIN)/hadolint $(DOCKERFILES))
	$(BIN)/yamllint --strict $(YAMLS)

lock: $(UV)
	$(COMPILE_LOCKS)

# Compiled again beside the old locks, whose versions uv keeps: a difference means pyproject.toml has moved on.
lock-is-current: $(UV)
	@beside=$$(mktemp -d)
	trap 'rm -rf "$$beside"' EXIT
	cp pyproject.toml requirements.lock requirements-dev.lock "$$beside"
	cd "$$beside"
	$(COMPILE_LOCKS)
	cd "$(CURDIR)"
	for lock in requirements.lock requirements-dev.lock; do
	diff -u <(grep -v '^#' $$lock) <(grep -v '^#' "$$beside/$$lock") ||
	{ echo "$$lock is not what pyproject.toml asks for: make lock" >&2; exit 1; }
	done

# Asks PyPI's vulnerability service. Strict: a package that it does not know was not audited, and that is no success.
# ADVISORIES=<a checkout of PyPA's advisory database>: without asking anybody, see tests/support/advisories.py.
audit: .venv/.installed-dev
	$(if $(ADVISORIES),$(BIN)/python -m tests.support.advisories $(ADVISORIES) requirements.lock,
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock)

# CycloneDX, from the lock with its hashes, the same for the same lock, and held against CycloneDX's own schema. The
# licences are checked by tests/unit/project/test_licences.py.
SBOM := $(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --spec-version 1.6 \
  --output-reproducible --validate --of JSON -o

sbom: .venv/.installed-dev
	$(SBOM) sbom.json

bench: .venv/.installed-dev
	$(BIN)/python -m bench

# Pictures of the running demo for the documentation, as root for Chromium's sake; takes some minutes.
screenshots: .venv/.installed-dev
	$(BIN)/python -m tests.support.lab.screenshots

lab: .venv/.installed-dev
	@$(BIN)/python -m tests.support.lab.build
	@exec $(BIN)/python -m tests.support.lab up

# VERSION=1.2.3: writes the version, builds wheel and SBOM into dist/, commits and tags. Pushes nothing.
release: .venv/.installed-dev
	@[[ "$(VERSION)" =~ ^[0-9]+\.[0-9]+\.[0-9]+$$ ]] || { echo "release: VERSION=$(VERSION): expected 1.2.3" >&2; exit 1; }
	[[ -z "$$(git status --porcelain)" ]] || { echo "release: commit first" >&2; exit 1; }
	grep -q '^## \[$(VERSION)\] - ' CHANGELOG.md ||
	{ echo "release: CHANGELOG.md has no section '## [$(VERSION)] - <date>'" >&2; exit 1; }
	! git rev-parse -q --verify 'refs/tags/v$(VERSION)' >/dev/null || { echo "release: v$(VERSION) exists" >&2; exit 1; }
	sed -i 's/^version = ".*"/version = "$(VERSION)"/' pyproject.toml
	sed -i 's/tag: "[0-9.]*"/tag: "$(VERSION)"/' deploy/dagster-values.yaml
	rm -rf dist
	$(BIN)/python -m hatchling build -t wheel -d dist
	$(SBOM) 'dist/tsobs-$(VERSION).cdx.json'
	git commit -q --allow-empty -m 'Release $(VERSION)' pyproject.toml deploy/dagster-values.yaml
	git tag -a 'v$(VERSION)' -m 'tsobs $(VERSION)'
	echo "tagged v$(VERSION); dist/ has the wheel and the SBOM. To publish: git push --follow-tags"

# The newest Dagster whose whole family can be had, in an environment of its own: what breaks? .rehearsal/ is left
# for a look; the versions to put into pyproject.toml are printed at the end.
REHEARSAL := .rehearsal/bin
upgrade-rehearsal: $(UV)
	rm -rf .rehearsal
	$(UV) venv --quiet --python $(BIN)/python .rehearsal
	sed '/"dagster/s/,<[0-9.]*"/"/' pyproject.toml > .rehearsal/pyproject.toml
	$(UV) pip compile --quiet .rehearsal/pyproject.toml --group .rehearsal/pyproject.toml:build \
	  --group .rehearsal/pyproject.toml:dev --extra celery --extra k8s \
	  -c <(sed -n '/^[a-z].*==/s/ \\$$//p' requirements-dev.lock | grep -v '^dagster') -o .rehearsal/rehearsal.lock >/dev/null
	VIRTUAL_ENV=.rehearsal $(UV) pip install --quiet -r .rehearsal/rehearsal.lock
	VIRTUAL_ENV=.rehearsal $(UV) pip install --quiet --no-build-isolation --no-deps -e .
	status=0
	$(REHEARSAL)/python -m pytest -q -m "not lab" tests/integration/dagster_patches tests/integration/processes \
	  tests/integration/operations tests/unit/project/test_definitions.py tests/e2e/test_up.py tests/e2e/test_upgrade.py \
	  tests/e2e/test_dagster_as_it_comes.py || status=$$?
	grep '^dagster' .rehearsal/rehearsal.lock
	exit $$status
