"""
Program that runs DAG files one after another with ``dag.test()``, in one process: Airflow's imports take longer than a run.

It reads the path of a file per line and answers each with :data:`MARK` and the states of its run as JSON; the rest of its output
is Airflow's log.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

#: Begins the lines that are answers.
MARK = "@@ "


def load(path: Path) -> DAG:
    """Import a file and return its DAG, without the folder being a package."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (dag,) = (value for value in vars(module).values() if isinstance(value, DAG))
    return dag


def run(path: Path) -> dict[str, Any]:
    """Run the DAG of a file; return the state of the run and of its tasks."""
    dag_run = load(path).test()
    return {"state": dag_run.state, "tasks": {ti.task_id: ti.state for ti in dag_run.get_task_instances()}}


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(f"{MARK}{json.dumps(run(Path(line.strip())))}\n")
        sys.stdout.flush()
