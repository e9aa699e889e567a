"""Why a task is not queued: nothing but the moment, or a limit that its rows set."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from provider.metadata.engine import write_session
from provider.metadata.tables import Task, Workflow
from tests.provider.cli.running_batch import Airflow, airflow, batch, rows

__all__ = ["airflow"]


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(
    ("began", "ended", "line"),
    [
        (timedelta(), None, r"The scheduler has not queued b yet; its batch began \d+ s ago\. That takes seconds: ask again\."),
        (timedelta(hours=1), timedelta(), r"The scheduler has not queued b yet; a ended \d+ s ago\. That takes .*"),
        (timedelta(minutes=-1), None, r"The scheduler has not queued b yet; its batch began 0 s ago\. .*"),
        (timedelta(hours=1), timedelta(minutes=1), r"The scheduler has not queued b yet\. Look at \[core\] parallelism .*"),
        (timedelta(minutes=1), None, r"The scheduler has not queued b yet\. Look at \[core\] parallelism .*"),
    ],
)
def test_a_task_that_could_just_be_queued_wants_nothing(
    accelerator, airflow: Airflow, began: timedelta, ended: timedelta | None, line: str
) -> None:
    now = datetime.now(UTC)
    rows(batch(started_at=now - began))
    airflow.add("a", "success", end_date=None if ended is None else (now - ended).isoformat())
    airflow.add("b", "scheduled")
    assert re.fullmatch(line, accelerator("why", "b", "B1").out.splitlines()[0])


def instance(dag_id: str, run_id: str, task_id: str, state: str) -> dict[str, Any]:
    return {"dag_id": dag_id, "dag_run_id": run_id, "task_id": task_id, "map_index": -1, "state": state}


@pytest.mark.usefixtures("application_database")
@pytest.mark.parametrize(
    ("workflow", "task", "others", "line"),
    [
        (
            {"max_active_tasks": 1},
            {},
            ["B1 b running"],
            "max_active_tasks is 1, and so many are queued or run: w b in B1. Wait for ",
        ),
        ({"max_active_tasks": 2}, {}, ["B1 b running"], None),
        ({"max_active_tasks": 1}, {}, ["B2 b running", "B1 b deferred"], None),
        (
            {},
            {"max_active_tis_per_dag": 1},
            ["B2 a deferred"],
            "max_active_tis_per_dag is 1, and so many are queued or run: w a in B2",
        ),
        ({"default_args": {"max_active_tis_per_dag": 1}}, {}, ["B2 a queued"], "max_active_tis_per_dag is 1, and so many"),
        ({"default_args": {"max_active_tis_per_dag": 1}}, {"max_active_tis_per_dag": 2}, ["B2 a queued"], None),
        ({}, {"max_active_tis_per_dagrun": 1}, ["B2 a running", "B1 b running"], None),
        ({}, {"max_active_tis_per_dagrun": 1}, ["B1 a running"], "max_active_tis_per_dagrun is 1, and so many"),
    ],
)
def test_a_limit_of_its_rows_keeps_a_task(
    accelerator, airflow: Airflow, workflow: dict[str, Any], task: dict[str, Any], others: list[str], line: str | None
) -> None:
    rows(batch())
    with write_session() as session:
        for row, values in ((session.get_one(Workflow, "w"), workflow), (session.get_one(Task, "a"), task)):
            for name, value in values.items():
                setattr(row, name, value)
    airflow.add("a", "scheduled")
    airflow.everywhere = [instance("w", *words) for other in others if len(words := other.split()) == 3]
    airflow.everywhere.append(instance("other", "B1", "a", "running"))
    said = accelerator("why", "a", "B1").out
    assert said.startswith(f"a waits as {line}" if line else "The scheduler has not queued a yet"), said


@pytest.mark.usefixtures("embedded_database")
def test_a_mistake_in_default_args_hides_no_reason(accelerator, airflow: Airflow) -> None:
    rows(batch())
    with write_session() as session:
        session.execute(text("UPDATE workflows SET default_args = '{broken', max_active_tasks = 1 WHERE workflow_id = 'w'"))
    airflow.add("a", "scheduled")
    airflow.everywhere = [instance("w", "B1", "b", "running")]
    assert accelerator("why", "a", "B1").out.startswith("a waits as max_active_tasks is 1")
