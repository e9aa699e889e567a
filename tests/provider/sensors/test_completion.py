"""A task whose work is done elsewhere ends as the inbox says."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferred,
)
from sqlalchemy import update

from provider.messages import read
from provider.metadata import completions, definitions, engine, inbox
from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import BatchRequest
from provider.sensors.completion import TaskCompletionSensor
from provider.triggers import completion as trigger_module
from provider.triggers.completion import TaskCompletionTrigger
from tests.provider.operators.conftest import FakeTaskInstance, Store

SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"
SECONDS = 20.0


@pytest.fixture(autouse=True)
def _definitions(application_database: str) -> None:
    rows = DefinitionRows(
        workflows=[{"workflow_id": "daily_sales"}],
        tasks=[{"task_id": task_id, "workflow_id": "daily_sales", "task_type": "external"} for task_id in ("check", "other")],
    )
    with engine.write_session() as session:
        definitions.replace_workflows(session, rows)


def tell(message_id: str, status: str, error: str | None = None, *, task_id: str = "check", batch_id: str = "B1") -> None:
    fields = {"previous_task_id": task_id, "batch_id": batch_id, "status": status, "error": error}
    message = read(json.dumps(fields).encode(), {}, message_id, datetime(2024, 3, 16, tzinfo=UTC))
    with engine.write_session() as session:
        inbox.receive(session, SUBSCRIPTION, [message])


def one_try(store: Store, *, max_tries: int = 2, resumed: bool = False) -> Any:
    sensor = TaskCompletionSensor(task_id="check", timeout=60)
    ti = FakeTaskInstance(1, max_tries, dag_id="daily_sales", run_id="B1", task_id="check")
    context: Any = {"ti": ti, "task_state_store": store}
    return sensor.execute_complete(context, {"status": "reported"}) if resumed else sensor.execute(context)


def test_a_message_that_came_first_is_found() -> None:
    tell("1", "SUCCESS")
    assert one_try(Store()) == {"message_id": "1"}


def test_without_a_message_it_waits_in_the_triggerer_and_ends_with_it() -> None:
    tell("of another task", "SUCCESS", task_id="other")
    tell("of another batch", "SUCCESS", batch_id="B2")
    store = Store()
    with pytest.raises(TaskDeferred) as deferred:
        one_try(store)
    assert isinstance(deferred.value.trigger, TaskCompletionTrigger)
    assert deferred.value.trigger.first_event_after == 5.0
    assert deferred.value.timeout is not None
    assert deferred.value.timeout.total_seconds() == 60
    tell("1", "SUCCESS")
    assert one_try(store, resumed=True) == {"message_id": "1"}


def time_out(*, run_id: str = "B1", **kwargs: Any) -> Any:
    """Do what Airflow does with a task whose trigger has not fired in time."""
    sensor = TaskCompletionSensor(task_id="check", timeout=5400, **kwargs)
    ti = FakeTaskInstance(1, 2, dag_id="daily_sales", run_id=run_id, task_id="check")
    context: Any = {"ti": ti, "task_state_store": Store()}
    return sensor.resume_execution(TRIGGER_FAIL_REPR, {"error": TriggerFailureReason.TRIGGER_TIMEOUT.value}, context)


def test_a_wait_that_took_too_long_names_the_message_that_was_missing() -> None:
    with pytest.raises(AirflowSensorTimeout) as failure:
        time_out()
    text = str(failure.value)
    assert "no message said within 1:30:00 how check has ended in batch B1 of daily_sales" in text
    (message,) = re.findall(r"publishes (\{.*?\}) to", text)
    with engine.write_session() as session:
        inbox.receive(session, SUBSCRIPTION, [read(message.encode(), {}, "m", datetime(2024, 3, 16, tzinfo=UTC))])
    assert one_try(Store()) == {"message_id": "m"}


def test_a_batch_that_no_message_may_name_says_so_at_its_time_out() -> None:
    with pytest.raises(AirflowSensorTimeout, match="no message may name this batch: .* begins with 'manual__'"):
        time_out(run_id="manual__2024-03-16T00:00:00+00:00")


@pytest.mark.parametrize("lenient", [{"soft_fail": True}, {"never_fail": True}])
def test_a_time_out_that_may_be_skips_the_task(lenient: dict[str, Any]) -> None:
    with pytest.raises(AirflowSkipException):
        time_out(**lenient)


def test_a_trigger_that_failed_is_no_time_out() -> None:
    sensor = TaskCompletionSensor(task_id="check", timeout=60)
    context: Any = {"ti": FakeTaskInstance(1, 2, dag_id="daily_sales", run_id="B1", task_id="check")}
    with pytest.raises(TaskDeferralError, match="Trigger failure"):
        sensor.resume_execution(TRIGGER_FAIL_REPR, {"error": TriggerFailureReason.TRIGGER_FAILURE.value}, context)


def test_a_message_that_came_is_read_when_airflow_resumes_the_task() -> None:
    tell("1", "SUCCESS")
    sensor = TaskCompletionSensor(task_id="check", timeout=60)
    ti = FakeTaskInstance(1, 2, dag_id="daily_sales", run_id="B1", task_id="check")
    context: Any = {"ti": ti, "task_state_store": Store()}
    found = sensor.resume_execution("execute_complete", {"event": {"status": "reported"}}, context)
    assert found == {"message_id": "1"}


def test_an_event_without_a_message_is_no_end() -> None:
    with pytest.raises(TaskDeferred):
        one_try(Store(), resumed=True)


def test_an_error_fails_the_task_for_good_with_the_messages_reason() -> None:
    tell("7", "ERROR", "{{ 7 * 7 }} rows are missing")
    with pytest.raises(AirflowFailException, match=r"message 7 says that check has failed: \{\{ 7 \* 7 \}\} rows are missing"):
        one_try(Store())


def test_news_counts_where_the_run_that_it_was_to_start_was_refused() -> None:
    """The workflow has a required param, which the news cannot have; the batch is started by another message then."""
    tell("1", "SUCCESS")
    with engine.write_session() as session:
        session.execute(update(BatchRequest).values(state="rejected", reason="Airflow refuses the run"))
    assert one_try(Store()) == {"message_id": "1"}


def test_the_last_word_counts() -> None:
    tell("1", "ERROR", "not yet")
    tell("2", "SUCCESS")
    assert one_try(Store()) == {"message_id": "2"}


def test_a_try_after_a_lost_one_fails_with_the_same_error() -> None:
    store = Store()
    tell("1", "ERROR")
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="it gives no reason"):
            one_try(store)


def test_after_a_clear_the_old_error_does_not_count_and_a_new_one_does() -> None:
    store = Store()
    tell("1", "ERROR", "broken")
    with pytest.raises(AirflowFailException):
        one_try(store, max_tries=2)
    with pytest.raises(TaskDeferred) as deferred:
        one_try(store, max_tries=3)
    assert deferred.value.trigger.after > 0
    tell("2", "ERROR", "broken again")
    with pytest.raises(AirflowFailException, match="broken again"):
        one_try(store, max_tries=3, resumed=True)
    with pytest.raises(TaskDeferred):
        one_try(store, max_tries=4)
    tell("3", "SUCCESS")
    assert one_try(store, max_tries=4, resumed=True) == {"message_id": "3"}


def test_a_copy_of_the_error_does_not_fail_the_cleared_task_again() -> None:
    store = Store()
    tell("1", "ERROR", "broken")
    with pytest.raises(AirflowFailException):
        one_try(store, max_tries=2)
    tell("2", "ERROR", "broken")
    with pytest.raises(TaskDeferred):
        one_try(store, max_tries=3)
    tell("3", "ERROR", "broken")
    with pytest.raises(AirflowFailException, match="message 3"):
        one_try(store, max_tries=3, resumed=True)


def test_another_error_before_the_clear_is_news() -> None:
    store = Store()
    tell("1", "ERROR", "broken")
    with pytest.raises(AirflowFailException):
        one_try(store, max_tries=2)
    tell("2", "ERROR", "broken in another way")
    with pytest.raises(AirflowFailException, match="another way"):
        one_try(store, max_tries=3)


def test_after_a_clear_a_success_still_holds() -> None:
    store = Store()
    tell("1", "SUCCESS")
    one_try(store, max_tries=2)
    assert one_try(store, max_tries=3) == {"message_id": "1"}


def test_a_database_that_is_away_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    engine.dispose_engines()
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(AirflowException, match="messages about check could not be read"):
        one_try(Store())
    engine.dispose_engines()


# The trigger.


def trigger(task_id: str = "check", **changes: Any) -> TaskCompletionTrigger:
    arguments: dict[str, Any] = {"workflow_id": "daily_sales", "batch_id": "B1", "task_id": task_id, "poll_interval": 0.05}
    return TaskCompletionTrigger(**{**arguments, **changes})


async def event(waiting: TaskCompletionTrigger) -> Any:
    return (await anext(aiter(waiting.run()))).payload


async def test_the_trigger_fires_with_the_message_of_its_task() -> None:
    waiting = asyncio.create_task(event(trigger()))
    other = asyncio.create_task(event(trigger("other")))
    await asyncio.to_thread(tell, "1", "SUCCESS")
    assert await asyncio.wait_for(waiting, SECONDS) == {"status": "reported"}
    assert not other.done()
    await asyncio.to_thread(tell, "2", "ERROR", task_id="other")
    assert await asyncio.wait_for(other, SECONDS) == {"status": "reported"}


async def test_news_that_is_known_does_not_fire() -> None:
    await asyncio.to_thread(tell, "1", "ERROR")
    with engine.read_session() as session:
        (known,) = completions.latest_ids(session, [trigger().key]).values()
    waiting = asyncio.create_task(event(trigger(after=known)))
    await asyncio.wait_for(event(trigger()), SECONDS)  # the same look shows it to both
    assert not waiting.done()
    await asyncio.to_thread(tell, "2", "SUCCESS")
    assert await asyncio.wait_for(waiting, SECONDS)


async def test_a_thousand_that_wait_are_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    latest_ids = completions.latest_ids

    def counted(session: Any, keys: Any) -> Any:
        looks.append(len(keys))
        return latest_ids(session, keys)

    monkeypatch.setattr(completions, "latest_ids", counted)
    waiting = [asyncio.create_task(event(trigger(batch_id=f"B{number}"))) for number in range(1000)]
    await asyncio.to_thread(tell, "1", "SUCCESS", batch_id="B999")
    await asyncio.wait_for(waiting[999], SECONDS)
    assert max(looks) == 1000
    assert sum(task.done() for task in waiting) == 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([OSError("away"), OSError("away")])
    latest_ids = completions.latest_ids

    def sometimes(session: Any, keys: Any) -> Any:
        if error := next(failures, None):
            raise error
        return latest_ids(session, keys)

    monkeypatch.setattr(completions, "latest_ids", sometimes)
    monkeypatch.setattr(trigger_module, "backoff", lambda _failures, **_limits: 0.01)
    await asyncio.to_thread(tell, "1", "SUCCESS")
    assert await asyncio.wait_for(event(trigger()), SECONDS)
    assert next(failures, None) is None


async def test_one_that_comes_between_two_looks_is_looked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    await asyncio.to_thread(tell, "1", "SUCCESS")
    loop, looked = asyncio.get_running_loop(), asyncio.Event()
    latest_ids = completions.latest_ids

    def noted(session: Any, keys: Any) -> Any:
        loop.call_soon_threadsafe(looked.set)
        return latest_ids(session, keys)

    monkeypatch.setattr(completions, "latest_ids", noted)
    other = asyncio.create_task(event(trigger("other", poll_interval=86400.0)))
    await asyncio.wait_for(looked.wait(), SECONDS)
    assert await asyncio.wait_for(event(trigger(poll_interval=86400.0)), SECONDS) == {"status": "reported"}
    assert not other.done()
    other.cancel()


async def test_one_that_comes_while_the_database_is_away_does_not_shorten_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    pause, paused, ended = 4711.0, asyncio.Event(), asyncio.Event()
    looks: list[set[str]] = []
    sleep, latest_ids = asyncio.sleep, completions.latest_ids

    async def sleep_until_told(seconds: float) -> None:
        if seconds == pause:
            paused.set()
            await ended.wait()
        else:
            await sleep(seconds)

    def away_at_first(session: Any, keys: Any) -> Any:
        looks.append({task_id for _workflow_id, _batch_id, task_id in keys})
        if len(looks) == 1:
            raise OSError("away")
        return latest_ids(session, keys)

    monkeypatch.setattr(completions, "latest_ids", away_at_first)
    monkeypatch.setattr(trigger_module, "backoff", lambda _failures, **_limits: pause)
    monkeypatch.setattr(asyncio, "sleep", sleep_until_told)
    for task_id in ("check", "other"):
        await asyncio.to_thread(tell, task_id, "SUCCESS", task_id=task_id)
    first = asyncio.create_task(event(trigger()))
    await asyncio.wait_for(paused.wait(), SECONDS)
    watch = trigger_module._watch_of_loop()
    newcomer = asyncio.create_task(event(trigger("other")))
    while len(watch._waiting) < 2:
        await sleep(0)
    assert (first.done(), looks) == (False, [{"check"}])
    ended.set()
    await asyncio.wait_for(asyncio.gather(first, newcomer), SECONDS)
    assert looks == [{"check"}, {"check", "other"}]


def test_the_trigger_is_rebuilt_from_what_it_serializes() -> None:
    path, arguments = trigger(after=7, first_event_after=5.0).serialize()
    assert path == "provider.triggers.completion.TaskCompletionTrigger"
    assert TaskCompletionTrigger(**arguments).serialize() == (path, arguments)
