"""
What the listener adds to a task process: its imports and the writing of the two rows, PROCESSING and SUCCESS, to PostgreSQL.

``forked`` is a process that the scheduler's LocalExecutor forks, which has our modules from there; ``workflow`` one that has
imported what the DAG file of a workflow needs, as with any other executor; ``fresh`` one that has imported what Airflow imports
for any task and nothing of ours. This file is also what runs in the processes that are measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from benchmarks.checkout import Checkout
from benchmarks.result import AtMost, Result

SAMPLES = 15
GOAL_MS = 25.0
_FORMS = ("forked", "workflow", "fresh")


def run(folder: Path) -> Iterator[Result]:
    """Yield the figures of the listener."""
    from demo.postgres import PostgresServer  # the processes that are measured have no demo

    checkout = Checkout.this()
    with PostgresServer() as postgres:
        environment = {
            **os.environ,
            **checkout.environment(folder),
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": postgres.create_database("listener"),
        }

        def python(form: str) -> str:
            command = [str(checkout.python), "-m", "benchmarks.listener", form]
            return subprocess.run(  # noqa: S603 - of this file's own making
                command, check=True, capture_output=True, text=True, env=environment, cwd=checkout.folder, timeout=120
            ).stdout

        python("prepare")
        for form in _FORMS:
            measured = [json.loads(python(form).splitlines()[-1]) for _ in range(SAMPLES + 1)][1:]
            yield Result(f"listener.{form}", "ms", [wall for wall, _ in measured], AtMost(GOAL_MS))
            yield Result(f"listener.{form}.cpu", "ms", [cpu for _, cpu in measured])


class _StartBatchOperator:
    task_type = "StartBatchOperator"


def _measure(form: str) -> tuple[float, float]:
    """Return the milliseconds, and those of CPU, that a task's two hooks take."""
    import airflow.sdk.execution_time.task_runner  # noqa: F401 - what a task process has imported

    if form == "forked":
        import provider.listeners.task_process
        import provider.metadata.engine
        import provider.metadata.task_logs  # noqa: F401
    if form == "workflow":
        import dag_factory.factory  # noqa: F401
    if form != "fresh":
        from provider.metadata.database_url import import_driver

        import_driver()
    methods = {"execute": lambda _context: None, "resume_execution": lambda **_: None}
    task = SimpleNamespace(**methods, dag=SimpleNamespace(task_dict={"start_batch": _StartBatchOperator()}), template_fields=())
    ids = {"dag_id": "sales", "run_id": f"b{os.getpid()}", "task_id": "load", "map_index": None, "try_number": 1, "state": None}
    instance = SimpleNamespace(**ids, start_date=datetime.now(UTC), end_date=None, task=task)
    wall, cpu = time.perf_counter(), time.process_time()
    from provider.listeners import task_process

    task_process.recorder.record(instance, "running", None)
    task_process.recorder.record(instance, "success", None)
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def _prepare() -> None:
    from provider.metadata.engine import create_engine
    from provider.metadata.schema import upgrade

    upgrade(create_engine(os.environ["AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN"]))


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        _prepare()
    else:
        sys.stdout.write(f"{json.dumps(_measure(sys.argv[1]))}\n")
