"""What the inbox trigger decides by itself: how long it waits, when it tries again, what it tells the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from provider.exceptions import ConfigurationError
from provider.hooks.pubsub import SubscriberAsyncHook, SubscriptionReader
from provider.metadata import request_queue, versions
from provider.triggers import pubsub as module
from provider.triggers.direct_dispatch import DirectDispatch
from provider.triggers.pubsub import PubSubInboxTrigger, Sweep
from tests.provider.triggers.inbox_trigger import give_back_what_is_parked

SUBSCRIPTION = "projects/p/subscriptions/sub"
LIMITS = {"first": 1.0, "longest": 30.0}


class Pauses(list[int]):
    """Notes of which failure each pause is, and makes none."""

    def __call__(self, failures: int, **limits: float) -> float:
        assert limits == LIMITS
        self.append(failures)
        return 0.0


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    noted = Pauses()
    monkeypatch.setattr(module, "backoff", noted)
    return noted


class Metrics:
    """Stands in for Airflow's metrics."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, float]] = []
        tell = lambda name, value: self.told.append((name, value))  # noqa: E731
        monkeypatch.setattr(module, "stats", SimpleNamespace(incr=tell, gauge=tell))


def answers(monkeypatch: pytest.MonkeyPatch, *script: Any) -> None:
    """Let looks into the inbox have these answers, one after another, and the last one from then on."""
    left = list(script)

    def look() -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "look_into_inbox", look)


def test_all_but_the_subscriptions_has_a_default() -> None:
    classpath, arguments = PubSubInboxTrigger([SUBSCRIPTION]).serialize()
    assert classpath == "provider.triggers.pubsub.PubSubInboxTrigger"
    assert arguments == {
        "subscriptions": [SUBSCRIPTION],
        "gcp_conn_id": "google_cloud_default",
        "impersonation_chain": None,
        "max_messages": 250,
        "poll_interval": 2.0,
        "wait_seconds": None,
        "first_event_after": 0.0,
        "airflow_conn_id": None,
    }


async def test_a_database_that_does_not_answer_is_asked_ever_more_rarely(monkeypatch: pytest.MonkeyPatch, pauses: Pauses) -> None:
    answers(monkeypatch, *(ConnectionError("gone") for _ in range(3)), (None, None))
    assert await PubSubInboxTrigger([SUBSCRIPTION])._due_in() is None
    assert pauses == [1, 2, 3]
    assert await PubSubInboxTrigger([SUBSCRIPTION])._due_in() is None
    assert pauses == [1, 2, 3], "each look begins anew"


async def test_a_wrong_configuration_is_a_failure_too(monkeypatch: pytest.MonkeyPatch, pauses: Pauses) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.0)
    monkeypatch.setitem(LIMITS, "longest", 0.0)
    answers(
        monkeypatch, ConfigurationError("no address"), ConfigurationError("no address"), ConnectionError("gone"), (None, None)
    )
    assert await PubSubInboxTrigger([SUBSCRIPTION])._due_in() is None
    assert pauses == [3]


async def test_when_a_request_is_due_and_since_when_the_oldest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, now = Metrics(monkeypatch), datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
    monkeypatch.setattr(module, "datetime", SimpleNamespace(now=lambda _zone: now))
    answers(
        monkeypatch, (now + timedelta(seconds=7), now - timedelta(seconds=90)), (now - timedelta(seconds=3), now), (None, None)
    )
    trigger = PubSubInboxTrigger([SUBSCRIPTION])

    assert [await trigger._due_in() for _ in range(3)] == [7.0, -3.0, None]
    assert metrics.told == [("accelerator.requests.oldest_waiting_seconds", seconds) for seconds in (90.0, 0.0, 0.0)]


async def test_what_was_stored_is_counted_by_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(monkeypatch)
    monkeypatch.setattr(module, "commit_to_inbox", lambda *_: {"received": 2, "duplicate": 1})
    assert await PubSubInboxTrigger([SUBSCRIPTION])._store(SUBSCRIPTION, [])
    assert metrics.told == [("accelerator.requests.received", 2), ("accelerator.requests.duplicate", 1)]


async def test_a_subscription_that_fails_is_pulled_ever_more_rarely_until_it_answers(
    monkeypatch: pytest.MonkeyPatch, pauses: Pauses
) -> None:
    answers(monkeypatch, (None, None))
    script: list[Any] = [ConnectionError(), ConnectionError(), [], ConnectionError(), [], []]
    asked, done = [], asyncio.Event()

    async def pull(_hook: SubscriberAsyncHook, *arguments: Any) -> Any:
        asked.append(arguments)
        if not script:
            done.set()
            await asyncio.Event().wait()
        if isinstance(answer := script.pop(0), Exception):
            raise answer
        return answer

    monkeypatch.setattr(SubscriberAsyncHook, "pull", pull)
    events: Any = PubSubInboxTrigger([SUBSCRIPTION], max_messages=7, wait_seconds=3.0).run()
    waiting = asyncio.create_task(anext(events))
    await asyncio.wait_for(done.wait(), 60)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert pauses == [1, 2, 1]
    assert set(asked) == {(SUBSCRIPTION, 7, 3.0)}


