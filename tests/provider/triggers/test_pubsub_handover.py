"""What one trigger leaves to the next: pulls under way, and messages that came too late for it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core.exceptions import NotFound

from provider.hooks import pubsub as hooks
from provider.hooks.pubsub import SubscriberAsyncHook
from provider.metadata import inbox, request_queue
from provider.metadata.engine import write_session
from provider.metadata.states import DISPATCHED
from provider.triggers import pubsub as module
from tests.provider.triggers.inbox_trigger import GOOD, first_event, message_of_inbox, rows, states
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("workflow", "nothing_parked")


def watch_pulls(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Return a list that gets an item for each pull: how many messages it has brought, None while it is under way."""
    pulls: list[int | None] = []
    pull = SubscriberAsyncHook.pull

    async def watched_pull(hook: SubscriberAsyncHook, *args: Any) -> Any:
        number = len(pulls)
        pulls.append(None)
        received = await pull(hook, *args)
        pulls[number] = len(received)
        return received

    monkeypatch.setattr(SubscriberAsyncHook, "pull", watched_pull)
    return pulls


def watch_parking(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that gets, for each reader that is left, how many seconds its pull waits for the next trigger."""
    parked: list[float] = []
    park = hooks.SubscriptionReader.park

    async def watched_park(reader: hooks.SubscriptionReader, seconds: float) -> None:
        parked.append(seconds)
        await park(reader, seconds)

    monkeypatch.setattr(hooks.SubscriptionReader, "park", watched_park)
    return parked


async def test_a_pull_under_way_is_handed_to_the_next_trigger(pubsub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull that is given up would hold back the message until its deadline."""
    pubsub.create_subscription()
    pulls, parked = watch_pulls(monkeypatch), watch_parking(monkeypatch)
    with write_session() as session:
        inbox.receive(session, pubsub.subscription, [message_of_inbox("9")])
        (request,) = request_queue.claim(session)
        request_queue.postpone(session, request.id, "no DAG yet", 1.0)
    await first_event(pubsub.subscription)
    with write_session() as session:
        request_queue.mark(session, [request.id], DISPATCHED)
    assert pulls == [None]
    await asyncio.to_thread(pubsub.publish, {**GOOD, "batch_id": "B2"})
    await first_event(pubsub.subscription)
    assert pulls == [1], "the first pull has brought it, and none was begun behind the event"
    assert parked == [hooks.PARKED_SECONDS] * 2
    assert states() == {"dispatched": 1, "received": 1}


async def test_messages_come_in_while_there_is_always_something_due(pubsub: Any) -> None:
    """Requests that wait for a DAG, a thousand of them, or for places: each trigger finds one due and fires at once."""
    pubsub.create_subscription()
    with write_session() as session:
        inbox.receive(session, pubsub.subscription, [message_of_inbox("9")])
    await asyncio.to_thread(pubsub.publish, {**GOOD, "batch_id": "B2"})
    async with asyncio.timeout(60):
        while len(rows()) < 2:
            await first_event(pubsub.subscription)
    assert [row.batch_id for row in rows()] == ["B1", "B2"]


async def test_what_arrives_during_the_look_that_fires_is_stored_first(pubsub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pubsub.create_subscription()
    pulls = watch_pulls(monkeypatch)
    look, looks = module.look_into_inbox, Counter[str]()

    def slow_look() -> Any:
        looks["made"] += 1
        if looks["made"] == 2:
            with write_session() as session:
                inbox.receive(session, pubsub.subscription, [message_of_inbox("9")])
            pubsub.publish({**GOOD, "batch_id": "B2"})
            wait_for(lambda: pulls == [1], 60)
        return look()

    monkeypatch.setattr(module, "look_into_inbox", slow_look)
    await first_event(pubsub.subscription)
    assert states() == {"received": 2}


async def test_what_cannot_be_stored_before_the_event_is_the_next_triggers(pubsub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.0)
    pubsub.create_subscription()
    pulls = watch_pulls(monkeypatch)
    look = module.look_into_inbox
    with write_session() as session:
        inbox.receive(session, pubsub.subscription, [message_of_inbox("9")])
    with write_session() as session:
        request_queue.postpone(session, rows()[0].id, "no DAG yet", 3600)

    def slow_look() -> Any:
        found = look()
        if pulls == [None]:
            pubsub.publish({**GOOD, "batch_id": "B2"})
            wait_for(lambda: pulls == [1], 60)
            return datetime.now(UTC), found[1]
        return found

    monkeypatch.setattr(module, "look_into_inbox", slow_look)
    await first_event(pubsub.subscription)
    assert (states(), pulls) == ({"received": 1}, [1])
    with write_session() as session:
        request_queue.mark(session, [row.id for row in rows()], DISPATCHED)
    await first_event(pubsub.subscription)
    assert (states(), pulls[0]) == ({"dispatched": 1, "received": 1}, 1)


@pytest.mark.parametrize("seconds", [0.0, 0.2])
async def test_what_a_parked_pull_brings_is_given_back_if_nobody_comes(pubsub: Any, seconds: float) -> None:
    """The next trigger may run in another triggerer."""
    pubsub.create_subscription()
    reader = hooks.SubscriptionReader.open(pubsub.subscription, "none")
    pull = reader.begin(10, 60.0)
    await reader.park(seconds)
    expiry = reader._expiry
    assert expiry is not None
    await asyncio.to_thread(pubsub.publish, GOOD)
    (delivered,) = await asyncio.wait_for(pull, 60)
    await asyncio.wait_for(expiry, 60)
    assert hooks._parked == {}
    elsewhere = SubscriberAsyncHook("none")
    (again,) = await elsewhere.pull(pubsub.subscription, 10, 5.0)  # its deadline would be 10 s
    await elsewhere.close()
    assert again.message.message_id == delivered.message.message_id


async def test_a_trigger_that_goes_on_in_another_triggerer_finds_the_messages_at_once(
    pubsub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow cancels it here, where the pull that is under way would take the next message with it until its deadline."""
    pubsub.create_subscription()
    pulls, parked = watch_pulls(monkeypatch), watch_parking(monkeypatch)
    moved = asyncio.create_task(first_event(pubsub.subscription))
    await asyncio.to_thread(wait_for, lambda: pulls == [None], 60)
    moved.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moved
    assert parked == [0.0]
    (left,) = hooks._parked.values()
    hooks._parked.clear()  # another triggerer does not know of it
    expiry = left._expiry
    assert expiry is not None
    await asyncio.to_thread(pubsub.publish, GOOD)
    await asyncio.wait_for(expiry, 60)
    assert pulls == [1], "the pull of before has brought it"
    (again,) = await asyncio.wait_for(SubscriberAsyncHook("none").pull(pubsub.subscription, 10, 5.0), 60)
    assert json.loads(again.message.data) == GOOD  # its deadline would be 10 s


async def test_after_a_failed_pull_the_connection_is_read_anew(pubsub: Any) -> None:
    """Its key may have been replaced."""
    reader = hooks.SubscriptionReader.open(f"{pubsub.subscription}-missing", "none")
    with pytest.raises(NotFound):
        await reader.next_messages(10, 5.0)
    assert reader._hook._client is None
