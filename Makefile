# Two commands do everything: `make run` and `make test`. Nothing here needs root.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MATRIX ?= quick
export ARMWHEELS_HOME ?= $(CURDIR)/var
export PYTHONDONTWRITEBYTECODE = 1

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# The lock files are made by:
#   uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
#     --no-annotate --group build pyproject.toml -o requirements.lock
# requirements-dev.lock adds what the tests need: the same command with `--group build --group dev -c requirements.lock`.
# deploy/requirements.lock has what the index server needs alone: `--group index -c requirements.lock`.
# A lock file newer than the stamp makes a fresh environment.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Armwheels needs Python 3.11 or newer")'
	@echo "setting up $(VENV) from requirements.lock"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed requirements-dev.lock
	@echo "adding the requirements of the tests from requirements-dev.lock"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.installed ## install Armwheels into .venv and fetch the tools into var
	$(BIN)/armwheels doctor --fix --matrix $(MATRIX)

# Exit code 11: a build is missing. What was published is served all the same.
run: setup ## build the matrix quick, publish it, serve it on 127.0.0.1:8080
	$(BIN)/armwheels nightly --matrix $(MATRIX) || [ $$? -eq 11 ]
	$(BIN)/armwheels-index serve

nightly: setup ## build what is new of MATRIX (default: quick) and publish it
	$(BIN)/armwheels nightly --matrix $(MATRIX)

# STORE=s3 starts a SeaweedFS server that keeps its objects in ARMWHEELS_HOME/seaweedfs.
serve: $(if $(filter s3,$(STORE)),$(VENV)/.tested,$(VENV)/.installed) ## serve the index on 127.0.0.1:8080; with STORE=s3 from SeaweedFS
	$(if $(filter s3,$(STORE)),$(BIN)/python -m scripts.serve_s3,$(BIN)/armwheels-index serve)

docs: $(VENV)/.installed ## write docs/reference from the code
	$(BIN)/python -m scripts.reference

check: $(VENV)/.tested ## lint, types, import rules and the fast tests: under 2 minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n 2 -m "not slow" -p no:cacheprovider

test: $(VENV)/.tested ## run the tests: also real servers, cross-compiles, emulated installs; under 15 minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not torch" -p no:cacheprovider

test-torch: $(VENV)/.tested ## run the two tests that compile sources of PyTorch: under 10 minutes
	$(BIN)/pytest -n 2 --dist loadfile -m torch -p no:cacheprovider

.PHONY: help setup run nightly serve docs check test test-torch
