"""
What a task process pays for its DAG: importing the factory, reading the rows, building, beyond what Airflow imports for any DAG.

``python -m benchmarks task_process`` keeps the figures, with ``--before REVISION`` those of an earlier state too. This file is
also what runs in the processes that are measured: ``fill`` makes the tables, ``measure`` reads the DAG file as a task does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.checkout import Checkout
from benchmarks.result import AtMost, Result

if TYPE_CHECKING:
    from demo.postgres import PostgresServer

SAMPLES = 15
OTHER_TASKS = (100, 1_000, 10_000, 100_000)
"""Tasks in the tables, in workflows of ten, of which the task's own is one."""
OWN_TASKS = (10, 100, 1_000, 10_000)
"""Tasks of the own workflow, where there is no other."""
GOAL_MS = 60.0
FLAT = 1.3
"""So many times as long as the shortest median the longest may take."""

_DAG_FILE = "dags/workflows.py"


def run(folder: Path, before: Checkout | None = None) -> Iterator[Result]:
    """
    Yield the figures of task processes.

    :param before: an earlier checkout to compare with.
    """
    from demo.postgres import PostgresServer  # the processes that are measured have no demo

    checkouts = {"": Checkout.this()} if before is None else {".before": before, "": Checkout.this()}
    for name, checkout in checkouts.items():
        medians = []
        with PostgresServer() as postgres:
            for place, other, own in [
                *(("tables", count, 10) for count in OTHER_TASKS),
                *(("dag", 0, count) for count in OWN_TASKS),
            ]:
                title = f"task_process{name}.{place}.{other or own}"
                samples = list(_samples(checkout, postgres, folder / title, other, own))
                result = Result(title, "ms", samples, AtMost(GOAL_MS) if not name else None)
                medians.append(result.value)
                yield result
        ratio = max(medians) / min(medians)
        yield Result(f"task_process{name}.longest_to_shortest", "times", [ratio], AtMost(FLAT) if not name else None)


def _samples(checkout: Checkout, postgres: PostgresServer, folder: Path, other: int, own: int) -> Iterator[float]:
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")},
        **checkout.environment(folder),
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__ACCELERATOR__SNAPSHOT_DIR": str(folder / "snapshot"),
        "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": postgres.create_database(f"tables_{checkout.commit[:7]}_{other}_{own}"),
    }

    def python(*arguments: str) -> str:
        command = [str(checkout.python), "-m", "benchmarks.task_process", *arguments]
        return subprocess.run(  # noqa: S603 - of this file's own making
            command, check=True, capture_output=True, text=True, env=environment, cwd=checkout.folder, timeout=900
        ).stdout

    python("fill", str(other), str(own))
    measured = [json.loads(python("measure", _DAG_FILE).splitlines()[-1]) for _ in range(SAMPLES + 1)]
    yield from measured[1:]  # the first one compiles what it imports


def _fill(other: int, own: int) -> None:
    """Make tables with the workflow ``own``, and the snapshot that a dag-processor would have written."""
    from benchmarks.chains import add_chain, store
    from provider.metadata.rows import DefinitionRows

    rows = DefinitionRows()
    for name, tasks in [("own", own), *((f"w{number:05}", 10) for number in range((other - own) // 10))]:
        add_chain(rows, name, tasks, schedule="0 5 * * *", start_date="2026-01-01")
    store(rows)


def _measure(dag_file: str) -> float:
    """Return the milliseconds that a DAG file takes, after what each DAG file of each task process takes."""
    import runpy

    import airflow.sdk.execution_time.task_runner  # noqa: F401 - what a task process has imported
    from airflow.sdk import DAG, BaseOperator

    DAG("written_by_hand", schedule="0 5 * * *").add_task(BaseOperator(task_id="one"))
    os.environ |= {"_AIRFLOW_PARSING_CONTEXT_DAG_ID": "own", "_AIRFLOW_PARSING_CONTEXT_TASK_ID": "own_t5"}
    begun = time.perf_counter()
    found = runpy.run_path(dag_file)
    seconds = time.perf_counter() - begun
    found["workflow own"].get_task("own_t5")
    return seconds * 1000


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        _fill(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.stdout.write(f"{_measure(sys.argv[2])}\n")
