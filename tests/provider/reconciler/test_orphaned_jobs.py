"""Which remote jobs the reconciler cancels, and how often it tries."""

from __future__ import annotations

import inspect
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator

from provider.airflow_internals.dags import Unsaid
from provider.hooks.remote_job import CannotCancelError, JobNotFoundError, JobStatus, RemoteCallError
from provider.hooks.remote_service import service_class
from provider.operators.dataform import DataformWorkflowInvocationOperator
from provider.operators.powerbi import PowerBIDataflowRefreshOperator, PowerBISemanticModelRefreshOperator
from provider.reconciler import orphaned_jobs
from provider.reconciler.airflow_state import read_airflow
from provider.reconciler.orphaned_jobs import OrphanedJobs
from tests.provider.reconciler.orphan_world import (
    JOB,
    KEY,
    LONG_AGO,
    RECORDED,
    SetClock,
    airflow,
    audit,
    ledger,
    look,
    operator,
    service,
)

if TYPE_CHECKING:
    from tests.provider.reconciler.conftest import AirflowDatabase

__all__ = ["airflow", "operator", "service"]


@pytest.mark.parametrize("state", ["failed", "success", "skipped"])
def test_a_job_whose_task_a_person_ended_is_cancelled_once(airflow, service, state: str) -> None:
    airflow.task("load", state, updated_at=LONG_AGO)
    ledger(airflow)
    jobs = OrphanedJobs(first_pause=timedelta(0))
    look(jobs)
    look(jobs)
    assert service.cancelled == ["job-1"]


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "up_for_retry", "failed"])
def test_the_job_of_a_cleared_task_does_not_wait_for_its_next_try(airflow, service, state: str | None) -> None:
    airflow.task("load", state, updated_at=LONG_AGO, max_tries=3)
    audit(airflow, "failed", LONG_AGO)
    ledger(airflow, chain=2)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == ["job-1"]


def test_a_task_that_was_cleared_while_it_ran_has_its_job_cancelled_although_its_process_is_lost(airflow, service) -> None:
    airflow.task("load", "restarting", updated_at=LONG_AGO, max_tries=3)
    ledger(airflow, chain=3)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == ["job-1"]


def test_a_cleared_task_without_a_recorded_job_is_left_to_its_next_try(airflow, service) -> None:
    """What a look-up finds might be what that try has just started."""
    airflow.task("load", None, updated_at=LONG_AGO, max_tries=3)
    ledger(airflow, chain=2, job=None, intent={"since": "then"})
    service.found = [{"id": "job-2", "url": ""}]
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == []


@pytest.mark.parametrize(("state", "chain"), [("running", 2), ("deferred", 2), ("up_for_retry", 3), (None, 3)])
def test_a_try_that_runs_or_is_a_retry_looks_after_the_job_itself(airflow, service, state: str | None, chain: int) -> None:
    airflow.task("load", state, updated_at=LONG_AGO, max_tries=3)
    ledger(airflow, chain=chain)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == []


@pytest.mark.parametrize(("hours", "cancelled"), [(23, ["job-1"]), (25, [])])
def test_what_ended_more_than_a_day_ago_is_left(airflow, service, hours: int, cancelled: list[str]) -> None:
    airflow.task("load", "failed", updated_at=datetime.now(UTC) - timedelta(hours=hours))
    ledger(airflow)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == cancelled


@pytest.mark.parametrize("state", ["running", "deferred", "up_for_retry", "queued", None])
def test_a_task_that_has_not_ended_keeps_its_job(airflow, service, state: str | None) -> None:
    airflow.task("load", state, updated_at=LONG_AGO)
    ledger(airflow)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == []


@pytest.mark.parametrize(
    "values",
    [{"outcome": "success"}, {"outcome": "failed"}, {"service": None}, {"job": {**JOB, "adopted": True}}, {"job": None}],
    ids=["succeeded", "failed", "cancel_on_kill off", "adopted", "never started"],
)
def test_jobs_that_are_not_ours_to_cancel(airflow, service, values: dict[str, Any]) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow, **values)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == []


def test_the_task_s_own_processes_come_first(airflow, service) -> None:
    airflow.task("load", "failed", updated_at=datetime.now(UTC))
    ledger(airflow)
    jobs = OrphanedJobs(first_pause=timedelta(0))
    look(jobs)
    assert service.cancelled == []
    (orphan,) = jobs._waiting.values()
    assert orphan.attempt.updated_at is not None
    assert orphan.due_at - orphan.attempt.updated_at == orphaned_jobs._GRACE


def test_a_job_that_has_ended_is_not_cancelled(airflow, service) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    service.answer = JobStatus("done")
    look(OrphanedJobs(first_pause=timedelta(0)))
    service.answer = JobNotFoundError("unknown")
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.cancelled == []


