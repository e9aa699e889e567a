"""The trigger against both Pub/Sub services: commit first, acknowledge then, and survive what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from provider.hooks import pubsub as hooks
from provider.hooks.pubsub import SubscriberAsyncHook
from provider.metadata import definitions, inbox, request_queue
from provider.metadata.engine import get_engine, write_session
from provider.metadata.rows import ClaimedRequest, DefinitionRows
from provider.metadata.states import DISPATCHED
from provider.metadata.tables import BatchRequest
from provider.pacing import backoff
from provider.triggers import pubsub as module
from provider.triggers.pubsub import PubSubInboxTrigger, commit_to_inbox
from tests.provider.triggers.inbox_trigger import GOOD, first_event, give_back_what_is_parked, message_of_inbox, rows, states
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("workflow", "nothing_parked")

URL = "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN"
NOWHERE = "postgresql://nobody@/nothing?host=/nonexistent"


@pytest.mark.slow
async def test_a_message_becomes_a_row_and_is_acknowledged(pubsub: Any) -> None:
    pubsub.create_subscription()
    waiting = asyncio.create_task(first_event(pubsub.subscription))
    (message_id,) = await asyncio.to_thread(pubsub.publish, GOOD)
    event = await waiting
    assert event.payload == {"status": "waiting"}
    (row,) = rows()
    assert (row.state, row.message_id, row.batch_id, row.subscription) == ("received", message_id, "B1", pubsub.subscription)
    assert json.loads(row.payload) == GOOD
    assert row.published_at is not None
    assert await asyncio.to_thread(pubsub.left) == []


@pytest.mark.parametrize("count", [6, 8])
async def test_one_event_for_all_that_wait(pubsub: Any, count: int) -> None:
    """Whether the last pull is full or not: what is there comes in before the event, and the event does come."""
    pubsub.create_subscription()
    await asyncio.to_thread(pubsub.publish, *({**GOOD, "batch_id": f"B{number}"} for number in range(count)))
    await first_event(pubsub.subscription, max_messages=2)
    assert states() == {"received": count}


async def test_messages_without_end_do_not_keep_the_event_back(pubsub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.3)
    pubsub.create_subscription()
    await asyncio.to_thread(pubsub.publish, GOOD)
    commit = commit_to_inbox

    def store_and_publish_more(subscription: str, received: Any) -> Any:
        pubsub.publish({**GOOD, "batch_id": f"after_{received[0].message.message_id}"})
        return commit(subscription, received)

    monkeypatch.setattr(module, "commit_to_inbox", store_and_publish_more)
    await first_event(pubsub.subscription, max_messages=1)
    await give_back_what_is_parked()
    assert await asyncio.to_thread(pubsub.left) != []


async def test_copies_and_bad_messages_are_stored_and_acknowledged_too(pubsub: Any) -> None:
    pubsub.create_subscription()
    bad: list[Any] = [b"not JSON", b"\xff\xfe", {"task_id": "nobody"}, {"task_id": "stg_orders", "batch_id": "x/clear"}]
    bad += [{"task_id": "stg_orders", "batch_id": batch_id} for batch_id in ("../other/x", "a?b=1", "y" * 300, "manual__x")]
    bad += [b"[" * 20_000, {"task_id": "stg_orders", "batch_id": "{{ ds }}"}]
    await asyncio.to_thread(pubsub.publish, *bad)
    await asyncio.to_thread(pubsub.publish, GOOD, GOOD, GOOD)
    await stored_all(pubsub.subscription, 13)
    assert states() == {"rejected": 10, "received": 1, "duplicate": 2}
    assert all(row.reason for row in rows() if row.state != "received")


FILE = {
    "notificationConfig": "projects/_/buckets/landing/notificationConfigs/1",
    "eventType": "OBJECT_FINALIZE",
    "payloadFormat": "NONE",
    "bucketId": "landing",
    "objectId": "sales/2024 03/\u00e4\u00f6 {{ ds }} %2e%2e.csv",
    "objectGeneration": "1710576000000001",
}


@pytest.mark.slow
async def test_starts_completions_and_files_come_through_whole(pubsub: Any) -> None:
    """A notification with the payload format NONE has attributes and no data."""
    with write_session() as session:
        rows_of_files = DefinitionRows(
            workflows=[{"workflow_id": "checks"}, {"workflow_id": "files", "file_pattern": "gs://landing/sales/**"}],
            tasks=[
                {"task_id": "check", "workflow_id": "checks", "task_type": "external"},
                {"task_id": "load", "workflow_id": "files", "task_type": "t"},
            ],
        )
        definitions.replace_workflows(session, rows_of_files)
    pubsub.create_subscription()
    told = {"task_id": "check", "batch_id": "B2", "previous_task_id": "check", "status": "ERROR", "error": "{{ 7 * 7 }} \u2260"}
    (start,) = await asyncio.to_thread(pubsub.publish, GOOD, attributes={"origin": "\u00fc"})
    (completion,) = await asyncio.to_thread(pubsub.publish, told)
    (file,) = await asyncio.to_thread(pubsub.publish, b"", attributes=FILE)
    deleted = {**FILE, "eventType": "OBJECT_DELETE"}
    (gone,) = await asyncio.to_thread(pubsub.publish, b"", attributes=deleted)
    await stored_all(pubsub.subscription, 4)

    assert await asyncio.to_thread(pubsub.left) == []
    found = {row.message_id: row for row in rows()}
    assert set(found) == {start, completion, file, gone}
    row = found[start]
    assert (row.kind, row.state, row.workflow_id, row.attributes) == ("start", "received", "daily_sales", {"origin": "\u00fc"})
    row = found[completion]
    assert (row.kind, row.state, row.workflow_id, row.batch_id) == ("completion", "received", "checks", "B2")
    assert (row.task_id, row.status, row.error, json.loads(row.payload)) == ("check", "ERROR", "{{ 7 * 7 }} \u2260", told)
    row = found[file]
    assert (row.kind, row.state, row.workflow_id, row.payload, row.attributes) == ("file", "received", "files", b"", FILE)
    assert row.params == {"bucket": "landing", "object": FILE["objectId"], "generation": FILE["objectGeneration"]}
    row = found[gone]
    assert (row.kind, row.state, row.workflow_id, row.attributes) == ("file", "recorded", None, deleted)


async def stored_all(subscription: str, count: int) -> None:
    """Listen until so many rows are there, however many pulls it takes; none is due, so that only messages count."""
    async with asyncio.timeout(60):
        while len(rows()) < count:
            await first_event(subscription)
            with write_session() as session:
                session.execute(update(BatchRequest).values(next_attempt_at=datetime.now(UTC) + timedelta(seconds=1)))


async def test_while_the_database_is_away_nothing_is_pulled(
    pubsub: Any, embedded_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pubsub.create_subscription()
    pubsub.publish(GOOD)
    pulls_while_away: list[str] = []
    pull = SubscriberAsyncHook.pull

    async def watched_pull(hook: SubscriberAsyncHook, *args: Any) -> Any:
        if os.environ[URL] == NOWHERE:
            pulls_while_away.append(args[0])
        return await pull(hook, *args)

    def soon(failures: int, **_limits: float) -> float:
        if failures == 3:
            monkeypatch.setenv(URL, embedded_database)
        return 0.01

    monkeypatch.setattr(SubscriberAsyncHook, "pull", watched_pull)
    monkeypatch.setattr(module, "backoff", soon)
    monkeypatch.setenv(URL, NOWHERE)
    await first_event(pubsub.subscription)
    assert pulls_while_away == []
    assert states() == {"received": 1}
    assert "The application database does not answer" in capsys.readouterr().out


@pytest.mark.slow
async def test_a_message_that_could_not_be_stored_is_delivered_again(
    pubsub: Any, embedded_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The database goes away between the pull and the insert."""
    pubsub.create_subscription()
    pubsub.publish(GOOD)
    log: list[str] = []
    pull, acknowledge = SubscriberAsyncHook.pull, SubscriberAsyncHook.acknowledge

    async def pull_and_lose_database(hook: SubscriberAsyncHook, *args: Any) -> Any:
        received = await pull(hook, *args)
        if received:
            log.append("pulled")
            if log == ["pulled"]:
                monkeypatch.setenv(URL, NOWHERE)
        return received

    async def watched_acknowledge(hook: SubscriberAsyncHook, *args: Any) -> None:
        log.append("acknowledged")
        await acknowledge(hook, *args)

    def soon(failures: int, **_limits: float) -> float:
        monkeypatch.setenv(URL, embedded_database)
        return 0.01

    monkeypatch.setattr(SubscriberAsyncHook, "pull", pull_and_lose_database)
    monkeypatch.setattr(SubscriberAsyncHook, "acknowledge", watched_acknowledge)
    monkeypatch.setattr(module, "backoff", soon)
    await first_event(pubsub.subscription)
    assert log == ["pulled", "pulled", "acknowledged"]
    assert states() == {"received": 1}
    assert "could not be stored" in capsys.readouterr().out


