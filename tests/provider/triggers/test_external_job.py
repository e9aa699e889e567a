"""The waiting itself, with a service that answers from a list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import JobStatus, RemoteCallError, RemoteJob
from provider.triggers import external_job
from provider.triggers.external_job import ExternalJobTrigger, task_instance_state

JOB = {"id": "job-1", "url": "https://example.com/job-1"}
RUNNING, DONE = JobStatus("running", "InProgress"), JobStatus("done", "Completed")


class ScriptedTrigger(ExternalJobTrigger):
    """Answers polls and cancels from lists; the last answer is repeated."""

    def __init__(self, *, answers: list[Any], cancels: list[Any] | None = None, **kwargs: Any) -> None:
        shared = {"job": JOB, "poll_interval": 30.0, "deadline": None, "cancel_on_kill": True, "http_timeout": 5.0}
        super().__init__(**{**shared, **kwargs})
        self.answers = answers
        self.cancels = cancels or [None]
        self.polled = 0
        self.cancelled = 0
        self.on_cancel: Callable[[], None] = lambda: None

    def service_kwargs(self) -> dict[str, Any]:
        return {"answers": [], "cancels": []}

    async def poll_job(self) -> JobStatus:
        self.polled += 1
        return self._next(self.answers)

    async def cancel_job(self) -> None:
        self.cancelled += 1
        self.on_cancel()
        self._next(self.cancels)

    async def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        raise NotImplementedError("no test looks a job up in the triggerer")

    @staticmethod
    def _next(answers: list[Any]) -> Any:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The trigger's sleeps, in seconds; none of them takes any time."""
    naps: list[float] = []
    real_sleep = asyncio.sleep

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(external_job, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": nap}))
    return naps


async def first_event(trigger: ExternalJobTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")


async def test_first_poll_comes_an_interval_after_the_deferral_and_all_are_jittered(slept):
    trigger = ScriptedTrigger(answers=[RUNNING, RUNNING, DONE])

    assert await first_event(trigger) == {"status": "ended", "job_id": "job-1", "detail": "Completed"}
    assert len(slept) == trigger.polled == 3
    assert all(27.0 <= nap <= 33.0 for nap in slept)
    assert len(set(slept)) == 3


async def test_no_event_comes_right_after_the_deferral(slept):
    await first_event(ScriptedTrigger(answers=[DONE], poll_interval=0.1))

    assert slept == [external_job.MIN_FIRST_EVENT]


async def test_passing_errors_are_outlived_and_retry_after_is_honoured(slept):
    answers = [RemoteCallError("503"), RemoteCallError("429", retry_after=3392.0), DONE]

    event = await first_event(ScriptedTrigger(answers=answers))

    assert event["status"] == "ended"
    assert slept[1] <= 33.0
    assert slept[2] == 3392.0


@pytest.mark.parametrize("error", [RemoteCallError("403: no access.", retryable=False), ConfigurationError("403: no access.")])
async def test_error_that_does_not_pass_ends_the_wait_with_its_text(slept, error):
    event = await first_event(ScriptedTrigger(answers=[error]))

    assert event == {"status": "error", "job_id": "job-1", "message": "403: no access."}


async def test_deadline_ends_the_wait_also_while_polls_fail_and_is_not_overslept(slept, monkeypatch):
    moments = iter([100.0, 110.1])  # seen after each poll
    monkeypatch.setattr(external_job, "time", SimpleNamespace(time=lambda: next(moments)))
    answers = [RemoteCallError("429", retry_after=3392.0)]

    event = await first_event(ScriptedTrigger(answers=answers, deadline=110.0))

    assert slept[1] == pytest.approx(10.0)
    assert event == {"status": "timeout", "job_id": "job-1"}


async def test_unexpected_error_is_not_swallowed(slept):
    with pytest.raises(KeyError):
        await first_event(ScriptedTrigger(answers=[KeyError("a bug")]))


async def test_kill_is_carried_out_by_a_task_that_outlives_the_trigger(monkeypatch):
    done = asyncio.Event()
    trigger = ScriptedTrigger(answers=[RUNNING])
    trigger.on_cancel = done.set
    trigger.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)
    monkeypatch.setattr(external_job, "task_instance_state", lambda **_: "failed")

    killed = asyncio.create_task(trigger.on_kill())
    await killed  # returns at once, as the triggerer cancels what takes longer than a second
    assert len(external_job._detached) == 1
    await asyncio.wait_for(done.wait(), 10)
    await asyncio.gather(*external_job._detached)

    assert trigger.cancelled == 1
    await asyncio.sleep(0)
    assert external_job._detached == set()


async def test_kill_asks_nobody_where_cancelling_is_switched_off(monkeypatch):
    monkeypatch.setattr(external_job, "task_instance_state", lambda **_: pytest.fail("asked"))

    await ScriptedTrigger(answers=[RUNNING], cancel_on_kill=False).on_kill()

    assert external_job._detached == set()


async def test_cancel_is_repeated_while_the_service_fails(monkeypatch, slept):
    monkeypatch.setattr(external_job, "task_instance_state", lambda **_: "failed")
    trigger = ScriptedTrigger(answers=[RUNNING], cancels=[RemoteCallError("503"), RemoteCallError("503"), None])
    trigger.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)

    await trigger.cancel_if_task_ended()

    assert trigger.cancelled == 3


@pytest.mark.parametrize("failure", [OSError("no supervisor"), None])
async def test_job_is_left_running_where_the_state_cannot_be_told(monkeypatch, failure):
    def state(**_: Any) -> None:
        if failure:
            raise failure

    monkeypatch.setattr(external_job, "task_instance_state", state)
    trigger = ScriptedTrigger(answers=[RUNNING])
    trigger.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)

    await trigger.cancel_if_task_ended()
    assert trigger.cancelled == 0


async def test_trigger_without_a_task_instance_cancels_nothing():
    trigger = ScriptedTrigger(answers=[RUNNING])

    await trigger.cancel_if_task_ended()

    assert trigger.cancelled == 0


@pytest.mark.parametrize(("map_index", "key"), [(-1, "job"), (None, "job"), (7, "job_7")])
def test_state_is_asked_for_this_task_instance_alone(monkeypatch, map_index, key):
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    asked: list[dict[str, Any]] = []

    def states(**query: Any) -> dict[str, Any]:
        asked.append(query)
        return {"batch-1": {key: "failed", "job_8": "running"}}

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", states)

    found = task_instance_state(dag_id="sales", run_id="batch-1", task_id="job", map_index=map_index)

    assert found == "failed"
    index = -1 if map_index is None else map_index
    assert asked == [{"dag_id": "sales", "map_index": index, "task_ids": ["job"], "run_ids": ["batch-1"]}]


def test_state_of_a_task_instance_that_is_gone(monkeypatch):
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda **_: {})

    assert task_instance_state(dag_id="sales", run_id="batch-1", task_id="job", map_index=-1) is None


def test_serialized_form_names_the_class_and_holds_plain_data():
    path, kwargs = ScriptedTrigger(answers=[RUNNING], deadline=12.5).serialize()

    assert path.endswith("ScriptedTrigger")
    assert kwargs == {
        "job": JOB,
        "poll_interval": 30.0,
        "deadline": 12.5,
        "cancel_on_kill": True,
        "http_timeout": 5.0,
        "answers": [],
        "cancels": [],
    }