def test_a_service_that_answers_nonsense_is_asked_again(airflow, service, caplog: pytest.LogCaptureFixture) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    service.answer = RemoteCallError("503")
    service.answers = [RemoteCallError("503"), RuntimeError("what?"), None]
    look(OrphanedJobs(first_pause=timedelta(0)), until=lambda: len(service.cancelled) == 3)
    assert "Cannot cancel remote job 'job-1' of task load, run b1 of sales" in caplog.text


def test_a_job_that_cannot_be_cancelled_is_told_once(airflow, service, caplog: pytest.LogCaptureFixture) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    service.answers = [CannotCancelError("a classic refresh")]
    jobs = OrphanedJobs(first_pause=timedelta(0))
    look(jobs)
    look(jobs)
    assert caplog.text.count("keeps running: a classic refresh") == 1


@pytest.mark.parametrize(
    ("state", "values", "said"),
    [
        ("failed", {}, "Cancelled the remote job 'job-1' of task load, run b1 of sales: a person ended its task."),
        (None, {"chain": 2}, "Cancelled the remote job 'job-1' of task load, run b1 of sales: a person cleared its task."),
        (
            "failed",
            {"job": None, "intent": {"since": "then"}},
            "Cancelled the remote job that may have been started of task load, run b1 of sales: a person ended its task.",
        ),
    ],
)
def test_the_log_says_which_job_was_cancelled_and_why(
    airflow, service, caplog: pytest.LogCaptureFixture, state: str | None, values: dict[str, Any], said: str
) -> None:
    airflow.task("load", state, updated_at=LONG_AGO)
    ledger(airflow, **values)
    service.found = [{"id": "job-2", "url": ""}]
    with caplog.at_level("INFO"):
        look(OrphanedJobs(first_pause=timedelta(0)))
    assert said in caplog.messages


def test_the_pause_between_attempts_doubles_up_to_a_minute(airflow, service, monkeypatch: pytest.MonkeyPatch) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    service.answers = [RemoteCallError("503") for _ in range(9)]
    clock = SetClock(monkeypatch)
    jobs = OrphanedJobs(first_pause=timedelta(seconds=10))
    look(jobs)
    for attempts, pause in enumerate([10, 20, 40, 60, 60], 1):
        look(jobs)  # takes the answer
        clock.now += timedelta(seconds=pause) - timedelta(microseconds=1)
        look(jobs)
        assert len(service.cancelled) == attempts
        clock.now += timedelta(microseconds=1)
        look(jobs)
        assert len(service.cancelled) == attempts + 1


def test_so_many_cases_are_remembered_and_the_oldest_forgotten(airflow, service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphaned_jobs, "_REMEMBERED", 2)
    for number in (1, 2, 3):
        airflow.task("load", "failed", updated_at=LONG_AGO, map_index=number)
        ledger(airflow, map_index=number, job={"id": f"job-{number}", "url": ""})
    jobs = OrphanedJobs(first_pause=timedelta(0))
    look(jobs)
    assert sorted(service.cancelled) == ["job-1", "job-2", "job-3"]
    look(jobs)
    assert service.cancelled[3:] == ["job-1"]


def test_the_end_waits_for_what_is_due_meanwhile(airflow, service) -> None:
    jobs = OrphanedJobs(first_pause=timedelta(0))
    assert jobs.finish(0)
    airflow.task("load", "failed", updated_at=datetime.now(UTC))
    ledger(airflow)
    with read_airflow() as airflow_state:
        jobs.look(airflow_state.load_runs([KEY]).values())
    assert not jobs.finish(0)
    assert jobs.finish(20)
    assert service.cancelled == ["job-1"]


