"""
Runs the operators of ``waiting_dag.py`` up to the moment at which each hands its wait to the triggerer.

Each starts its job at the service by itself, as in a worker, so that nothing here depends on what an operator's trigger is
called or is made of. Runs in the environment of the checkout whose operators these are. Standard output gets
``{task id: [trigger of each map index, as Airflow stores it]}``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.peers.one_task import Store, TaskInstance

Stored = tuple[str, dict[str, Any]]

#: Operators that run at once: they mostly wait for their service.
AT_ONCE = 4


def deferral(operator: Any, map_index: int) -> Stored:
    """
    Run an operator until it defers; returns its trigger.

    :raises RuntimeError: it has ended instead.
    """
    from airflow.sdk.exceptions import TaskDeferred

    ti = TaskInstance(tries=1)
    ti.try_number, ti.task_id, ti.map_index = 1, operator.task_id, map_index
    context = {"ti": ti, "task_instance": ti, "task": operator, "task_state_store": Store()}
    try:
        result = operator.execute(context)
    except TaskDeferred as deferred:
        path, arguments = deferred.trigger.serialize()
        return path, arguments
    raise RuntimeError(f"Task {operator.task_id}, {map_index} should wait, but has ended: {result}")


def deferrals() -> dict[str, list[Stored]]:
    """Start all jobs; returns the triggers that wait for them."""
    from benchmarks.waiting_dag import TASKS

    stored: dict[str, list[Stored]] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for task_id, (operator, common, instances) in TASKS.items():
            operators = [operator(task_id=task_id, **common, **own) for own in instances]
            stored[task_id] = list(pool.map(deferral, operators, range(len(operators))))
    return stored


def started(python: str, environment: Mapping[str, str], log: Path) -> dict[str, list[Stored]]:
    """
    Do the same in a process of its own.

    :param python: of the checkout whose operators shall be used.
    :param environment: of the process, with the connections.
    :raises RuntimeError: the operators could not start their jobs.
    """
    with log.open("wb") as file:
        command = [python, "-m", "benchmarks.deferrals"]
        told = subprocess.run(command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment, check=False)  # noqa: S603
    if told.returncode:
        raise RuntimeError(f"The operators could not start their jobs:\n{log.read_text(errors='replace')[-3000:]}")
    stored: dict[str, list[Stored]] = json.loads(told.stdout)
    return stored


def main() -> None:
    """Answer on what is standard output now; whatever else is printed goes to standard error."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    json.dump(deferrals(), answer)
    answer.flush()
    # What clients leave open shall not hold up the end.
    os._exit(0)


if __name__ == "__main__":
    main()