@pytest.mark.parametrize(("emulator", "seconds"), [("", 100.0), ("127.0.0.1:8085", 24 * 3600.0)])
async def test_no_pull_is_given_up_before_the_service_ends_it(
    emulator: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given up takes the next message with it. Google's emulator waits as long as it is told, the service 90 s."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", emulator)
    answers(monkeypatch, (None, None))
    asked: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def pull(_hook: SubscriberAsyncHook, _subscription: str, _most: int, wait_seconds: float) -> Any:
        asked.set_result(wait_seconds)
        await asyncio.Event().wait()

    monkeypatch.setattr(SubscriberAsyncHook, "pull", pull)
    events: Any = PubSubInboxTrigger([SUBSCRIPTION]).run()
    waiting = asyncio.create_task(anext(events))
    assert await asyncio.wait_for(asked, 60) == seconds
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_nobody_listens_any_more_when_a_reader_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, (None, None))
    pulling, listening = asyncio.Event(), []
    park = SubscriptionReader.park

    async def pull(_hook: SubscriberAsyncHook, *_: Any) -> Any:
        pulling.set()
        await asyncio.Event().wait()

    async def watched_park(reader: SubscriptionReader, seconds: float) -> None:
        listening.append([task for task in asyncio.all_tasks() if "InboxTrigger._listen" in str(task.get_coro())])
        await park(reader, seconds)

    monkeypatch.setattr(SubscriberAsyncHook, "pull", pull)
    monkeypatch.setattr(SubscriptionReader, "park", watched_park)
    events: Any = PubSubInboxTrigger([SUBSCRIPTION]).run()
    waiting = asyncio.create_task(anext(events))
    await asyncio.wait_for(pulling.wait(), 60)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert listening == [[]]


async def test_it_looks_again_when_something_is_due_and_else_after_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wait is for the first pull."""
    waits: list[Any] = []

    async def never(_hook: SubscriberAsyncHook, *_: Any) -> Any:
        await asyncio.Event().wait()

    async def wait_for(awaited: Coroutine[Any, Any, Any], seconds: float | None = None) -> None:
        awaited.close()
        waits.append(seconds)
        raise TimeoutError

    monkeypatch.setattr(SubscriberAsyncHook, "pull", never)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(**{**vars(asyncio), "wait_for": wait_for}))
    later = datetime.now(UTC) + timedelta(hours=1)
    answers(monkeypatch, (None, None), (None, None), (later, None), (datetime.now(UTC), None))
    events: Any = PubSubInboxTrigger([SUBSCRIPTION], poll_interval=20.0).run()
    event = await anext(events)
    await events.aclose()
    await give_back_what_is_parked()

    assert waits == [module.NEXT_PULL_SECONDS, 20.0, 20.0]
    assert event.payload == {"status": "waiting"}


async def test_runs_are_started_from_here_until_that_is_not_possible_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the next request that is due is an event, for the dispatcher's tasks."""
    opened, still, asked = [], [True, True, False], []

    async def never(_hook: SubscriberAsyncHook, *_: Any) -> Any:
        await asyncio.Event().wait()

    class Direct:
        async def dispatch(self) -> bool:
            return still.pop(0)

    async def open_direct(conn_id: str | None) -> Any:
        asked.append(conn_id)
        return Direct()

    def open_reader(*arguments: Any) -> SubscriptionReader:
        opened.append(arguments)
        return real_open(*arguments)

    real_open = SubscriptionReader.open
    monkeypatch.setattr(SubscriberAsyncHook, "pull", never)
    monkeypatch.setattr(SubscriptionReader, "open", open_reader)
    monkeypatch.setattr(DirectDispatch, "opened", open_direct)
    answers(monkeypatch, (datetime.now(UTC), None))
    options: Any = {"gcp_conn_id": "google", "impersonation_chain": ["me"], "airflow_conn_id": "own"}
    events: Any = PubSubInboxTrigger([SUBSCRIPTION], **options).run()
    event = await asyncio.wait_for(anext(events), 60)
    await events.aclose()
    await give_back_what_is_parked()

    assert (event.payload, still, asked) == ({"status": "waiting"}, [], ["own"])
    assert opened == [(SUBSCRIPTION, "google", ["me"])]


@pytest.mark.usefixtures("embedded_database")
def test_a_sweep_comes_when_it_is_time_and_at_once_where_there_was_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now, deleted, more = 0.0, [], [1000, 3, 0, 0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))

    def delete(_session: object, _age: timedelta) -> int:
        deleted.append(now)
        return more.pop(0)

    monkeypatch.setattr(request_queue, "delete_old", delete)
    monkeypatch.setattr(versions, "sweep", lambda _session: None)
    sweep = Sweep(every=300.0)
    for moment in (0.0, 0.0, 0.0, 0.0, 299.0, 300.0, 300.0):
        now = moment
        sweep.sweep_if_due()

    assert deleted == [0.0, 0.0, 0.0, 300.0]
