"""
A hundred task processes that fail at the same moment: ``python hundred_tasks.py COUNT SECONDS``.

Prints, as JSON, what each process lost.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import airflow.sdk.execution_time.task_runner  # noqa: F401 - each process has these when the moment comes

import provider.metadata.task_logs  # noqa: F401
from provider.airflow_internals.secrets import redact
from provider.listeners.task_process import TryRecorder


class Start:
    task_type = "StartBatchOperator"


def instance(number: int, left: dict[str, Any] | None = None) -> SimpleNamespace:
    """
    A task instance as the task SDK has it.

    :param left: gets what is left in Airflow's task state store.
    """
    methods = {"execute": lambda context: None, "resume_execution": lambda **_: None}
    task = SimpleNamespace(dag=SimpleNamespace(task_dict={"start_batch": Start()}), template_fields=(), **methods)
    context = {"task_state_store": SimpleNamespace(set=({} if left is None else left).__setitem__)}
    ids = {"dag_id": "sales", "run_id": f"b{number}", "task_id": "load", "map_index": None, "try_number": 1, "state": None}
    return SimpleNamespace(**ids, start_date=datetime.now(UTC), end_date=None, task=task, get_template_context=lambda: context)


def main(count: int, seconds: float) -> None:
    logging.disable(logging.CRITICAL)
    redact("warm")
    pipes = []
    moment = time.time() + 1.0
    for number in range(count):
        reading, writing = os.pipe()
        if os.fork() == 0:
            lost, left = "", dict[str, Any]()
            try:
                ti, recorder = instance(number, left), TryRecorder(budget=seconds)
                time.sleep(max(0.0, moment - time.time()))
                try:
                    recorder.record(ti, "running", None)
                except Exception:  # noqa: BLE001 - the reconciler makes up for it
                    lost = "running "
                recorder.record(ti, "failed", ValueError(f"the one text of {number}"))
            except BaseException as error:  # noqa: BLE001 - told to the test
                lost += repr(error)
            os.write(writing, json.dumps({"missed": lost, "left": left}).encode())
            os._exit(0)
        os.close(writing)
        pipes.append(reading)
    sys.stdout.write(json.dumps([json.loads(os.read(pipe, 65536)) for pipe in pipes]))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
