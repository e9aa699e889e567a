"""The waiting itself, with a service that answers from a list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException

from provider.airflow_internals import supervisor
from provider.exceptions import ConfigurationError
from provider.hooks import shared_services
from provider.hooks.remote_job import JobStatus, RemoteCallError
from provider.hooks.wait_budget import WaitBudget
from provider.pacing import AFTER_DEFERRAL
from provider.triggers import remote_job
from provider.triggers.remote_job import RemoteJobTrigger

JOB = {"id": "job-1", "url": "https://example.com/job-1"}
RUNNING, DONE = JobStatus("running", "InProgress"), JobStatus("done", "Completed")
TASK = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)


class ScriptedService:
    """Answers polls and cancels from lists; the last answer is repeated."""

    def __init__(self, answers: list[Any], cancels: list[Any]) -> None:
        self.answers = answers
        self.cancels = cancels
        self.polled = 0
        self.cancelled = 0
        self.on_cancel: Callable[[], None] = lambda: None

    async def astatus(self, job: dict[str, Any]) -> JobStatus:
        assert job == JOB
        self.polled += 1
        answer = self._next(self.answers)
        assert isinstance(answer, JobStatus)
        return answer

    async def acancel(self, job: dict[str, Any]) -> None:
        assert job == JOB
        self.cancelled += 1
        self.on_cancel()
        self._next(self.cancels)

    @staticmethod
    def _next(answers: list[Any]) -> Any:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RemoteJobTrigger, ScriptedService]]:
    """Make a trigger and the service that it finds under its name."""

    def make(answers: list[Any], cancels: list[Any] | None = None, **kwargs: Any) -> tuple[RemoteJobTrigger, ScriptedService]:
        service = ScriptedService(answers, cancels or [None])

        def opened(name: str, connection: dict[str, Any], budget: WaitBudget) -> ScriptedService:
            assert (name, connection, budget.deadline) == ("scripted", {"conn_id": "c"}, None)
            return service

        monkeypatch.setattr(shared_services, "open_service", opened)
        shared = {"service": "scripted", "connection": {"conn_id": "c"}, "job": JOB, "poll_interval": 30.0}
        return RemoteJobTrigger(**{**shared, "cancel_on_kill": True, "budget": {"call": 5.0}, **kwargs}), service

    return make


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The trigger's sleeps, in seconds; none of them takes any time."""
    naps: list[float] = []
    real_sleep = asyncio.sleep

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(remote_job, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": nap}))
    return naps


async def first_event(trigger: RemoteJobTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")


async def test_first_poll_comes_an_interval_after_the_deferral_and_all_are_jittered(slept, script):
    trigger, service = script([RUNNING, RUNNING, DONE])

    assert await first_event(trigger) == {"status": "ended", "job_id": "job-1", "detail": "Completed"}
    assert len(slept) == service.polled == 3
    assert all(27.0 <= nap <= 33.0 for nap in slept)
    assert len(set(slept)) == 3


async def test_no_event_comes_right_after_the_deferral(slept, script):
    await first_event(script([DONE], poll_interval=0.1)[0])

    assert slept == [AFTER_DEFERRAL]


async def test_passing_errors_are_outlived_and_retry_after_is_honoured(slept, script):
    answers = [RemoteCallError("503"), RemoteCallError("429", retry_after=3392.0), DONE]

    event = await first_event(script(answers)[0])

    assert event["status"] == "ended"
    assert slept[1] <= 33.0
    assert slept[2] == 3392.0


@pytest.mark.parametrize("error", [RemoteCallError("403: no access.", retryable=False), ConfigurationError("403: no access.")])
async def test_error_that_does_not_pass_ends_the_wait_with_its_text(slept, script, error):
    event = await first_event(script([error])[0])

    assert event == {"status": "error", "job_id": "job-1", "message": "403: no access."}


async def test_deadline_ends_the_wait_also_while_polls_fail_and_is_not_overslept(slept, script):
    trigger, _ = script([RemoteCallError("429", retry_after=3392.0), DONE], budget={"deadline": time.time() + 600.0})
    await first_event(trigger)
    assert slept[1] == pytest.approx(600.0, abs=60)

    trigger, _ = script([RemoteCallError("429", retry_after=3392.0)], budget={"deadline": time.time() - 1.0, "call": 6.0})
    assert await first_event(trigger) == {"status": "timeout", "job_id": "job-1"}


@pytest.mark.parametrize("retry_after", [31_536_000.0, float("inf")])
async def test_retry_after_of_a_year_is_cut_and_said(slept, script, capsys, retry_after):
    trigger, _ = script([RemoteCallError("429.", retry_after=retry_after), DONE])
    assert (await first_event(trigger))["status"] == "ended"

    assert slept[1] == WaitBudget().retry_after
    assert "it is asked again after 3600 s" in capsys.readouterr().out


async def test_service_that_answers_nothing_for_too_long_ends_the_wait(slept, script):
    """With a retry the task re-attaches; without this end an outage could last for ever."""
    event = await first_event(script([RemoteCallError("503")], budget={"outage": 0.05})[0])

    assert event == {"status": "error", "job_id": "job-1", "message": "503"}


async def test_triggers_share_one_opening_and_its_failure(script, monkeypatch):
    trigger, service = script([RUNNING])
    opened: list[str] = []

    def slow(name: str, connection: dict[str, Any], budget: WaitBudget) -> Any:
        opened.append(name)
        if len(opened) == 1:
            raise ConfigurationError("no such connection")
        return service

    monkeypatch.setattr(shared_services, "open_service", slow)
    others = [RemoteJobTrigger(**trigger.serialize()[1]) for _ in range(50)]

    failed = await asyncio.gather(*(other.status() for other in others), return_exceptions=True)
    assert [str(error) for error in failed] == ["no such connection"] * 50
    assert len(opened) == 1

    assert {status.state for status in await asyncio.gather(*(other.status() for other in others))} == {"running"}
    assert len(opened) == 2


def refusing_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the connection be read, and then not, as when a secrets backend is away; and then again."""
    opened, failures = vars(shared_services)["open_service"], [error]
    monkeypatch.setattr(shared_services, "OPEN_SECONDS", -1.0)  # read for each call

    def sometimes(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return opened(*arguments)

    monkeypatch.setattr(shared_services, "open_service", sometimes)


async def test_connection_that_cannot_be_read_for_a_moment_ends_no_wait(monkeypatch, slept, script):
    """Airflow calls a connection undefined where no secrets backend answers; the worker has just used it."""
    trigger, service = script([RUNNING, DONE])
    refusing_once(monkeypatch, AirflowNotFoundException("The conn_id `c` isn't defined"))

    assert (await first_event(trigger))["status"] == "ended"
    assert (service.polled, len(slept)) == (2, 3)


async def test_connection_that_is_never_read_again_ends_the_wait_and_says_so(monkeypatch, slept, script):
    trigger, _ = script([RUNNING], budget={"outage": -1.0})
    refusing_once(monkeypatch, AirflowNotFoundException("The conn_id `c` isn't defined"))

    event = await first_event(trigger)
    assert event["status"] == "error"
    assert "AirflowNotFoundException: The conn_id `c` isn't defined" in event["message"]


async def test_cancel_outlives_a_connection_that_cannot_be_read_for_a_moment(monkeypatch, slept, script):
    monkeypatch.setattr(supervisor, "task_instance_state", lambda **_: "failed")
    trigger, service = script([RUNNING])
    trigger.task_instance = TASK
    refusing_once(monkeypatch, AirflowNotFoundException("The conn_id `c` isn't defined"))

    await trigger.cancel_if_task_ended()
    assert service.cancelled == 1


async def test_unexpected_error_is_not_swallowed(slept, script):
    with pytest.raises(KeyError):
        await first_event(script([KeyError("a bug")])[0])


async def test_kill_is_carried_out_by_a_task_that_outlives_the_trigger(monkeypatch, script):
    done = asyncio.Event()
    trigger, service = script([RUNNING])
    service.on_cancel = done.set
    trigger.task_instance = TASK
    monkeypatch.setattr(supervisor, "task_instance_state", lambda **_: "failed")

    killed = asyncio.create_task(trigger.on_kill())
    await killed  # returns at once, as the triggerer cancels what takes longer than a second
    assert len(remote_job._detached) == 1
    await asyncio.wait_for(done.wait(), 10)
    await asyncio.gather(*remote_job._detached)

    assert service.cancelled == 1
    await asyncio.sleep(0)
    assert remote_job._detached == set()


async def test_kill_asks_nobody_where_cancelling_is_switched_off(monkeypatch, script):
    monkeypatch.setattr(supervisor, "task_instance_state", lambda **_: pytest.fail("asked"))

    await script([RUNNING], cancel_on_kill=False)[0].on_kill()

    assert remote_job._detached == set()


async def test_cancel_is_repeated_while_the_service_fails(monkeypatch, slept, script):
    monkeypatch.setattr(supervisor, "task_instance_state", lambda **_: "failed")
    trigger, service = script([RUNNING], [RemoteCallError("503"), RemoteCallError("503"), None])
    trigger.task_instance = TASK

    await trigger.cancel_if_task_ended()

    assert service.cancelled == 3


@pytest.mark.parametrize("failure", [OSError("no supervisor"), None])
async def test_job_is_left_running_where_the_state_cannot_be_told(monkeypatch, script, failure):
    def state(**_: Any) -> None:
        if failure:
            raise failure

    monkeypatch.setattr(supervisor, "task_instance_state", state)
    trigger, service = script([RUNNING])
    trigger.task_instance = TASK

    await trigger.cancel_if_task_ended()
    assert service.cancelled == 0


async def test_trigger_without_a_task_instance_cancels_nothing(script):
    trigger, service = script([RUNNING])

    await trigger.cancel_if_task_ended()

    assert service.cancelled == 0


def test_serialized_form_names_the_class_and_holds_plain_data(script):
    trigger, _ = script([RUNNING], budget={"call": 5.0, "deadline": 12.5, "outage": 3600.0})
    path, kwargs = trigger.serialize()

    assert path == "provider.triggers.remote_job.RemoteJobTrigger"
    assert kwargs == {
        "service": "scripted",
        "connection": {"conn_id": "c"},
        "job": JOB,
        "poll_interval": 30.0,
        "cancel_on_kill": True,
        "budget": {"call": 5.0, "deadline": 12.5},  # what differs from the defaults
    }
