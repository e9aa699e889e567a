"""The DAG file of alerts: there when rules may use anything."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

FILE = Path(__file__).parents[2] / "dags" / "alerts.py"
VARIABLE = "AIRFLOW__ACCELERATOR__NOTIFIERS"


def dags() -> dict[str, Any]:
    return {value.dag_id: value for value in runpy.run_path(str(FILE)).values() if isinstance(value, DAG)}


def test_where_nothing_is_allowed_there_is_no_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert dags() == {}


def test_it_waits_for_ever_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mail, airflow.providers.slack.*")
    (dag,) = dags().values()

    assert (dag.dag_id, dag.max_active_runs, dag.catchup, dag.is_paused_upon_creation) == ("accelerator_alerts", 1, False, False)
    assert type(dag.timetable).__name__ == "ContinuousTimetable"
    (task,) = dag.tasks
    assert (task.notifiers, task.start_from_trigger) == (["mail", "airflow.providers.slack.*"], True)
    assert task.retries > 0
