"""Why a task is not queued: nothing but the moment, or a limit that its rows set."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from provider.airflow_view.view import TaskBefore
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
        # What does not count takes no place among those that are asked for.
        ({"max_active_tasks": 1}, {}, ["B1 b deferred"] * 105 + ["B1 b running"], "max_active_tasks is 1, and so many"),
        (
            {},
            {"max_active_tis_per_dag": 1},
            ["B2 b running"] * 105 + ["B2 a running"],
            "max_active_tis_per_dag is 1, and so many are queued or run: w a in B2.",
        ),
        (
            {},
            {"max_active_tis_per_dagrun": 1},
            ["B1 b running"] * 105 + ["B1 a running"],
            "max_active_tis_per_dagrun is 1, and so many are queued or run: w a in B1.",
        ),
        (
            {"max_active_tasks": 110},
            {},
            ["B1 b running"] * 111,
            f"max_active_tasks is 110, and so many are queued or run: {', '.join(['w b in B1'] * 5)} and at least 105 more. Wait",
        ),
        (
            {"max_active_tasks": 10},
            {},
            ["B1 b running"] * 12,
            f"max_active_tasks is 10, and so many are queued or run: {', '.join(['w b in B1'] * 5)} and 7 more. Wait",
        ),
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


WAITS = "a waits, as depends_on_past says, for the same task of the run before, B0"


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(
    ("states", "line"),
    [
        (("failed",), f"{WAITS} (failed). Let it succeed there, or mark it there as a success in Airflow."),
        (("success", "upstream_failed", "running"), f"{WAITS} (running, upstream_failed). Let it"),
        ((None,), f"{WAITS} (not begun). Ask for that one."),
        ((), f"{WAITS}, which has no such task. Take depends_on_past from the row of the task until run B1 has ended."),
        (("success", "skipped"), "The scheduler has not queued a yet"),
    ],
)
def test_a_task_that_depends_on_the_run_before(accelerator, airflow: Airflow, states: tuple[str | None, ...], line: str) -> None:
    rows(batch())
    with write_session() as session:
        session.get_one(Task, "a").depends_on_past = True
    airflow.add("a", None)
    airflow.before = {False: TaskBefore("B0", states)}
    assert accelerator("why", "a", "B1").out.startswith(line)
    airflow.tasks[0]["state"] = "scheduled"
    assert accelerator("why", "a", "B1").out.startswith("The scheduler has not queued a yet"), "it has passed that already"


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(
    ("workflow", "task", "scheduled"),
    [
        ({}, {}, None),
        ({"default_args": {"depends_on_past": True}}, {}, False),
        ({"default_args": {"depends_on_past": True}}, {"depends_on_past": False}, None),
        ({"catchup": True}, {"depends_on_past": True}, True),
    ],
)
def test_what_its_rows_say_of_the_run_before(
    accelerator, airflow: Airflow, workflow: dict[str, Any], task: dict[str, Any], scheduled: bool | None
) -> None:
    rows(batch())
    with write_session() as session:
        for row, values in ((session.get_one(Workflow, "w"), workflow), (session.get_one(Task, "a"), task)):
            for name, value in values.items():
                setattr(row, name, value)
    airflow.add("a", None)
    airflow.before = {counts: TaskBefore(f"only scheduled {counts}", ["failed"]) for counts in (True, False)}
    said = accelerator("why", "a", "B1").out
    assert (f"of the run before, only scheduled {scheduled} (failed)" in said) is (scheduled is not None), said


@pytest.mark.usefixtures("embedded_database")
def test_a_mistake_in_default_args_hides_no_reason(accelerator, airflow: Airflow) -> None:
    rows(batch())
    with write_session() as session:
        session.execute(text("UPDATE workflows SET default_args = '{broken', max_active_tasks = 1 WHERE workflow_id = 'w'"))
    airflow.add("a", "scheduled")
    airflow.everywhere = [instance("w", "B1", "b", "running")]
    assert accelerator("why", "a", "B1").out.startswith("a waits as max_active_tasks is 1")
