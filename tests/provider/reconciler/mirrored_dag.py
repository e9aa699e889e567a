"""A hand-written workflow with every kind of end, parsed by the real Airflow of the integration tests."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from provider.operators.task_batch import ScopeGuard, StartBatchOperator

EDGES = {
    "empty": ["after_empty"],
    "after_empty": [],
    "fails": ["blocked"],
    "blocked": ["blocked_too"],
    "blocked_too": [],
    "skips_itself": ["behind_skip", "runs_anyway"],
    "behind_skip": [],
    "runs_anyway": [],
    "second_time": [],
    "mapped": [],
}


def fail() -> None:
    raise ValueError("Table raw.suppliers\nwas not found")


def skip() -> None:
    raise AirflowSkipException("nothing to load")


def succeed_the_second_time() -> None:
    if get_current_context()["ti"].try_number == 1:
        raise RuntimeError("try again")


def noop(*_values: Any) -> None:
    return None


def wait_for_ever() -> None:
    """Say that we run, and run until somebody ends it."""
    Path(os.environ["AIRFLOW_HOME"], "waiting").touch()
    while True:
        time.sleep(1)


CALLS = {"fails": fail, "skips_itself": skip, "second_time": succeed_the_second_time}

with DAG(
    "mirrored",
    start_date=datetime(2026, 1, 1),
    schedule=None,
    params={"start_task_id": None, "scope": None, "country": "DE"},
    default_args={"retries": 0},
) as mirrored:
    start = StartBatchOperator(task_id="start_batch", edges=EDGES)
    tasks: dict[str, Any] = {}
    for task_id in EDGES:
        guard = ScopeGuard(on_parent_skip="run" if task_id == "runs_anyway" else "skip")
        common: dict[str, Any] = {"task_id": task_id, "trigger_rule": "none_failed", "pre_execute": guard}
        if task_id == "empty":
            tasks[task_id] = EmptyOperator(**common)
        elif task_id == "mapped":
            tasks[task_id] = PythonOperator.partial(python_callable=noop, **common).expand(op_args=[["a"], ["b"]])
        elif task_id == "second_time":
            tasks[task_id] = PythonOperator(python_callable=CALLS[task_id], retries=1, retry_delay=timedelta(seconds=1), **common)
        else:
            tasks[task_id] = PythonOperator(python_callable=CALLS.get(task_id, noop), **common)
    for parent, children in EDGES.items():
        for child in children:
            tasks[parent] >> tasks[child]
    for task_id in set(EDGES) - {child for children in EDGES.values() for child in children}:
        start >> tasks[task_id]

with DAG("endless", start_date=datetime(2026, 1, 1), schedule=None, default_args={"retries": 0}):
    opening = StartBatchOperator(task_id="start_batch", edges={"endless": ["after"], "after": [], "beside": []})
    endless = PythonOperator(
        task_id="endless", python_callable=wait_for_ever, trigger_rule="none_failed", pre_execute=ScopeGuard()
    )
    after = PythonOperator(task_id="after", python_callable=noop, trigger_rule="none_failed", pre_execute=ScopeGuard())
    # A leaf that fails. Without one, a run that a person marks failed has skipped leaves only, and a scheduler that looks at it
    # between the two commits of the API makes it a success.
    beside = PythonOperator(task_id="beside", python_callable=fail, trigger_rule="none_failed", pre_execute=ScopeGuard())
    opening >> endless >> after
    opening >> beside

with DAG(
    "hurried", start_date=datetime(2026, 1, 1), schedule=None, dagrun_timeout=timedelta(seconds=20), default_args={"retries": 0}
):
    opening = StartBatchOperator(task_id="start_batch", edges={"endless": ["after"], "after": []})
    endless = PythonOperator(
        task_id="endless", python_callable=wait_for_ever, trigger_rule="none_failed", pre_execute=ScopeGuard()
    )
    after = PythonOperator(task_id="after", python_callable=noop, trigger_rule="none_failed", pre_execute=ScopeGuard())
    opening >> endless >> after
