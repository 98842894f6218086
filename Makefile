# `make help` lists the commands. Everything is installed below this folder (.tools, .venv).
UV_VERSION := 0.13.9
UV := .tools/bin/uv
PYTHON ?= python3
MEMBERS := protocol store edge_api provider worker_image operator demo images testing
RUN := $(UV) run --no-sync
export UV_LINK_MODE ?= copy
export PYTHONPATH := $(empty)
# Tests and the demo start many processes; without byte code each of them would compile all its imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(UV):
	@$(PYTHON) -m pip install --quiet --target .tools "uv==$(UV_VERSION)" 2>.tools.log || { cat .tools.log; exit 1; }
	@rm -f .tools.log

.venv/.ready: $(UV) requirements.lock pyproject.toml $(MEMBERS:%=%/pyproject.toml)
	@echo "Installing into .venv (Airflow, embedded PostgreSQL and the project itself) ..."
	@[ -x .venv/bin/python ] || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --require-hashes requirements.lock
	@$(UV) pip install --quiet --no-deps $(MEMBERS:%=-e ./%)
	@touch $@

# The fleet page: one bundle, built from provider/ui by a Node from PyPI.
UI := provider/ui
NODE := .tools/node
UI_BUILD := $(UI)/build.sh
UI_SOURCES := $(UI)/vite.config.ts $(shell find $(UI)/src $(UI)/public -type f)

$(NODE)/.ready: requirements/ui.txt $(UV)
	@rm -rf $(NODE)
	@$(UV) pip install --quiet --require-hashes --python $(PYTHON) --target $(NODE) --requirement $<
	@touch $@

# Without npm's registry everything but the page works.
$(UI)/node_modules/.ready: $(UI)/package-lock.json $(UI)/.npmrc $(NODE)/.ready
	@echo "Installing the packages of the fleet page ..."
	@if $(UI_BUILD) packages $(NODE) >.tools/npm.log 2>&1; then touch $@; else tail -n 3 .tools/npm.log; \
	  echo "There is no fleet page in Airflow's UI here: npm's registry can't be reached."; [ -z "$$EDGE_TESTS_NO_SKIP" ]; fi

$(UI)/node_modules/.built: $(UI)/node_modules/.ready $(UI_SOURCES)
	@[ ! -f $< ] || { $(UI_BUILD) bundle $(NODE) && touch $@; }

.PHONY: setup
setup: .venv/.ready $(UI)/node_modules/.built  ## Install everything the other commands need

.PHONY: demo
demo: setup  ## Run a real Airflow with an edge worker, and show its tasks
	@$(RUN) airflow-edge-demo $(ARGS)

# Most tests wait for other processes, so two run in parallel; tests/conftest.py keeps costly folders together.
PYTEST := $(RUN) pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

.PHONY: test
test: setup prepare  ## Run all tests, except the slow ones
	@$(PYTEST) $(ARGS)

.PHONY: test-quick
test-quick: setup  ## Run the tests that need no Kubernetes, no Airflow and no containers
	@$(PYTEST) tests/unit tests/store tests/api tests/worker $(ARGS)

.PHONY: test-slow
test-slow: setup  ## Run the slow tests and write their results to tests/slow-results.json
	@$(RUN) python -m edge_testing.prepare --slow $(ARGS)
	@$(RUN) pytest -m slow --results tests/slow-results.json $(ARGS)

.PHONY: prepare
prepare: setup  ## Prepare what tests need and what takes minutes: Kubernetes programs, images
	@$(RUN) python -m edge_testing.prepare $(ARGS)

.PHONY: e2e
e2e: setup  ## Run the tests on a real cluster: CLUSTER=node (root), kind (Docker) or kubeconfig
	@$(RUN) python -m edge_testing.prepare tests/e2e
	@$(RUN) pytest tests/e2e $(ARGS)

.PHONY: images
images:  ## Build the container images with Docker or buildah
	@PYTHONPATH=images/src $(PYTHON) -m edge_images $(ARGS)

.PHONY: wheels
wheels: $(UV)  ## Put the wheels for a worker's host into dist/, dependencies included
	@rm -rf dist
	@for part in protocol worker_image; do $(UV) build --quiet --wheel --out-dir dist $$part || exit 1; done
	@$(PYTHON) -m pip download --quiet --dest dist --no-deps --only-binary :all: --require-hashes --requirement requirements/worker.txt

.PHONY: check
check: setup  ## Format, lint, types and import rules
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) mypy --platform win32 --no-warn-unreachable --cache-dir .mypy_cache/win32 --exclude '/runner/' worker_image/src
	@$(RUN) lint-imports
	@$(RUN) shellcheck $$(git ls-files '*.sh' .ci/run)
	@[ ! -f $(UI)/node_modules/.ready ] || $(UI_BUILD) check $(NODE)

.PHONY: format
format: setup  ## Format the code and fix what the linter can fix
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .
	@[ ! -f $(UI)/node_modules/.ready ] || $(UI_BUILD) format $(NODE)

.PHONY: bench
bench: setup  ## Measure this project, edge3 and LocalExecutor side by side
	@$(RUN) python -m bench $(ARGS)

SEEDS ?= 1-20

.PHONY: faults
faults: setup  ## Break a real platform, seed by seed, and go on where it stopped: SEEDS=1-20
	@$(RUN) python -m edge_testing.faults $(SEEDS)

.PHONY: faults-table
faults-table: setup  ## Put the campaign's results into docs/reliability.md
	@$(RUN) python -m edge_testing.faults --table

EXPORT := $(UV) export --quiet --frozen --no-emit-workspace --no-header --no-annotate

.PHONY: lock
lock: $(UV)  ## Resolve the dependencies again and pin them
	@$(UV) lock --quiet --upgrade
	@$(EXPORT) --all-packages --output-file requirements.lock
	@$(EXPORT) --only-group build --output-file requirements/build.txt
	@$(EXPORT) --only-group ui --output-file requirements/ui.txt
	@$(EXPORT) --package airflow-edge-api --output-file requirements/edge-api.txt
	@$(EXPORT) --package airflow-edge-operator --output-file requirements/operator.txt
	@$(EXPORT) --package airflow-edge-provider --only-group image --output-file requirements/airflow.txt
	@$(EXPORT) --package airflow-edge-worker --extra airflow --group image --output-file requirements/worker.txt
	@$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --output-file requirements/fab.txt requirements/fab.in
