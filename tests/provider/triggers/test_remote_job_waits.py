"""How long the trigger of a remote job waits, by a clock that only moves when it sleeps; and when it cancels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from provider.airflow_internals import supervisor
from provider.hooks import wait_budget
from provider.hooks.remote_job import ENDED_STATES, CannotCancelError, JobStatus, RemoteCallError
from provider.hooks.wait_budget import WaitBudget
from provider.triggers import remote_job
from provider.triggers.remote_job import RemoteJobTrigger
from tests.provider.clock import Clock

JOB = {"id": "job-1", "url": "https://example.com/job-1"}
CONNECTION = {"conn_id": "c"}
RUNNING, DONE = JobStatus("running", "InProgress"), JobStatus("done", "Completed")
BUSY, NEVER = RemoteCallError("503."), RemoteCallError("403.", retryable=False)
TASK: Any = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=7)


class Service:
    """Answers from one list; the last answer is repeated. ``asked`` has the calls."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, Any]] = []

    async def astatus(self, job: Any) -> Any:
        return self._answer("status", job)

    async def acancel(self, job: Any) -> None:
        self._answer("cancel", job)

    def _answer(self, call: str, job: Any) -> Any:
        self.asked.append((call, job))
        assert len(self.asked) < 1000, f"{call} is repeated for ever"
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(monkeypatch, remote_job, wait_budget)
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        await real_sleep(0)

    monkeypatch.setattr(remote_job, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    monkeypatch.setattr(remote_job, "jittered", lambda seconds: seconds)
    return clock


@pytest.fixture
def trigger(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RemoteJobTrigger, Service]]:
    def make(*answers: Any, poll_interval: float = 30.0, **budget: Any) -> tuple[RemoteJobTrigger, Service]:
        service = Service(list(answers))

        async def shared(name: str, connection: Any, opened_with: WaitBudget) -> Service:
            assert (name, connection, opened_with) == ("scripted", CONNECTION, WaitBudget(**budget))
            return service

        monkeypatch.setattr(remote_job, "shared_service", shared)
        made = RemoteJobTrigger(
            service="scripted",
            connection=CONNECTION,
            job=JOB,
            poll_interval=poll_interval,
            cancel_on_kill=True,
            budget=budget,
        )
        made.task_instance = TASK
        return made, service

    return make


async def event_of(trigger: RemoteJobTrigger) -> dict[str, Any]:
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1  # a trigger that has told its event ends
    return dict(events[0])


async def test_polls_are_an_interval_apart(trigger, clock):
    waiting, service = trigger(RUNNING, RUNNING, DONE)

    assert await event_of(waiting) == {"status": "ended", "job_id": "job-1", "detail": "Completed"}
    assert clock.naps == [30.0, 30.0, 30.0]
    assert service.asked == [("status", JOB)] * 3


async def test_only_the_first_pause_is_that_after_a_deferral(trigger, clock):
    await event_of(trigger(RUNNING, BUSY, DONE, poll_interval=0.5, first_event=4.0)[0])

    assert clock.naps == [4.0, 0.5, 0.5]


async def test_silence_is_borne_for_a_while_and_not_for_ever(trigger, clock):
    event = await event_of(trigger(BUSY, outage=90.0)[0])

    assert event == {"status": "error", "job_id": "job-1", "message": "503."}
    assert sum(clock.naps) == 120.0


async def test_each_answer_ends_a_silence(trigger, clock):
    event = await event_of(trigger(BUSY, BUSY, RUNNING, BUSY, BUSY, DONE, outage=70.0)[0])

    assert event["status"] == "ended"


async def test_service_that_asks_for_time_is_not_silent(trigger, clock):
    later = RemoteCallError("429.", retry_after=60.0)

    assert (await event_of(trigger(later, later, later, DONE, outage=70.0)[0]))["status"] == "ended"
    assert clock.naps == [30.0, 60.0, 60.0, 60.0]


async def test_wait_ends_at_its_deadline(trigger, clock):
    waiting, service = trigger(RUNNING, deadline=clock.now + 45.0)

    assert await event_of(waiting) == {"status": "timeout", "job_id": "job-1"}
    assert clock.naps == [30.0, 15.0]
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("seconds", "said"), [(90.0, ""), (91.0, " The service asks to wait for 91 s; it is asked again after 90 s.")]
)
async def test_wish_of_the_service_that_is_cut_is_said(trigger, capsys, seconds, said):
    await event_of(trigger(RemoteCallError("429.", retry_after=seconds), DONE, retry_after=90.0)[0])

    assert ("asks to wait" in capsys.readouterr().out) is bool(said)
    assert trigger(DONE, retry_after=90.0)[0]._asked_for(seconds) == said


async def test_connection_that_opens_too_slowly_is_an_error_that_passes(trigger, monkeypatch, clock):
    waiting, _ = trigger(DONE, outage=20.0)

    async def slow(*_: Any) -> Any:
        raise TimeoutError("no answer within 120 seconds")

    monkeypatch.setattr(remote_job, "shared_service", slow)
    event = await event_of(waiting)

    assert event["message"] == "The connection of scripted could not be opened: TimeoutError: no answer within 120 seconds."


class TestCancel:
    @pytest.fixture
    def in_state(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
        def be(state: str | None) -> None:
            def asked(**task: Any) -> str | None:
                assert task == {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 7}
                return state

            monkeypatch.setattr(supervisor, "task_instance_state", asked)

        return be

    @pytest.mark.parametrize("state", sorted(ENDED_STATES))
    async def test_job_of_an_ended_task_is_cancelled_once(self, trigger, in_state, state):
        in_state(state)
        waiting, service = trigger(None)

        await waiting.cancel_if_task_ended()
        assert service.asked == [("cancel", JOB)]

    @pytest.mark.parametrize("state", ["running", "deferred", "queued", "scheduled", "up_for_retry", "restarting", None])
    async def test_job_of_a_task_that_goes_on_is_left_running(self, trigger, in_state, state):
        in_state(state)
        waiting, service = trigger(None)

        await waiting.cancel_if_task_ended()
        assert service.asked == []

    async def test_pauses_between_attempts_double(self, trigger, in_state, clock):
        in_state("failed")
        waiting, service = trigger(BUSY, cancels=4)

        await waiting.cancel_if_task_ended()
        assert len(service.asked) == 4
        assert clock.naps == [2.0, 4.0, 8.0]

    async def test_service_is_left_alone_for_as_long_as_it_asks(self, trigger, in_state, clock):
        in_state("failed")
        waiting, service = trigger(RemoteCallError("429.", retry_after=42.0), None)

        await waiting.cancel_if_task_ended()
        assert clock.naps == [42.0]
        assert len(service.asked) == 2

    async def test_deadline_of_the_wait_does_not_hurry_it(self, trigger, in_state, clock):
        in_state("failed")
        waiting, _ = trigger(BUSY, None, deadline=clock.now - 10.0)

        await waiting.cancel_if_task_ended()
        assert clock.naps == [2.0]

    @pytest.mark.parametrize("answer", [NEVER, CannotCancelError("no")])
    async def test_it_is_not_repeated_where_that_cannot_help(self, trigger, in_state, answer):
        in_state("failed")
        waiting, service = trigger(answer, None)

        await waiting.cancel_if_task_ended()
        assert len(service.asked) == 1
