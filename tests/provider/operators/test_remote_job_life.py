"""The life of a remote job in its operator, by a service in memory and a clock that only moves when somebody sleeps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout, TaskDeferred

from provider.airflow_internals import supervisor
from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks import wait_budget
from provider.hooks.remote_job import JobBusyError, JobStatus, RemoteCallError
from provider.hooks.wait_budget import WaitBudget
from provider.operators import patient_service, remote_job
from provider.operators.patient_service import PatientService
from provider.operators.remote_job import CANCEL_STATES
from tests.provider.clock import Clock
from tests.provider.operators.conftest import TaskLife
from tests.provider.operators.scripted_operator import CONNECTION, JobOperator, life_with
from tests.provider.operators.scripted_service import DONE, JOB, OTHER, REQUEST, RUNNING, ScriptedService

BUDGET = WaitBudget(lookup=0.0, accepted_lookup=0.0, patience=0.0, cancelled=60.0)
ENDED = JobStatus("done", "Completed", result={"rows": 7})
ADOPTED = {**OTHER, "adopted": True}
UNNAMED, NAMED = JobBusyError("busy", other=None), JobBusyError("busy", other=OTHER)
IN_THE_WAY = "It is in the way of this task's own job, which was not started."


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    for module in (patient_service, remote_job):
        monkeypatch.setattr(module, "jittered", lambda seconds: seconds)
    clock = Clock(monkeypatch, patient_service, wait_budget, remote_job)
    return clock


@pytest.fixture
def life(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TaskLife]:
    """Make a task that a scripted service works for; ``task.service`` is the service."""

    def make(cls: type[JobOperator] = JobOperator, **kwargs: Any) -> Any:
        answers = {name: kwargs.pop(name) for name in ("starts", "finds", "statuses", "cancels", "prepares") if name in kwargs}
        service = ScriptedService(budget=BUDGET, **answers)
        task: Any = life_with(service, monkeypatch, cls=cls, **{"budget": BUDGET, **kwargs})
        task.service = service
        return task

    return make


def deferral_of(outcome: Any) -> TaskDeferred:
    assert isinstance(outcome, TaskDeferred)
    return outcome


class TestWait:
    def test_it_goes_on_in_the_triggerer(self, life, clock):
        task = life(http_timeout=7.0, poll_interval=11.0)
        began = clock.now

        deferral = deferral_of(task.begin())

        assert deferral.method_name == "execute_complete"
        assert deferral.kwargs == {"job": JOB, "deadline": began + 600.0}
        assert deferral.trigger.serialize()[1] == {
            "service": "scripted",
            "connection": CONNECTION,
            "job": JOB,
            "poll_interval": 11.0,
            "cancel_on_kill": True,
            "budget": {**BUDGET.to_json(), "call": 7.0, "deadline": began + 600.0},
        }
        assert task.ti.xcoms == {"remote_job_id": JOB["id"], "remote_job_url": JOB["url"]}
        assert task.operator.remote_job == {"id": JOB["id"], "url": JOB["url"]}
        assert task.operator.earlier == [None]

    @pytest.mark.parametrize(
        ("wait_timeout", "execution_timeout", "seconds"),
        [(600.0, None, 600.0), (600.0, 90, 90.0), (60.0, 90, 60.0), (None, 90, 90.0), (None, None, None)],
    )
    def test_the_nearer_limit_is_its_end(self, life, clock, wait_timeout, execution_timeout, seconds):
        limit = None if execution_timeout is None else timedelta(seconds=execution_timeout)
        deferral = deferral_of(life(wait_timeout=wait_timeout, execution_timeout=limit).begin())

        assert deferral.kwargs is not None
        assert deferral.kwargs["deadline"] == (None if seconds is None else clock.now + seconds)

    def test_short_job_ends_in_the_worker(self, life, clock):
        task = life(statuses=[RUNNING, ENDED], initial_wait=20.0)

        assert task.begin() == {"rows": 7}
        assert clock.naps == [5.0]
        assert task.entry["outcome"] == "success"

    def test_blocking_task_holds_its_slot_for_as_long_as_the_job_runs(self, life, clock):
        assert life(statuses=[RUNNING, RUNNING, ENDED], deferrable=False, poll_interval=15.0).begin() == {"rows": 7}
        assert clock.naps == [15.0, 15.0]

    def test_it_is_resumed_by_its_event_and_asks_the_service_again(self, life):
        task = life()
        deferral = deferral_of(task.begin())
        task.service.statuses = [ENDED]

        assert task.resume(deferral, {"status": "ended", "job_id": JOB["id"]}) == {"rows": 7}
        assert task.operator.remote_job == {"id": JOB["id"], "url": JOB["url"]}

    def test_resumed_wait_has_the_same_end(self, life, clock):
        task = life()
        first = deferral_of(task.begin())
        clock.now += 100.0

        again = deferral_of(task.resume(first, {"status": "ended", "job_id": JOB["id"]}))
        assert again.kwargs == first.kwargs

    def test_the_ledger_names_the_job_where_the_event_comes_alone(self, life):
        task = life()
        deferral = deferral_of(task.begin())
        deferral.kwargs = None
        task.service.statuses = [ENDED]

        assert task.resume(deferral, {"status": "ended"}) == {"rows": 7}

    def test_task_without_a_job_cannot_be_resumed(self, life):
        task = life()
        deferral = deferral_of(task.begin())
        deferral.kwargs = None
        task.store.stored.clear()

        with pytest.raises(RemoteJobError, match=r"^Task job was resumed without its job, and has recorded none\.$"):
            task.resume(deferral, {"status": "ended"})

    def test_error_of_the_trigger_ends_it_and_leaves_the_job_running(self, life):
        task = life()
        deferral = deferral_of(task.begin())

        with pytest.raises(RemoteJobError, match=r"^Cannot watch job job-1: 403\. The job was left running"):
            task.resume(deferral, {"status": "error", "message": "403."})
        assert task.entry["outcome"] == "running"

    def test_retry_is_told_of_the_job_before(self, life):
        failed = JobStatus("failed", "Failed", "no such column")
        task = life(starts=[JOB, OTHER], statuses=[failed, ENDED])
        with pytest.raises(RemoteJobError, match="no such column"):
            task.begin()
        assert task.entry["outcome"] == "failed"

        assert task.begin() == {"rows": 7}
        assert task.operator.earlier == [JOB]

    def test_job_that_fails_the_same_way_again_is_not_retried(self, life):
        with pytest.raises(AirflowFailException, match="no such model"):
            life(statuses=[JobStatus("failed", "Failed", "no such model", retryable=False)]).begin()

    def test_wrong_configuration_is_not_retried(self, life):
        with pytest.raises(AirflowFailException, match="wrong"):
            life(prepares=[ConfigurationError("wrong")]).begin()
        with pytest.raises(RemoteCallError, match="503"):
            life(prepares=[RemoteCallError("503")]).begin()


class TestEndOfTheWait:
    def blocking(self, life: Any, **kwargs: Any) -> Any:
        return life(deferrable=False, wait_timeout=30.0, poll_interval=15.0, **kwargs)

    def test_job_is_left_running(self, life):
        task = self.blocking(life)

        with pytest.raises(RemoteJobError, match=r"^job job-1 still runs .* It was left running; a retry re-attaches\.$"):
            task.begin()
        assert "cancel" not in task.service.asked()
        assert task.entry["outcome"] == "running"

    def test_job_is_cancelled_where_that_is_asked_for(self, life):
        task = self.blocking(life, cancel_on_timeout=True, statuses=[RUNNING, RUNNING, RUNNING, DONE])

        with pytest.raises(RemoteJobError, match=r"^job job-1 still runs .* It was cancelled, as cancel_on_timeout asks for\.$"):
            task.begin()
        assert task.service.calls[-2:] == [("cancel", JOB), ("status", JOB)]
        assert task.entry["outcome"] == "failed"

    def test_cancelled_job_is_watched_for_a_while_only(self, life, clock):
        task = self.blocking(life, cancel_on_timeout=True)
        began = clock.now

        with pytest.raises(RemoteJobError, match="It was cancelled"):
            task.begin()
        assert clock.now - began == 30.0 + 60.0
        assert task.entry["outcome"] == "running"

    def test_job_of_somebody_else_is_never_cancelled(self, life, monkeypatch):
        monkeypatch.setattr(JobOperator, "if_running", "adopt")
        task = self.blocking(life, cancel_on_timeout=True, starts=[NAMED])

        with pytest.raises(RemoteJobError, match="left running"):
            task.begin()
        assert "cancel" not in task.service.asked()

    @pytest.mark.parametrize(("asked_for", "adopted"), [(True, False), (False, False), (True, True)])
    def test_execution_timeout_in_the_worker(self, life, monkeypatch, asked_for, adopted):
        monkeypatch.setattr(JobOperator, "if_running", "adopt")
        task = self.blocking(life, cancel_on_timeout=asked_for, starts=[NAMED if adopted else JOB])

        def interrupted(*_: Any) -> Any:
            raise AirflowTaskTimeout("too long")

        monkeypatch.setattr(PatientService, "wait", interrupted)
        with pytest.raises(AirflowTaskTimeout):
            task.begin()
        assert ("cancel" in task.service.asked()) is (asked_for and not adopted)


class TestAnotherJobInTheWay:
    def test_it_is_waited_for_in_the_triggerer_and_not_cancelled(self, life, clock):
        task = life(starts=[NAMED, JOB])

        deferral = deferral_of(task.begin())

        assert deferral.method_name == "execute_again"
        assert deferral.kwargs == {"other": OTHER, "deadline": clock.now + 600.0}
        arguments = deferral.trigger.serialize()[1]
        assert (arguments["job"], arguments["cancel_on_kill"]) == (OTHER, False)

        again = deferral_of(task.resume(deferral, {"status": "ended"}))
        assert again.kwargs == {"job": JOB, "deadline": clock.now + 600.0}
        assert task.entry["job"] == JOB

    def test_error_of_its_trigger_is_told(self, life):
        task = life(starts=[NAMED, JOB])
        deferral = deferral_of(task.begin())

        with pytest.raises(RemoteJobError, match="Cannot watch job job-2: 403"):
            task.resume(deferral, {"status": "error", "message": "403."})

    def test_it_is_waited_for_in_the_worker(self, life, clock):
        task = life(starts=[NAMED, JOB], statuses=[RUNNING, DONE, ENDED], deferrable=False, poll_interval=15.0)

        assert task.begin() == {"rows": 7}
        assert [call for call in task.service.calls if call[0] == "status"] == [("status", OTHER)] * 2 + [("status", JOB)]
        assert clock.naps == [15.0, 5.0]

    def test_it_runs_longer_than_the_wait(self, life):
        with pytest.raises(RemoteJobError, match=rf"^job job-2 still runs .* {IN_THE_WAY}$"):
            life(starts=[NAMED], deferrable=False, wait_timeout=30.0).begin()

    def test_it_is_not_listed_so_the_slot_is_given_back_for_a_while(self, life, clock, monkeypatch):
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        monkeypatch.setattr(remote_job, "datetime", SimpleNamespace(now=lambda zone: moment))
        task = life(starts=[UNNAMED], poll_interval=15.0)

        deferral = deferral_of(task.begin())

        assert deferral.method_name == "execute_again"
        assert deferral.kwargs == {"deadline": clock.now + 600.0, "ended": None}
        assert deferral.trigger.serialize()[1]["moment"] == moment + timedelta(seconds=15.0)

        task.service.starts, task.service.statuses = [JOB], [ENDED]
        assert task.resume(deferral, None) == {"rows": 7}

    def test_that_while_is_never_shorter_than_what_a_deferral_needs(self, life, monkeypatch):
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        monkeypatch.setattr(remote_job, "datetime", SimpleNamespace(now=lambda zone: moment))

        deferral = deferral_of(life(starts=[UNNAMED], poll_interval=0.1).begin())
        assert deferral.trigger.serialize()[1]["moment"] == moment + timedelta(seconds=BUDGET.first_event)

    def test_it_is_not_listed_until_the_end_of_the_wait(self, life, clock):
        began = clock.now

        with pytest.raises(RemoteJobError, match=rf"^Another job runs, and the service does not list it\. {IN_THE_WAY}$"):
            life(starts=[UNNAMED], deferrable=False, wait_timeout=12.0).begin()
        assert clock.naps == [5.0, 5.0, 2.0]
        assert clock.now - began == 12.0

    def test_it_has_ended_and_is_listed_all_the_same(self, life):
        wrongly = rf"^job job-2 has ended, and the service lists it as one that runs\. {IN_THE_WAY}$"

        with pytest.raises(RemoteJobError, match=wrongly):
            life(starts=[NAMED], statuses=[DONE], deferrable=False, wait_timeout=12.0).begin()

    def test_it_has_ended_and_is_listed_so_the_slot_is_given_back(self, life, clock):
        deferral = deferral_of(life(starts=[NAMED], statuses=[DONE], initial_wait=20.0).begin())

        assert deferral.kwargs is not None
        assert deferral.kwargs["ended"] == OTHER["id"]


class TestKill:
    @pytest.fixture
    def state(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        found: dict[str, Any] = {"state": "failed", "asked": []}

        def asked(**task: Any) -> Any:
            found["asked"].append(task)
            if isinstance(found["state"], Exception):
                raise found["state"]
            return found["state"]

        monkeypatch.setattr(supervisor, "task_instance_state", asked)
        return found

    @pytest.mark.parametrize("ended", sorted(CANCEL_STATES))
    def test_person_has_ended_the_task(self, life, state, ended):
        task = life()
        task.begin()
        state["state"] = ended

        task.operator.on_kill()

        assert task.service.calls[-1] == ("cancel", JOB)
        assert state["asked"] == [{"dag_id": "sales", "run_id": "batch-1", "task_id": "job", "map_index": -1}]

    @pytest.mark.parametrize("going_on", ["running", "queued", None, RuntimeError("no supervisor")])
    def test_nobody_has_or_it_cannot_be_told(self, life, state, going_on):
        task = life()
        task.begin()
        state["state"] = going_on

        task.operator.on_kill()
        assert "cancel" not in task.service.asked()

    def test_it_is_switched_off(self, life, state):
        task = life(cancel_on_kill=False)
        deferral = deferral_of(task.begin())

        task.operator.on_kill()

        assert state["asked"] == []
        assert deferral.trigger.serialize()[1]["cancel_on_kill"] is False
        assert task.entry["service"] is None

    def test_job_of_somebody_else_runs_on(self, life, state, monkeypatch):
        monkeypatch.setattr(JobOperator, "if_running", "adopt")
        task = life(starts=[NAMED])
        deferral = deferral_of(task.begin())

        task.operator.on_kill()

        assert state["asked"] == []
        assert deferral.trigger.serialize()[1]["job"] == ADOPTED
        assert deferral.trigger.serialize()[1]["cancel_on_kill"] is False

    def test_there_is_no_job_yet(self, life, state):
        task = life()
        task.operator.on_kill()
        assert state["asked"] == []

    def test_service_that_does_not_answer_holds_nobody_up(self, life, state, monkeypatch):
        task = life()
        task.begin()
        given: list[float] = []

        def never(seconds: float, call: Any, thread: str) -> None:
            given.append(seconds)
            raise TimeoutError("no answer within 4 seconds")

        monkeypatch.setattr(remote_job, "within", never)
        task.operator.on_kill()
        assert given == [BUDGET.kill]


def test_ledger_names_the_connection_for_the_reconciler(life, caplog):
    task = life()
    task.begin()

    assert task.entry["service"] == {"name": "scripted", "conn_id": "c"}
    assert "no template field" not in caplog.text


def test_connection_that_airflow_does_not_store_is_said(life, monkeypatch):
    class Hidden(JobOperator):
        template_fields = ("conn_id",)  # type: ignore[assignment]

    said: list[Any] = []
    monkeypatch.setattr(logging.Logger, "warning", lambda self, *text, **_: said.append(text))
    monkeypatch.setattr(Hidden, "log", SimpleNamespace(warning=lambda *text: said.append(text), info=lambda *_: None))
    life(Hidden).begin()

    assert [text[1:] for text in said if "template field" in text[0]] == [("act_as", "Hidden")]


def test_job_is_started_with_the_request_and_by_default_waited_for_a_day(life):
    task = life()
    task.begin()
    assert task.service.calls[0] == ("prepare", REQUEST)

    ordinary = JobOperator(task_id="job")
    waits = (ordinary.deferrable, ordinary.poll_interval, ordinary.wait_timeout, ordinary.initial_wait, ordinary.budget)
    assert waits == (True, 15.0, 86_400.0, 20.0, WaitBudget(call=30.0))
    assert (ordinary.cancel_on_kill, ordinary.cancel_on_timeout) == (True, False)
