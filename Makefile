# On a fresh machine with python3 (3.11 or later) and make:  make demo   and   make test
# PYTHON chooses the interpreter, VENV the virtual environment:  make test PYTHON=python3.13 VENV=.venv313

PYTHON ?= python3
SOAK ?= 10
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := packages/spine-domains market-spine-basic

.DEFAULT_GOAL := help
.PHONY: help install demo demo-api demo-web test test-web quick soak check format lint types imports bench generate lock dist deploy-check \
	deploy-trial orchestrators-trial clean

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(VENV)/.installed ## create the virtual environment and install everything, pinned

demo: install ## generated sample files, a first run, a revised file, a second run, and what happened
	@PATH="$(abspath $(BIN)):$$PATH" sh scripts/demo.sh

demo-api: install ## the same over HTTP: a simulated FINRA whose clock is moved until it revises
	@PATH="$(abspath $(BIN)):$$PATH" sh scripts/demo_api.sh

demo-web: install ## a store with months of history in demo-web/, and the console on it
	rm -rf demo-web
	$(BIN)/python scripts/demo_web.py demo-web
	$(BIN)/market-spine web --db demo-web/market_spine.db

test: install ## all tests
	$(BIN)/python -m pytest -n auto

quick: install ## under a minute on two cores: the tests that need no server, start no process and repeat nothing
	$(BIN)/python -m pytest -n auto -m "not server and not process and not soak"

test-web: install ## the console in a real browser: Chromium and Tidy, which are installed on Debian as root
	$(BIN)/python -m pip install --quiet --require-hashes --requirement deploy/locks/browser.lock
	@command -v chromium >/dev/null && command -v tidy >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium tidy; }
	MARKET_SPINE_BROWSER=$$(command -v chromium) $(BIN)/python -m pytest -n auto -m browser market-spine-basic/tests/browser

soak: install ## faults, concurrency, recovery, damage and security at length, and counts of what was tried: SOAK=10 times an ordinary test run
	MARKET_SPINE_SOAK=$(SOAK) $(BIN)/python -m pytest -n auto market-spine-basic/tests/faults \
		$(foreach suite,apply clock_ahead concurrency recovery security security_files store_damage store_deep store_history store_tables,market-spine-basic/tests/integration/test_$(suite).py)

check: lint types imports deploy-check test ## format, lint, types, import contracts, what deploy/ ships, tests

deploy-check: install ## what deploy/ ships: linted, validated, its commands and variables compared with the program's
	$(BIN)/python -m scripts.deploy_check

deploy-trial: install ## what deploy/ ships, run in containers: Debian as root, installs podman and builds base images
	$(BIN)/python -m scripts.deploy_trial

orchestrators-trial: install ## the examples for Airflow and Dagster, each run in an environment of its own
	$(BIN)/python -m scripts.orchestrators_trial

dist: install ## wheels and source archives, into dist/
	rm -rf dist
	for package in $(PACKAGES); do (cd $$package && $(abspath $(BIN))/hatchling build -d $(CURDIR)/dist) || exit 1; done

format: install ## format the code and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

bench: install ## the benchmarks, which install what they compare with
	$(BIN)/python benchmarks/run.py

generate: install ## the generated files: the NYSE calendar, the JSON Schema, the data dictionary, the commands
	$(BIN)/python scripts/generate_calendar.py
	$(BIN)/python scripts/generate_schema.py
	$(BIN)/python scripts/generate_dictionary.py
	$(BIN)/python scripts/generate_commands.py

lock: install ## the lock files, from the packages named in the pyproject.toml files
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python scripts/lock.py

clean: ## remove the virtual environment, the demo and every cache
	rm -rf $(VENV) .venv-deploy-check .venv-orchestrators benchmarks/.venv demo demo-web dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find packages market-spine-basic scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created requirements.lock $(PACKAGES:%=%/pyproject.toml)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(PACKAGES:%=--editable %)
	@$(BIN)/python -m compileall -q $(PACKAGES:%=%/src) # or each process of a test or a demo compiles it where Python writes no bytecode
	@touch $@