CRASH = """
import asyncio, os, signal, sys
from provider.hooks import pubsub as hooks
from provider.hooks.pubsub import SubscriberAsyncHook
from provider.triggers.pubsub import PubSubInboxTrigger

async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    SubscriberAsyncHook.acknowledge = die
    await anext(PubSubInboxTrigger([sys.argv[1]], poll_interval=0.2).run())

asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_triggerer_killed_between_commit_and_acknowledgement(pubsub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pubsub.create_subscription()
    pubsub.publish(GOOD)
    command = [sys.executable, "-c", CRASH, pubsub.subscription]
    crash = await asyncio.to_thread(subprocess.run, command, timeout=120, capture_output=True, text=True, check=False)
    assert crash.returncode == -signal.SIGKILL, crash.stderr
    assert states() == {"received": 1}, "committed before the crash"
    (request,) = claim()
    with write_session() as session:
        request_queue.mark(session, [request.id], DISPATCHED)
    # Delivered again, it meets its row, which fires nothing.
    met = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watched_store(*args: Any) -> Counter[str]:
        counts = commit_to_inbox(*args)
        if counts["redelivered"]:
            loop.call_soon_threadsafe(met.set)
        return counts

    monkeypatch.setattr(module, "commit_to_inbox", watched_store)
    listening = asyncio.create_task(first_event(pubsub.subscription))
    await asyncio.wait_for(met.wait(), 60)
    await asyncio.to_thread(pubsub.publish, {**GOOD, "batch_id": "B2"})
    await listening
    assert [(row.batch_id, row.state) for row in rows()] == [("B1", "dispatched"), ("B2", "received")]
    assert await asyncio.to_thread(pubsub.left) == []


def claim() -> list[ClaimedRequest]:
    with write_session() as session:
        return request_queue.claim(session)


@pytest.mark.slow
async def test_an_acknowledgement_that_fails_changes_nothing(
    pubsub: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pubsub.create_subscription()
    pubsub.publish(GOOD)

    async def fail(*_: Any) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(SubscriberAsyncHook, "acknowledge", fail)
        await first_event(pubsub.subscription)
    assert "acknowledging them failed" in capsys.readouterr().out
    assert states() == {"received": 1}
    await give_back_what_is_parked()
    left = await asyncio.to_thread(wait_for, pubsub.left, 60)
    assert [json.loads(data) for data in left] == [GOOD]


async def test_errors_of_the_service_are_waited_out(
    pubsub: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The subscription is missing at first."""

    def soon(failures: int, **_limits: float) -> float:
        if failures == 2:
            pubsub.create_subscription()
            pubsub.publish(GOOD)
        return 0.01

    monkeypatch.setattr(module, "backoff", soon)
    await first_event(pubsub.subscription)
    assert states() == {"received": 1}
    assert "Create the subscription" in capsys.readouterr().out


