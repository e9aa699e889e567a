"""What counts as a person's act in Airflow's audit log, and what does not."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from provider.reconciler.orphaned_jobs import OrphanedJobs
from tests.provider.reconciler.orphan_world import LONG_AGO, SetClock, airflow, audit, ledger, look, operator, service

if TYPE_CHECKING:
    from tests.provider.reconciler.conftest import AirflowDatabase

__all__ = ["airflow", "operator", "service"]


def test_a_task_that_failed_by_itself_leaves_its_job_running(airflow, service) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    audit(airflow, "failed", LONG_AGO)
    audit(airflow, "patch_task_instance", LONG_AGO - timedelta(minutes=1))
    ledger(airflow)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == []


@pytest.mark.parametrize(
    ("event", "values"), [("patch_task_instance", {}), ("patch_dag_run", {"task_id": None, "map_index": None})]
)
def test_a_person_who_ends_it_after_a_failed_try_ends_the_job(airflow, service, event: str, values: dict[str, Any]) -> None:
    """The scheduler says "failed" of a lost try that is followed by another; then a person ends the task."""
    airflow.task("load", "failed", updated_at=LONG_AGO)
    audit(airflow, "failed", LONG_AGO - timedelta(minutes=1))
    audit(airflow, event, LONG_AGO, **values)
    ledger(airflow)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == ["job-1"]


@pytest.mark.parametrize(
    "extra",
    [
        {"note": "the refresh goes on"},
        {"note": '"new_state": "failed"', "new_state": None},
        {"state": "queued"},
        {"new_state": {"failed": 1}},
        ["failed"],
        None,
    ],
)
@pytest.mark.parametrize("event", ["patch_task_instance", "patch_dag_run"])
def test_a_person_who_writes_a_note_ends_nothing(airflow, service, event: str, extra: Any) -> None:
    """Airflow logs a note under the same name as a new state. A reconciler that has just begun finds both."""
    airflow.task("load", "failed", updated_at=LONG_AGO)
    audit(airflow, "failed", LONG_AGO)
    audit(airflow, event, LONG_AGO + timedelta(minutes=1), extra=None if extra is None else json.dumps(extra))
    ledger(airflow)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == []


def test_what_a_person_did_to_another_task_says_nothing(airflow, service) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    audit(airflow, "failed", LONG_AGO - timedelta(minutes=1))
    audit(airflow, "patch_task_instance", LONG_AGO, task_id="other")
    ledger(airflow)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == []


def left_by_itself(airflow: AirflowDatabase) -> OrphanedJobs:
    """Return what has looked at a task that failed by itself, and has left its job alone."""
    airflow.task("load", "failed", updated_at=LONG_AGO)
    audit(airflow, "failed", LONG_AGO)
    ledger(airflow)
    jobs = OrphanedJobs(first_pause=timedelta(0), look_again=timedelta(0))
    look(jobs)
    return jobs


@pytest.mark.parametrize("event", ["patch_task_instance", "patch_dag_run"])
def test_a_person_may_end_later_what_failed_by_itself(airflow, service, event: str) -> None:
    """Airflow changes nothing of a task that has failed already; its audit log alone tells."""
    jobs = left_by_itself(airflow)
    assert service.cancelled == []
    audit(airflow, event, LONG_AGO + timedelta(minutes=1), **({"task_id": None} if event == "patch_dag_run" else {}))
    look(jobs)
    look(jobs)
    assert service.cancelled == ["job-1"]


def test_a_run_that_is_deleted_later_leaves_no_job(airflow, service) -> None:
    jobs = left_by_itself(airflow)
    assert jobs.finish(0), "nobody waits for what a person may do"
    airflow.delete_run("b1")
    look(jobs)
    look(jobs)
    assert service.cancelled == ["job-1"]


def test_what_failed_by_itself_and_runs_again_is_no_longer_looked_at(airflow, service) -> None:
    from airflow.models.taskinstance import TaskInstance

    jobs = left_by_itself(airflow)
    airflow.set(TaskInstance, {"task_id": "load"}, state="running", try_number=2)
    audit(airflow, "patch_task_instance", LONG_AGO + timedelta(minutes=1))
    look(jobs)
    assert (service.cancelled, jobs._waiting) == ([], {})


def test_what_goes_on_keeps_no_other_waiting(airflow, service) -> None:
    from airflow.models.taskinstance import TaskInstance

    for number in (1, 2):
        airflow.task("load", "failed", updated_at=LONG_AGO, map_index=number)
        audit(airflow, "failed", LONG_AGO, map_index=number)
        ledger(airflow, map_index=number, job={"id": f"job-{number}", "url": ""})
    jobs = OrphanedJobs(first_pause=timedelta(0), look_again=timedelta(0))
    look(jobs)
    airflow.set(TaskInstance, {"map_index": 1}, state="running", try_number=2)
    audit(airflow, "patch_task_instance", LONG_AGO + timedelta(minutes=1), map_index=2)
    look(jobs)
    assert service.cancelled == ["job-2"]


def test_what_failed_by_itself_is_looked_at_for_a_day(airflow, service, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SetClock(monkeypatch)
    jobs = left_by_itself(airflow)
    clock.now += timedelta(days=1) - timedelta(microseconds=1)
    jobs.cancel_due()
    assert len(jobs._waiting) == 1
    clock.now += timedelta(microseconds=1)
    jobs.cancel_due()
    assert (jobs._waiting, service.cancelled) == ({}, [])


@pytest.mark.parametrize(("marked", "cancelled"), [("0", []), ("1", ["job-1"]), (None, ["job-1"])])
def test_a_mark_on_one_map_index_ends_no_other(airflow, service, marked: str | None, cancelled: list[str]) -> None:
    airflow.task("load", "failed", map_index=1, updated_at=LONG_AGO)
    audit(airflow, "failed", LONG_AGO, map_index=1)
    extra = {"new_state": "failed", **({} if marked is None else {"map_index": marked})}
    audit(airflow, "patch_task_instance", LONG_AGO + timedelta(minutes=1), map_index=None, extra=json.dumps(extra))
    ledger(airflow, map_index=1)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == cancelled
