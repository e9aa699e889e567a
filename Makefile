# Everything a person needs: `make demo` and `make test`. See README.md.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Containers often forbid bytecode. Each airflow command would then compile all of Airflow anew: half of its CPU time.
export PYTHONDONTWRITEBYTECODE :=
# uv and pip trust the machine's certificates, so a proxy that intercepts TLS is no obstacle; without any they keep their own.
CERTIFICATES := $(firstword $(SSL_CERT_FILE) $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem))
export PIP_CERT ?= $(CERTIFICATES)
export UV_SYSTEM_CERTS ?= $(if $(CERTIFICATES),true,false)

.PHONY: demo test unit compat lint lint-code lint-format lint-types lint-imports bench storm chaos-intake chaos-record cluster scopes graphs restarts hostile-rows fuzz mutate constraints docs clean

PYTEST := $(BIN)/python -m pytest
# The covered share of the lines, above pytest's closing line: where Python counts them itself. Before 3.12 it is a quarter of all time.
COUNTS_LINES := import sys; sys.exit(sys.version_info < (3, 12))
COVERAGE = $(shell $(BIN)/python -c '$(COUNTS_LINES)' && echo -p tests.coverage_summary --cov --cov-report=)

# The whole product on this machine: emulators, a real Airflow, real batches. KEEP=1 leaves it running.
demo: $(READY)
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

test: lint
	$(PYTEST) --dist loadfile --no-loadscope-reorder --numprocesses 4 --durations 15 $(COVERAGE) $(PYTEST_ARGS)

# The tests that need no running Airflow, no PostgreSQL and no other server, and do not wait long: under three minutes.
unit: $(READY)
	$(PYTEST) --dist worksteal --numprocesses 4 --durations 5 -m unit $(PYTEST_ARGS)

# The tests that need no server, on the oldest and newest versions that setup.cfg promises, and on each Python: environments in .venv-compat.
# COMPAT_ARGS="--only lowest".
compat: $(READY)
	$(BIN)/python -m tests.compat $(COMPAT_ARGS)

# 500 remote jobs while calls fail, people interfere and processes are killed: about half an hour. STORM_ARGS="--jobs 100".
storm: $(READY)
	$(BIN)/python -m tests.storms.remote_jobs $(STORM_ARGS)

# 10,000 messages while triggerer, dispatcher and worker are killed and the database goes away: about twenty minutes.
# INTAKE_ARGS="--messages 1000 --rounds 30 --run 20".
chaos-intake: $(READY)
	$(BIN)/python -m tests.storms.intake $(INTAKE_ARGS)

# Every end of tasks, runs and remote jobs, by itself or by people, while processes are killed and databases go away, and whether the rows
# say so: about forty minutes for each reader. RECORD_ARGS="--reader api --rounds 3 --seed 7".
chaos-record: $(READY)
	$(BIN)/python -m tests.storms.record $(RECORD_ARGS)

# A cluster with Celery and no common folder on which machines are killed and the database goes away: twenty minutes.
# CLUSTER_ARGS="--composer" as Cloud Composer is.
cluster: $(READY)
	$(BIN)/python -m tests.cluster $(CLUSTER_ARGS)

# Which tasks of a batch run, and in which order: 200 random graphs with random starts and clears, about twenty minutes.
# SCOPES_ARGS="--graphs 20 --seed 7".
scopes: $(READY)
	$(BIN)/python -m tests.storms.scopes $(SCOPES_ARGS)

# Nine graphs of scientific workflows with 2,000 tasks each, as Airflow has them, and a run of one with 700: about ten minutes.
# GRAPHS_ARGS="--tasks 500 --run 100 --seed 7".
graphs: $(READY)
	$(BIN)/python -m tests.storms.graphs $(GRAPHS_ARGS)

# Twenty random batches that fail, run again by command and page: what runs, what stays, and what was said before. Ten minutes.
# RESTARTS_ARGS="--batches 20 --seed 7".
restarts: $(READY)
	$(BIN)/python -m tests.storms.restarts $(RESTARTS_ARGS)

# 300 workflows in a real dag-processor while 30 rows of others are broken by SQL, on both databases: about ten minutes on a quiet machine.
# HOSTILE_ARGS="--healthy 50 --database sqlite".
hostile-rows: $(READY)
	$(BIN)/python -m tests.storms.hostile_rows $(HOSTILE_ARGS)

# 100,000 random answers to each call of each remote service, 100,000 rows, 10,000 messages, 2,000 database URLs: hours.
# FUZZ_ARGS="--only rows --count 1000 --seed 7".
fuzz: $(READY)
	$(BIN)/python -m tests.storms.fuzz $(FUZZ_ARGS)

# Small faults in the core, one at a time, and whether its tests notice: a sample takes hours. ONLY=inbox for one module, FULL=1 for all
# mutants, MUTATE_ARGS="--sample 200 --seed 7". It can be stopped, and goes on from there. See CONTRIBUTING.md.
mutate: $(READY)
	$(BIN)/python -m tests.mutation $(if $(ONLY),--only $(ONLY)) $(if $(FULL),--full) $(MUTATE_ARGS)

# Speed and cost beside the peers, which get an environment of their own: an hour and a half. See benchmarks/README.md.
bench: $(READY)
	$(BIN)/python -m benchmarks

# Each part is a hook of .pre-commit-config.yaml too.
lint: lint-code lint-format lint-types lint-imports

lint-code: $(READY)
	$(BIN)/ruff check .

lint-format: $(READY)
	$(BIN)/ruff format --check .

lint-types: $(READY)
	$(BIN)/mypy

lint-imports: $(READY)
	$(BIN)/lint-imports

$(READY): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@echo "Setting up $(VENV) (once, one to two minutes) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@$(BIN)/uv pip install --quiet --python $(VENV) --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The documentation as a site, site/index.html. A warning is an error, and so is a link that leads nowhere.
docs: $(READY)
	$(BIN)/python -m tests.docs.cli_page
	$(BIN)/python -m tests.docs.mistakes_page
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -c docs . site

# Upgrade on purpose: compile the pinned set anew.
constraints: $(READY)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev \
		--no-emit-index-url --no-header --no-annotate setup.cfg --output-file constraints.txt

clean:
	rm -rf $(VENV) site .mutate .venv-cluster .venv-compat .venv-servers .venv-peers .venv-*.lock .coverage* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
