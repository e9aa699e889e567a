"""Jobs of deleted runs that no living process has seen: their handles are in the application database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest
from sqlalchemy.exc import OperationalError

from provider.metadata.engine import read_session
from provider.metadata.record_tables import TaskLog
from provider.reconciler import passes
from provider.reconciler.airflow_api import ApiReader
from provider.reconciler.airflow_database import DatabaseReader
from provider.reconciler.airflow_state import RemoteJobState, TryState
from provider.reconciler.passes import Reconciler
from provider.reconciler.stored_jobs import stored_job
from tests.provider.reconciler.batch_rows import provisional
from tests.provider.reconciler.conftest import AirflowDatabase
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


@pytest.fixture
def told(one: Reconciler) -> Callable[..., None]:
    """Let the process of a task tell of a job after the last look, delete the run, and end what then runs for nobody."""

    def tell(airflow: AirflowDatabase, *handles: tuple[int, Any, Any]) -> None:
        assert one.tick()
        for number, job, intent in handles:
            provisional("load", "PROCESSING", number, remote_job={"service": RECORDED, "job": job, "intent": intent})
        airflow.delete_run("b1")
        for _ in range(2):
            assert one.tick()
            assert one.finish_jobs(20)

    return tell


OTHER = {"id": "job-0", "url": ""}


def test_so_is_that_of_a_second_remote_task(airflow, service, told) -> None:
    """The first one's job was seen; of the second one's the row alone knows."""
    airflow.task("extract", "success", updated_at=LONG_AGO)
    ledger(airflow, task_id="extract", job=OTHER, outcome="success")
    airflow.task("load", "running", updated_at=LONG_AGO)
    told(airflow, (1, JOB, None))
    assert service.cancelled == ["job-1"]


def test_so_is_that_of_a_second_try(airflow, service, told) -> None:
    airflow.task("load", "up_for_retry", updated_at=datetime.now(UTC), max_tries=1)
    ledger(airflow, outcome="failed", job=OTHER)
    told(airflow, (2, JOB, None))
    assert service.cancelled == ["job-1"]


def test_so_are_those_of_several_tries(airflow, service, told) -> None:
    airflow.task("load", "running", updated_at=LONG_AGO)
    service.found = [{"id": "job-2", "url": ""}]
    told(airflow, (1, OTHER, None), (2, JOB, None), (3, None, {"since": "then"}))
    assert sorted(service.cancelled) == ["job-0", "job-1", "job-2"]


@pytest.mark.parametrize(
    ("kept", "handles", "cancelled"),
    [
        ({}, [(1, JOB, None)], ["job-1"]),
        ({}, [(2, {**JOB, "url": "elsewhere"}, None)], ["job-1"]),
        ({"outcome": "success"}, [(1, JOB, None)], []),
        ({"job": None, "intent": {"since": "then"}}, [(1, None, {"since": "then"})], ["job-2"]),
        (None, [(1, JOB, None), (2, JOB, None)], ["job-1"]),
    ],
    ids=["seen", "seen in an earlier try", "ended", "looked up", "in two rows"],
)
def test_a_job_that_is_known_twice_is_ended_once(
    airflow, service, told, kept: dict[str, Any] | None, handles: list[tuple[int, Any, Any]], cancelled: list[str]
) -> None:
    airflow.task("load", "running", updated_at=LONG_AGO)
    service.found = [{"id": "job-2", "url": ""}] * 2
    if kept is not None:
        ledger(airflow, **kept)
    told(airflow, *handles)
    assert service.cancelled == cancelled


def test_a_look_at_the_rows_that_fails_is_made_again(airflow, service, one: Reconciler, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch has ended by then, and nothing else leads to the run."""
    airflow.task("load", "running", updated_at=LONG_AGO)
    ledger(airflow)
    assert one.tick()
    airflow.delete_run("b1")

    def away(*_: object) -> NoReturn:
        raise OperationalError("", {}, Exception("connection closed"))

    with monkeypatch.context() as patched:
        patched.setattr(passes, "runs_of_rows", away)
        with pytest.raises(OperationalError):
            one.tick()
    assert one.tick()
    assert one.finish_jobs(20)
    assert service.cancelled == ["job-1"]


def test_a_dag_that_cannot_be_read_stops_no_pass(airflow, service, one: Reconciler, monkeypatch: pytest.MonkeyPatch) -> None:
    airflow.task("load", "running", updated_at=LONG_AGO)
    ledger(airflow)
    assert one.tick()
    airflow.delete_run("b1")

    def unreadable(*_: object) -> NoReturn:
        raise ValueError("unknown serialized operator")

    with monkeypatch.context() as patched:
        for reader in (DatabaseReader, ApiReader):
            patched.setattr(reader, "operator_of_task", unreadable)
        for _ in range(2):
            assert one.tick()
    assert one.finish_jobs(20)
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
        jobs(job={**JOB, "half": "\ud800"}),
        jobs(job={**JOB, "text": object()}),
        jobs(job={**JOB, 1: "a"}),
        jobs(job={**JOB, "deep": nested(18)}),
        jobs(job={**JOB, "deep": nested(900)}),
        jobs(job={**JOB, "deep": nested(4000)}),
        None,
    ],
)
def test_what_is_not_kept(not_kept: RemoteJobState | None) -> None:
    assert stored_job(attempt(), not_kept) is None


def test_one_that_is_as_deep_as_may_be_is_kept() -> None:
    deepest = {**JOB, "deep": nested(17)}
    assert stored_job(attempt(), jobs(job=deepest)) == {"service": RECORDED, "job": deepest, "intent": None}


def test_only_the_task_instance_itself_has_a_job() -> None:
    assert stored_job(attempt(), jobs()) == {"service": RECORDED, "job": JOB, "intent": None}
    assert stored_job(attempt(live=False), jobs()) is None
