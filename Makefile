# The commands of this project; `make help` lists them. Everything they need is installed into
# .venv from hashed locks. Needs make and Python 3.11 or later with venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Mounting needs root. An ordinary user gets it inside a user namespace, where the kernel allows one.
NAMESPACE := $(shell [ "$$(id -u)" = 0 ] || ! unshare --user --map-root-user --mount true 2>/dev/null || echo unshare --user --map-root-user --mount --)
SANITY_VERSION := v5.6.0

.DEFAULT_GOAL := help
.PHONY: help setup demo test sanity bench lint types format generate lock images sbom clean

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "This needs Python 3.11 or later; name one with PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# Where Python is told to write no bytecode, each start would compile everything anew.
	$(BIN)/python -m compileall -q csi_spec secrets_store provider_kms devkit
	@touch $@

setup: $(STAMP) ## install everything into .venv

demo: $(STAMP) ## show the whole thing live, without a cluster; KEEP=1 leaves it up
	@$(NAMESPACE) $(BIN)/python -m devkit.demo $(if $(KEEP),--keep)

test: $(STAMP) ## run all tests; TESTS='…' passes arguments to pytest
	@# A folder of its own: in a user namespace everybody is called root, but not everything is theirs.
	@folder=$$(mktemp -d /tmp/pt.XXXXXX); trap 'rm -rf "$$folder"' EXIT; \
		PYTEST_DEBUG_TEMPROOT=$$folder $(NAMESPACE) $(BIN)/python -m pytest $(TESTS)

sanity: $(STAMP) ## run csi-sanity against the real driver; needs Go
	@$(NAMESPACE) env SANITY_VERSION=$(SANITY_VERSION) $(BIN)/python -m tests.sanity.run

bench: $(STAMP) ## measure; PEER='command line' measures another driver beside ours
	@$(NAMESPACE) $(BIN)/python -m tests.bench.run

lint: $(STAMP) ## check style, imports between rooms, spelling and generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m csi_spec.generate --check

types: $(STAMP) ## check types
	$(BIN)/mypy

format: $(STAMP) ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(STAMP) ## make the wire modules from the .proto files
	$(BIN)/python -m csi_spec.generate

images: $(STAMP) ## build both images, run each once; BASE= names another base image
	@PYTHON=$(BIN)/python deploy/images/build.sh

sbom: images ## write what is inside the images to dist/*.sbom.json, which building them does

lock: ## renew the locks; needs uv
	for part in driver provider; do \
		uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-annotate --no-header --upgrade --extra $$part pyproject.toml -o requirements/$$part.lock; done
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --upgrade --extra dev --extra driver --extra provider --extra ops \
		pyproject.toml -o requirements/dev.lock

clean: ## remove what the commands have made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
