"""What task processes, triggers and listeners import brings no SQLAlchemy of ours: the tables cost a tenth of a second."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Modules that are imported where time counts.
LIGHT = [
    "provider.operators.task_batch",
    "provider.operators.dispatch",
    "provider.triggers.completion",
    "provider.triggers.pubsub",
    "provider.sensors.completion",
    "provider.sensors.pubsub",
    "provider.listeners.task_log",
    "provider.listeners.task_process",
    "provider.plugin",
    "provider.messages",
    "provider.run_conf",
    "provider.airflow_internals.supervisor",
    "provider.metadata.states",
    "provider.metadata.rows",
    "provider.metadata.inbox_message",
    "provider.metadata.file_patterns",
    "provider.metadata.advisory_locks",
    "provider.metadata.workflow_rows",
]

#: Airflow itself imports SQLAlchemy in every process. So the question is who else asks for it.
PROGRAM = """
import builtins, sys
real = builtins.__import__

def watched(name, globals=None, *rest):
    importer = (globals or {}).get("__name__", "")
    if name.partition(".")[0] in ("sqlalchemy", "alembic") and importer.startswith("provider"):
        asked.add(importer)
    return real(name, globals, *rest)

builtins.__import__ = watched
for module in sys.argv[1:]:
    asked = set()
    __import__(module)
    print(module, *sorted(asked), file=sys.stderr)
"""


def brought_by(*modules: str) -> dict[str, list[str]]:
    """Import modules one after another in a new process; return which modules of ours have asked for SQLAlchemy in each."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *modules], capture_output=True, text=True, check=True, cwd=ROOT)
    words = [line.split() for line in done.stderr.splitlines() if line.startswith("provider.")]
    return {module: asked for module, *asked in words}


def test_light_modules_bring_no_sqlalchemy() -> None:
    assert brought_by(*LIGHT) == {module: [] for module in LIGHT}


@pytest.mark.parametrize("module", ["engine", "task_logs", "request_queue", "inbox"])
def test_a_query_module_is_seen_to_bring_it(module: str) -> None:
    (asked,) = brought_by(f"provider.metadata.{module}").values()
    assert f"provider.metadata.{module}" in asked


def test_a_run_conf_needs_no_airflow() -> None:
    program = "import sys, provider.run_conf; print([name for name in sys.modules if name.partition('.')[0] == 'airflow'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
