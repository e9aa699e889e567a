"""Remote jobs of which something cannot be read wait for it, and keep nothing else waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from sqlalchemy.exc import OperationalError

from provider.reconciler.airflow_database import DatabaseReader
from provider.reconciler.airflow_state import AirflowState, RunKey, read_airflow
from provider.reconciler.orphaned_jobs import OrphanedJobs
from tests.provider.reconciler.orphan_world import (
    KEY,
    LONG_AGO,
    SetClock,
    airflow,
    audit,
    ledger,
    look,
    operator,
    service,
)

__all__ = ["airflow", "operator", "service"]


def test_a_ledger_that_cannot_be_read_keeps_no_other_job_waiting(airflow, service) -> None:
    """Nested deeper than Python reads: a task's process writes what it likes."""
    from airflow.models.task_state_store import TaskStateStoreModel

    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    key = {"dag_id": "sales", "run_id": "b1", "task_id": "other", "map_index": -1, "dag_run_id": 1}
    deep = "[" * 100_000 + "]" * 100_000
    airflow.insert(TaskStateStoreModel, **key, key="remote_job", value=deep, updated_at=LONG_AGO)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == ["job-1"]


AWAY = OperationalError("", {}, Exception("connection closed"))
UNREADABLE = ValueError("unknown serialized operator")


def raising(error: Exception) -> Callable[..., NoReturn]:
    def fails(*_: object) -> NoReturn:
        raise error

    return fails


@pytest.mark.parametrize("call", ["operator_of_task", "last_report"])
def test_a_job_waits_while_airflow_is_away(airflow, service, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    jobs = OrphanedJobs(first_pause=timedelta(0))
    with monkeypatch.context() as patched:
        patched.setattr(DatabaseReader, call, raising(AWAY))
        with pytest.raises(OperationalError):
            look(jobs)
    assert jobs.finish(20)
    assert service.cancelled == ["job-1"]


def test_a_dag_that_cannot_be_read_keeps_no_other_job_running(
    airflow, service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for task_id, job_id in (("broken", "job-0"), ("load", "job-1")):
        airflow.task(task_id, "failed", updated_at=LONG_AGO)
        ledger(airflow, task_id=task_id, job={"id": job_id, "url": ""})
    of_task = DatabaseReader.operator_of_task

    def partly(reader: DatabaseReader, key: RunKey, task_id: str) -> Mapping[str, Any] | None:
        if task_id == "broken":
            raise UNREADABLE
        return of_task(reader, key, task_id)

    monkeypatch.setattr(DatabaseReader, "operator_of_task", partly)
    clock = SetClock(monkeypatch)
    jobs = OrphanedJobs(first_pause=timedelta(seconds=40))
    look(jobs)
    assert service.cancelled == ["job-1"]
    for attempts in (1, 2):
        assert caplog.text.count("Cannot cancel remote job 'job-0' of task broken, run b1 of sales, trying again in") == attempts
        clock.now += timedelta(minutes=1)
        look(jobs)
    (orphan,) = jobs._waiting.values()
    assert orphan.pause == timedelta(minutes=1)
    clock.now += timedelta(days=1)
    look(jobs)
    look(jobs)
    assert caplog.text.count("unknown serialized operator. End it in its service's console.") == 1
    assert (jobs._waiting, service.cancelled) == ({}, ["job-1"])


def test_nor_does_a_run_that_cannot_be_read_when_it_is_looked_at_again(airflow, service, monkeypatch: pytest.MonkeyPatch) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    audit(airflow, "failed", LONG_AGO)
    ledger(airflow)
    jobs = OrphanedJobs(first_pause=timedelta(0), look_again=timedelta(0))
    look(jobs)
    with read_airflow() as airflow_state:
        (run,) = airflow_state.load_runs([KEY]).values()
    jobs.look((), deleted=[replace(run, run_id="deleted")])
    monkeypatch.setattr(DatabaseReader, "operator_of_task", lambda *_: {"recording_conn_id": "c"})
    monkeypatch.setattr(DatabaseReader, "load_runs", raising(UNREADABLE))
    jobs.cancel_due()
    assert jobs.finish(20)
    assert service.cancelled == ["job-1"]
    assert [orphan.left for orphan in jobs._waiting.values()] == [True]


def test_a_job_is_not_cancelled_again_because_the_reader_could_not_be_closed(airflow, service) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    closings = [AWAY]

    @contextmanager
    def opened() -> Iterator[AirflowState]:
        with read_airflow() as airflow_state:
            yield airflow_state
        if closings:
            raise closings.pop()

    jobs = OrphanedJobs(opened, first_pause=timedelta(0))
    with pytest.raises(OperationalError):
        look(jobs)
    look(jobs)
    assert jobs.finish(20)
    assert service.cancelled == ["job-1"]
