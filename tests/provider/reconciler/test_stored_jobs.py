"""Jobs of deleted runs that no living process has seen: their handles are in the application database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from provider.metadata.engine import read_session
from provider.metadata.record_tables import TaskLog
from provider.reconciler.airflow_state import RemoteJobState, TryState
from provider.reconciler.passes import Reconciler
from provider.reconciler.stored_jobs import stored_job
from tests.provider.reconciler.batch_rows import provisional
from tests.provider.reconciler.orphan_world import JOB, LONG_AGO, RECORDED, airflow, ledger, operator, service

__all__ = ["airflow", "operator", "service"]

pytestmark = pytest.mark.usefixtures("application_database")


def remote_job() -> Any:
    with read_session() as session:
        return session.query(TaskLog.remote_job).filter(TaskLog.task_id == "load").scalar()


def leads_and_dies() -> None:
    """Make one pass, as a process that remembers nothing afterwards."""
    gone = Reconciler()
    assert gone.tick()
    gone.release()


def lives_again() -> None:
    """Make the first pass of a process that remembers nothing, and wait for what it cancels."""
    reconciler = Reconciler()
    try:
        assert reconciler.tick()
        assert reconciler.finish_jobs(20)
    finally:
        reconciler.release()


@pytest.mark.parametrize("state", ["deferred", "running"])
def test_the_job_of_a_run_that_was_deleted_while_nobody_lived_is_cancelled(airflow, service, state: str) -> None:
    airflow.task("load", state, updated_at=LONG_AGO)
    ledger(airflow)
    leads_and_dies()
    assert remote_job() == {"service": RECORDED, "job": JOB, "intent": None}
    airflow.delete_run("b1")
    lives_again()
    assert service.cancelled == ["job-1"]
    assert service.opened == [{"recording_conn_id": "c", "identity": ["somebody"]}]


def test_so_is_that_of_a_run_whose_batch_had_ended_before(airflow, service) -> None:
    from airflow.models.dagrun import DagRun

    airflow.task("load", "failed", updated_at=datetime.now(UTC))
    airflow.set(DagRun, {"run_id": "b1"}, state="failed", end_date=datetime.now(UTC))
    ledger(airflow)
    leads_and_dies()
    airflow.delete_run("b1")
    lives_again()
    assert service.cancelled == ["job-1"]


def test_a_start_that_was_never_recorded_is_looked_up(airflow, service) -> None:
    airflow.task("load", "running", updated_at=LONG_AGO)
    ledger(airflow, job=None, intent={"since": "then"})
    service.found = [{"id": "job-2", "url": ""}]
    leads_and_dies()
    airflow.delete_run("b1")
    lives_again()
    assert service.cancelled == ["job-2"]


@pytest.mark.parametrize("lives", [True, False])
def test_the_job_of_a_run_that_was_deleted_before_anybody_looked_is_cancelled(airflow, service, lives: bool) -> None:
    """Its process has told of it, and deferred; the reconciler has not looked since, or has looked before and died."""
    airflow.task("load", "running", updated_at=LONG_AGO)
    looks = Reconciler()
    assert looks.tick()
    provisional("load", "PROCESSING", remote_job={"service": RECORDED, "job": JOB, "intent": None})
    looks._seen = {}
    assert looks.tick()  # its state of the task is written again, and has no job
    assert remote_job() == {"service": RECORDED, "job": JOB, "intent": None}
    airflow.delete_run("b1")
    if lives:
        assert looks.tick()
        assert looks.finish_jobs(20)
    looks.release()
    if not lives:
        lives_again()
    assert service.cancelled == ["job-1"]


def test_the_handle_goes_with_the_end_of_the_job(airflow, service) -> None:
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.taskinstance import TaskInstance

    airflow.task("load", "deferred", updated_at=LONG_AGO)
    ledger(airflow)
    leads_and_dies()
    airflow.set(
        TaskStateStoreModel, {"task_id": "load"}, value=json.dumps({"job": JOB, "outcome": "success", "service": RECORDED})
    )
    airflow.set(TaskInstance, {"task_id": "load"}, state="success", updated_at=datetime.now(UTC))
    leads_and_dies()
    assert remote_job() is None
    airflow.delete_run("b1")
    lives_again()
    assert service.opened == []


def attempt(state: str = "deferred", *, live: bool = True) -> TryState:
    return TryState("load", -1, 1, state, LONG_AGO, None, LONG_AGO, live)


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def jobs(**values: Any) -> RemoteJobState:
    return RemoteJobState(**{"tries": {}, "job": JOB, "running": True, "service": RECORDED, **values})


@pytest.mark.parametrize(
    "not_kept",
    [
        jobs(running=False),
        jobs(service=None),
        jobs(job={**JOB, "adopted": True}),
        jobs(job=None),
        jobs(job={**JOB, "password": "hunter2"}),
        jobs(job={**JOB, "id": "x" * 20_000}),
        jobs(job={**JOB, "id": "a\0b"}),
        jobs(job={**JOB, "share": float("nan")}),
        jobs(job={**JOB, "deep": nested(900)}),
        jobs(job={**JOB, "deep": nested(4000)}),
        None,
    ],
)
def test_what_is_not_kept(not_kept: RemoteJobState | None) -> None:
    assert stored_job(attempt(), not_kept) is None


def test_only_the_task_instance_itself_has_a_job() -> None:
    assert stored_job(attempt(), jobs()) == {"service": RECORDED, "job": JOB, "intent": None}
    assert stored_job(attempt(live=False), jobs()) is None
