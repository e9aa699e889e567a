"""The DAG file of the dispatcher: there when there is something to listen to."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from provider.exceptions import ConfigurationError

FILE = Path(__file__).parents[2] / "dags" / "dispatcher.py"
VARIABLE = "AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS"


def dags() -> dict[str, Any]:
    return {value.dag_id: value for value in runpy.run_path(str(FILE)).values() if isinstance(value, DAG)}


def test_no_subscription_no_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert dags() == {}


def test_the_dispatcher_runs_for_ever_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "projects/p-1/subscriptions/one, projects/p-1/subscriptions/two")
    dag = dags()["accelerator_dispatcher"]
    assert (dag.dag_id, dag.max_active_runs, dag.catchup, dag.is_paused_upon_creation) == (
        "accelerator_dispatcher",
        1,
        False,
        False,
    )
    assert type(dag.timetable).__name__ == "ContinuousTimetable"
    (task,) = dag.tasks
    assert task.subscriptions == ["projects/p-1/subscriptions/one", "projects/p-1/subscriptions/two"]
    assert task.retries > 0


def test_its_helpers_are_a_dag_that_only_the_dispatcher_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "projects/p-1/subscriptions/one")
    made = dags()
    burst = made.pop("accelerator_burst")
    assert (burst.schedule, burst.max_active_runs, burst.is_paused_upon_creation) == (None, 3, False)
    assert [(task.task_id, task.retries > 0) for task in burst.tasks] == [("dispatch", True)]
    (dispatcher,) = made.values()
    assert [(task.burst_dag_id, task.burst_helpers) for task in dispatcher.tasks] == [("accelerator_burst", 3)]


def test_without_helpers_there_is_no_such_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "projects/p-1/subscriptions/one")
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__BURST_HELPERS", "0")
    (dispatcher,) = dags().values()
    assert [task.burst_dag_id for task in dispatcher.tasks] == [None]


def test_a_wrong_name_is_an_import_error_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "task-batches")
    with pytest.raises(ConfigurationError, match=r"'task-batches'.*\[accelerator\] pubsub_subscriptions"):
        dags()
