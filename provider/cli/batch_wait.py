"""Waiting for the end of a batch, and telling of its tasks as they end."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Any

from provider.batch_ids import as_arguments
from provider.cli.output import duration, say
from provider.hooks.airflow_api import AirflowApi, api_path
from provider.hooks.remote_job import RemoteCallError
from provider.metadata.states import ENDS, ERROR, STATUS_OF_RUN_STATE, STATUS_OF_TASK_STATE, SUCCESS
from provider.restart import OWN_TASKS
from provider.texts import first_line, task_name

#: Time between two looks, in seconds.
PAUSE = 2.0
#: States of a try behind which Airflow makes another one by itself.
_GOES_ON = "up_for_retry"


def wait_for_end(api: AirflowApi, workflow_id: str, batch_id: str, *, seconds: float, pause: float = PAUSE) -> int:
    """
    Wait until the DAG run of a batch has ended, and say how each task does.

    A look that fails in passing is repeated.

    :param seconds: how long to wait at most.
    :param pause: between two looks, in seconds.
    :return: 0 where it is a SUCCESS, 1 where it is an ERROR or has not ended in time.
    :raises RemoteCallError: Airflow refuses to tell.
    """
    until = time.monotonic() + seconds
    path, told, trouble = api_path("dags", workflow_id, "dagRuns", batch_id), set[tuple[str, int]](), ""
    while True:
        try:
            # The run first: of one that has ended, the tasks that are read then are all.
            status = STATUS_OF_RUN_STATE.get(api.get(path).get("state"), "")
            _tell_ends(list(api.listed(f"{path}/taskInstances", "task_instances")), told)
            trouble = ""
        except RemoteCallError as error:
            if not error.retryable:
                raise
            status, trouble = "", f" The last look failed: {error}"
        if status in (SUCCESS, ERROR):
            say(f"Batch {batch_id} of {workflow_id}: {status}; `accelerator logs {as_arguments(batch_id)}` says more.")
            return 0 if status == SUCCESS else 1
        left = until - time.monotonic()
        if left <= 0:
            sys.stderr.write(
                f"error: batch {batch_id} of {workflow_id} has not ended within {seconds:g} s; it goes on.{trouble}\n"
            )
            return 1
        time.sleep(min(pause, left))


def _tell_ends(instances: list[Any], told: set[tuple[str, int]]) -> None:
    """Tell of the tasks that have ended since the last look."""
    ended = [one for one in instances if isinstance(one, dict) and _end_of(one) and one.get("task_id") not in OWN_TASKS]
    for one in sorted(ended, key=lambda one: str(one.get("end_date") or "")):
        key = (str(one.get("task_id")), one["map_index"] if isinstance(one.get("map_index"), int) else -1)
        if key not in told:
            told.add(key)
            took = duration(_moment(one.get("start_date")), _moment(one.get("end_date")))
            say(f"{_end_of(one):<8} {first_line(task_name(*key))}{f' ({took})' if took else ''}")


def _end_of(one: dict[str, Any]) -> str:
    """Return the status of a task instance that has ended; empty for any other."""
    state = one.get("state")
    status = STATUS_OF_TASK_STATE.get(state, "") if isinstance(state, str) and state != _GOES_ON else ""
    return status if status in ENDS else ""


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
