# The front door. `make demo` and `make test` each work alone on a machine that has python3.11, git and make.

PYTHON ?= $(firstword $(wildcard /usr/bin/python3.11) python3.11)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Byte-code caching halves the start-up time of every command and of pytest; some shells switch it off.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test fuzz setup lint format bench chaos docs screenshots clean
.DEFAULT_GOAL := help

help:            ## this list
	@sed -n 's/^\([a-z]*\): .*## */  make \1\t/p' $(MAKEFILE_LIST)

demo: setup      ## sign, upload, verify and run a pipeline, then watch four attacks be refused
	@$(BIN)/pipeseal demo

test: setup      ## every test, in parallel, with the linters
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

fuzz: setup      ## mutate what readers are given, for five minutes (ARGS="--seconds 3600 job seal" for longer, or for some)
	$(BIN)/python -m tests.fuzz $(ARGS)

setup: $(READY)  ## create .venv with the command in .venv/bin/pipeseal

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Pipeseal needs Python 3.11 or later; say which with: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3.11-venv)"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

lint: setup      ## ruff, mypy --strict and the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup    ## apply ruff's formatting and fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup     ## benchmarks beside their peers, as ratios (ARGS="upload sign" picks some)
	$(BIN)/python -m benchmarks $(ARGS)

SEEDS ?= 50
CHAOS := $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

chaos: setup     ## every fault we know, then 50 builds with kills at random (SEEDS=5: fewer, SEED=17: that one alone)
	$(if $(SEED),,PIPESEAL_FAULTS=all $(BIN)/python -m pytest -q tests/faults)
	$(BIN)/python -m tests.faults.chaos --database sqlite $(CHAOS)
	$(BIN)/python -m tests.faults.chaos --database postgresql $(CHAOS)

docs: setup      ## regenerate the generated pages, and build the site into build/site
	$(BIN)/python docs/generate.py
	$(BIN)/python -m docs.build_site

screenshots: setup ## pictures of every page into docs/screenshots
	PIPESEAL_SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest -q tests/web/test_everywhere.py

clean:           ## remove everything that setup and the tests made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