def test_the_end_does_not_wait_for_ever(airflow, service, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(service, "cancel", lambda _service, _job: let_go.wait(20))
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    jobs = OrphanedJobs(first_pause=timedelta(0))
    with read_airflow() as airflow_state:
        jobs.look(airflow_state.load_runs([KEY]).values())
    assert not jobs.finish(0)
    let_go.set()
    assert jobs.finish(20)


def test_a_cancel_that_hangs_keeps_no_answer_of_another_waiting(airflow, service, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(service, "cancel", lambda _service, job: job["id"] == "job-1" and let_go.wait(20))
    for number in (1, 2):
        airflow.task("load", "failed", updated_at=LONG_AGO, map_index=number)
        ledger(airflow, map_index=number, job={"id": f"job-{number}", "url": ""})
    jobs = OrphanedJobs(first_pause=timedelta(0))
    with read_airflow() as airflow_state:
        jobs.look(airflow_state.load_runs([KEY]).values())
    jobs.cancel_due()
    (first, hangs), (_second, done) = jobs._working.values()
    assert first.job_id == "'job-1'"
    assert done.result(10)
    jobs.cancel_due()
    assert [future for _orphan, future in jobs._working.values()] == [hangs]
    let_go.set()
    assert jobs.finish(20)


def test_a_start_that_was_never_recorded_is_looked_up(airflow, service) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow, job=None, intent={"since": "then"})
    service.found = [None, None, {"id": "job-2", "url": ""}]
    look(OrphanedJobs(first_pause=timedelta(0)), until=lambda: bool(service.cancelled))
    assert service.cancelled == ["job-2"]


def delete_its_run(airflow: AirflowDatabase) -> OrphanedJobs:
    """Delete the run, and let the reconciler see that."""
    with read_airflow() as airflow_state:
        seen = airflow_state.load_runs([KEY])
    airflow.delete_run("b1")
    jobs = OrphanedJobs(first_pause=timedelta(0))
    jobs.look((), deleted=seen.values())
    return jobs


def test_the_job_of_a_deleted_run_is_cancelled(airflow, service) -> None:
    airflow.task("load", "deferred", updated_at=LONG_AGO)
    ledger(airflow)
    jobs = delete_its_run(airflow)
    look(jobs)
    assert service.cancelled == ["job-1"]


def test_the_job_of_a_deleted_run_is_cancelled_at_once_though_its_task_failed_by_itself(
    airflow, service, caplog: pytest.LogCaptureFixture
) -> None:
    airflow.task("load", "failed", updated_at=datetime.now(UTC))
    audit(airflow, "failed", datetime.now(UTC))
    ledger(airflow)
    jobs = delete_its_run(airflow)
    with caplog.at_level("INFO"):
        look(jobs)
    assert service.cancelled == ["job-1"]
    assert "a person deleted its run." in caplog.text


@pytest.mark.parametrize("name", ["os.system", "provider.hooks.powerbi.hook.PowerBIHook", "", None, {"a": 1}])
def test_only_services_that_are_installed_are_opened(airflow, service, caplog: pytest.LogCaptureFixture, name: Any) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow, service={"name": name, "conn_id": "c"})
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert "No remote service is called" in caplog.text
    assert service.opened == []


def test_connection_and_identity_are_those_of_the_definition(airflow, service) -> None:
    """What a task wrote must not send the scheduler's credentials anywhere."""
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow, service={**RECORDED, "identity": ["admin"], "host": "https://evil.example", "api_endpoint": "evil:443"})
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.opened == [{"recording_conn_id": "c", "identity": ["somebody"]}]
    assert service.cancelled == ["job-1"]


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({"recording_conn_id": "other"}, "the task's definition says recording_conn_id 'other', and its ledger 'c'"),
        ({"recording_conn_id": "{{ params.c }}"}, "recording_conn_id is a template"),
        ({"identity": "{% if 1 %}x{% endif %}"}, "identity is a template"),
        ({"recording_conn_id": None}, "the task's definition says recording_conn_id None"),
        ({"recording_conn_id": Unsaid.EXPANDED}, "recording_conn_id is another one for each map index"),
        ({"identity": Unsaid.EXPANDED}, "identity is another one for each map index"),
        (None, "the DAG's definition is gone"),
    ],
)
def test_job_is_left_where_the_definition_does_not_agree(
    airflow, service, operator, caplog: pytest.LogCaptureFixture, definition: dict[str, Any] | None, said: str
) -> None:
    if definition is None:
        operator.clear()
    else:
        operator.update(definition)
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert said in caplog.text
    assert service.opened == service.cancelled == []


def test_a_mapped_task_that_names_no_connection_has_the_default(airflow, service, operator) -> None:
    """Airflow keeps no defaults of a mapped task's operator."""
    operator.update(recording_conn_id=Unsaid.DEFAULT, identity=Unsaid.DEFAULT)
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert service.opened == [{"recording_conn_id": "c", "identity": None}]
    assert service.cancelled == ["job-1"]


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("dataform", DataformWorkflowInvocationOperator),
        ("powerbi", PowerBISemanticModelRefreshOperator),
        ("powerbi", PowerBIDataflowRefreshOperator),
        ("bigquery", GCSToBigQueryOperator),  # of which ours inherit
        ("bigquery", BigQueryInsertJobOperator),
    ],
)
def test_an_operator_has_the_default_connection_of_its_service(name: str, operator: Any) -> None:
    service = service_class(name)
    signatures = [inspect.signature(one.__init__).parameters for one in operator.__mro__]
    default = next(one[service.connection_fields[0]].default for one in signatures if service.connection_fields[0] in one)
    assert default == service.default_conn_name


@pytest.mark.parametrize("job", [{"id": 7, "url": "x"}, {"url": "x", "id": None}, {"id": ["a"]}])
def test_handle_that_is_none_is_not_sent_anywhere(airflow, service, caplog: pytest.LogCaptureFixture, job: Any) -> None:
    airflow.task("load", "failed", updated_at=LONG_AGO)
    ledger(airflow, job=job)
    look(OrphanedJobs(first_pause=timedelta(0)))
    assert "is not what this service records" in caplog.text
    assert service.cancelled == []


def test_the_event_loop_is_not_the_reconciler_s(service) -> None:
    """A service that hangs must not stop the mirroring of other runs."""
    jobs = OrphanedJobs(first_pause=timedelta(0))

    async def where() -> str:
        return threading.current_thread().name

    assert jobs._calls.submit(where()).result(10) == "accelerator-orphaned-jobs"
