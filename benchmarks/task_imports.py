"""What a task process imports for our operators, on top of what Airflow itself imports for any task."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.result import Result

SAMPLES = 3
#: What a task process has imported before it reads a DAG file.
AIRFLOW = "airflow.sdk.execution_time.task_runner"
#: What building and running each task imports: the operator, and what its first call to the service needs. A task of a workflow
#: also pays for the reading of its rows and for the writing of its TaskLog row.
TASKS = {
    "powerbi": ("provider.operators.powerbi", "provider.hooks.powerbi.hook", "msal", "requests"),
    "dataform": ("provider.operators.dataform", "provider.hooks.dataform.hook", "google.cloud.dataform_v1", "grpc"),
    "rows": ("dag_factory.factory",),
    "task_log": ("provider.plugin", "provider.listeners.task_process", "provider.metadata.task_logs"),
}


def import_times(modules: tuple[str, ...], home: Path) -> dict[str, float]:
    """
    Return module -> milliseconds that it took itself (``-X importtime``), for a new process that imports *modules*.

    :raises subprocess.CalledProcessError: one of them is not there.
    """
    program = "\n".join(f"import {module}" for module in modules)
    environment = {**os.environ, "AIRFLOW_HOME": str(home)}
    command = [sys.executable, "-X", "importtime", "-c", program]
    process = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)  # noqa: S603
    times: dict[str, float] = {}
    for line in process.stderr.splitlines():
        head, _, name = line.rpartition("|")
        if head.startswith("import time:") and (own := head.removeprefix("import time:").partition("|")[0].strip()).isdigit():
            times[name.strip()] = times.get(name.strip(), 0.0) + int(own) / 1000
    return times


def run(folder: Path) -> Iterator[Result]:
    """Yield the figures of importing."""
    samples: dict[str, list[float]] = {name: [] for name in ("airflow", *TASKS)}
    counts: dict[str, list[float]] = {name: [] for name in TASKS}
    for _ in range(SAMPLES):
        airflow = import_times((AIRFLOW,), folder)
        samples["airflow"].append(sum(airflow.values()))
        for name, modules in TASKS.items():
            added = {module: cost for module, cost in import_times((AIRFLOW, *modules), folder).items() if module not in airflow}
            samples[name].append(sum(added.values()))
            counts[name].append(len(added))
    yield Result("imports.airflow_task_process", "ms", samples["airflow"])
    for name in TASKS:
        yield Result(f"imports.{name}_task.beyond_airflow", "ms", samples[name])
        yield Result(f"imports.{name}_task.modules_beyond_airflow", "modules", counts[name])