async def test_one_broken_subscription_does_not_stop_the_others(pubsub: Any) -> None:
    pubsub.create_subscription()
    pubsub.publish(GOOD)
    events: Any = PubSubInboxTrigger([f"{pubsub.subscription}-missing", pubsub.subscription], poll_interval=0.2).run()
    await asyncio.wait_for(anext(events), 60)
    await events.aclose()
    assert states() == {"received": 1}


async def test_a_postponed_request_fires_without_any_message(pubsub: Any) -> None:
    pubsub.create_subscription()
    get_engine()
    with write_session() as session:
        inbox.receive(session, pubsub.subscription, [message_of_inbox("9")])
        (request,) = request_queue.claim(session)
        request_queue.postpone(session, request.id, "no DAG yet", 1.0)
    await first_event(pubsub.subscription)
    assert [request.batch_id for request in claim()] == ["B1"]


async def test_no_event_before_its_time(pubsub: Any) -> None:
    pubsub.create_subscription()
    pubsub.publish(GOOD)
    before = time.monotonic()
    await first_event(pubsub.subscription, first_event_after=1.0)
    assert time.monotonic() - before >= 1.0


async def test_a_cancelled_trigger_leaves_nothing_behind_but_its_pull(pubsub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pubsub.create_subscription()
    pulling = asyncio.Event()
    pull = SubscriberAsyncHook.pull

    async def watched_pull(hook: SubscriberAsyncHook, *args: Any) -> Any:
        pulling.set()
        return await pull(hook, *args)

    monkeypatch.setattr(SubscriberAsyncHook, "pull", watched_pull)
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(first_event(pubsub.subscription))
    await asyncio.wait_for(pulling.wait(), 60)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (reader,) = hooks._parked.values()
    begun: dict[asyncio.Task[Any], Any] = {task: task.get_coro() for task in asyncio.all_tasks() - before}
    ours = {task for task, coroutine in begun.items() if "/provider/" in coroutine.cr_code.co_filename}
    assert ours == {reader._pull, reader._expiry}


def test_the_trigger_is_rebuilt_from_what_it_serializes() -> None:
    trigger = PubSubInboxTrigger(["projects/p/subscriptions/sub"], "conn", ["a", "b"], 7, 1.5, 30.0, 5.0)
    classpath, kwargs = trigger.serialize()
    assert classpath == "provider.triggers.pubsub.PubSubInboxTrigger"
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert PubSubInboxTrigger(**kwargs).serialize() == (classpath, kwargs)


def test_backoff_grows_to_a_limit() -> None:
    limits = {"first": module.FIRST_PAUSE_SECONDS, "longest": module.LONGEST_PAUSE_SECONDS}
    waits = [backoff(failures, **limits) for failures in (1, 2, 3, 4, 1000)]
    assert waits == sorted(waits)
    assert 0.9 <= waits[0] <= 1.1
    assert waits[-1] <= 33


def test_a_timestamp_of_the_client_becomes_a_plain_one() -> None:
    from google.pubsub_v1.types import ReceivedMessage

    published = datetime(2024, 3, 16, 12, tzinfo=UTC)
    item = ReceivedMessage(ack_id="a", message={"data": b"{}", "message_id": "1", "publish_time": published})
    commit_to_inbox("projects/p/subscriptions/sub", [item])
    (row,) = rows()
    assert (row.published_at, row.state) == (published, "rejected")
