# Everything here works on a machine that has only Python, make and git.
# Another Python: make PYTHON=python3.12 test      More for pytest or the program: make test ARGS="-k wallet"

PYTHON ?= python3
ARGS ?=
export PYTHON

DEV := .venv
OLDEST := .venv-oldest
DEMO := .venv-demo
IN_DEV := $(DEV)/bin

# What the versions of Celery, kombu, redis-py, RQ and SQLAlchemy may make a difference to, each test with one broker: how the
# client of Redis connects and answers, and where tasks, workers and sessions are reached into. What Redis does with a
# script, what lies between a worker and its store, and what a database does with a statement is the same with all.
OLDEST_TESTS := tests/unit tests/stores/test_redis.py $(patsubst %,tests/stores/test_redis_%.py,answers cluster connections \
    interrupts listening logins outages sentinel strikes takeover trips urls wrong_server) \
  $(wildcard tests/fencing/test_redis*.py tests/fencing/test_sqlalchemy*.py) \
  $(patsubst %,tests/acceptance/test_%.py,closing contention deaths declarations door door_left exchanges front leases line \
    lock_tasks parent parent_later policies pools retries set_ups shutdown unique worker_options) \
  $(patsubst %,tests/rq/test_%.py,contention signals)

.DEFAULT_GOAL := help
.PHONY: help test servers test-unit proof test-oldest check lint types imports format demo bench pictures lock build clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: $(DEV)/.ready ## Run every test; real servers are started, and installed where that is possible
	@$(IN_DEV)/python -m tests.servers.install
	@$(IN_DEV)/python -m pytest $(ARGS)

servers: $(DEV)/.ready ## Install the servers that the tests need, where that is possible
	@$(IN_DEV)/python -m tests.servers.install

test-unit: $(DEV)/.ready ## Run the unit tests: no server, a few seconds
	@$(IN_DEV)/python -m pytest tests/unit $(ARGS)

proof: $(DEV)/.ready ## Stop fifty late writers of each lock store with each guard: half an hour or so
	@$(IN_DEV)/python -m tests.servers.install
	@GHOST_PAUSES=50 $(IN_DEV)/python -m pytest tests/fencing/test_ghosts.py $(ARGS)

test-oldest: $(OLDEST)/.ready ## Run what depends on them against the oldest supported Celery and redis-py
	@$(OLDEST)/bin/python -m tests.servers.install
	@$(OLDEST)/bin/python -m pytest $(OLDEST_TESTS) -m "not newest" -k "(not rabbitmq or exchanges) and not mariadb" $(ARGS)

check: lint types imports ## Run lint, types and imports

lint: $(DEV)/.ready ## Check style
	@$(IN_DEV)/ruff check .
	@$(IN_DEV)/ruff format --check .

types: $(DEV)/.ready ## Check types
	@$(IN_DEV)/mypy

imports: $(DEV)/.ready ## Check that imports point down
	@$(IN_DEV)/lint-imports

format: $(DEV)/.ready ## Format, and mend what can be mended
	@$(IN_DEV)/ruff check --fix .
	@$(IN_DEV)/ruff format .

demo: $(DEMO)/.ready ## Run the example project
	@$(DEMO)/bin/python -m example_project $(ARGS)

bench: $(DEV)/.ready ## Run the benchmarks
	@$(IN_DEV)/python -m benchmarks $(ARGS)

pictures: $(DEV)/.ready ## Make the pictures of the page and of top in docs/ again, the page in headless Chromium
	@$(IN_DEV)/python -m tests.servers.install
	@$(IN_DEV)/python -m tests.web.picture
	@PICTURES=1 $(IN_DEV)/python -m pytest -q tests/unit/test_top_drawing.py

build: $(DEV)/.ready ## Build the wheel and check what is inside
	@rm -rf dist
	@$(IN_DEV)/python -m hatchling build --target wheel
	@$(IN_DEV)/python .ci/wheel.py dist

lock: $(DEV)/.ready ## Make the lock files again, with the newest of everything
	@$(IN_DEV)/python -m pip install -qq uv
	@.ci/lock $(IN_DEV)/uv

clean: ## Remove the virtual environments and everything that was made
	@rm -rf .venv .venv-oldest .venv-demo dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV)/.ready: requirements/dev.txt pyproject.toml
	@.ci/venv $(DEV) requirements/dev.txt

$(OLDEST)/.ready: requirements/oldest.txt pyproject.toml
	@.ci/venv $(OLDEST) requirements/oldest.txt

$(DEMO)/.ready: requirements/demo.txt pyproject.toml
	@.ci/venv $(DEMO) requirements/demo.txt
