# Everything a person needs: `make demo` and `make test`. See README.md.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Containers often forbid bytecode. Each airflow command would then compile all of Airflow anew: half of its CPU time.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test lint bench storm chaos-intake scopes constraints clean

# The whole product on this machine: emulators, a real Airflow, real batches. KEEP=1 leaves it running.
demo: $(READY)
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

test: lint
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 15 $(PYTEST_ARGS)

# 500 remote jobs while calls fail, people interfere and processes are killed: about half an hour. STORM_ARGS="--jobs 100".
storm: $(READY)
	$(BIN)/python -m tests.storms.remote_jobs $(STORM_ARGS)

# 10,000 messages while triggerer, dispatcher and worker are killed and the database goes away: about twenty minutes.
# INTAKE_ARGS="--messages 1000 --rounds 30 --run 20".
chaos-intake: $(READY)
	$(BIN)/python -m tests.storms.intake $(INTAKE_ARGS)

# Which tasks of a batch run, and in which order: 200 random graphs with random starts and clears, about twenty minutes.
# SCOPES_ARGS="--graphs 20 --seed 7".
scopes: $(READY)
	$(BIN)/python -m tests.storms.scopes $(SCOPES_ARGS)

# Speed and cost beside the peers, which get an environment of their own: about half an hour. See benchmarks/README.md.
bench: $(READY)
	$(BIN)/python -m benchmarks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@echo "Setting up $(VENV) (once, under a minute) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@$(BIN)/uv pip install --quiet --python $(VENV) --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Upgrade on purpose: compile the pinned set anew.
constraints: $(READY)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev \
		--no-emit-index-url --no-header --no-annotate setup.cfg --output-file constraints.txt

clean:
	rm -rf $(VENV) .venv-servers .venv-peers .venv-*.lock build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
