"""Both Pub/Sub implementations behind the vendor's clients; what only one of them does is at the end."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient, SubscriberAsyncClient, SubscriberClient

from provider.emulators.ledger import Ledger
from provider.emulators.pubsub import choose_pubsub, create_resources, find_google_emulator
from provider.emulators.pubsub_store import PubSubStore, Subscription
from provider.emulators.rules import RuleBook
from provider.emulators.scenario import PubSubScenario

# Deprecated, but it asks exactly "is there something now?".
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
PROJECT = "projects/demo-project"
TOPIC, DEAD = f"{PROJECT}/topics/task-batches", f"{PROJECT}/topics/dead-letters"


@pytest.fixture(scope="module", params=["builtin", "google"])
def service(request, tmp_path_factory) -> Iterator[str]:
    if request.param == "google" and find_google_emulator(os.environ) is None:
        pytest.skip("Google's Pub/Sub emulator (cloud-pubsub-emulator and java) is not on this machine")
    folder = tmp_path_factory.mktemp("pubsub")
    emulator = choose_pubsub(request.param, RuleBook(), Ledger(), folder)
    emulator.start()
    try:
        yield emulator.address
    finally:
        emulator.stop()


@pytest.fixture
def channel(service):
    with grpc.insecure_channel(service) as channel:
        yield channel


@pytest.fixture
def publisher(channel):
    client = PublisherClient(transport=PublisherClient.get_transport_class("grpc")(channel=channel))
    for topic in (TOPIC, DEAD):
        client.create_topic(name=topic)
    yield client
    for topic in (TOPIC, DEAD):
        client.delete_topic(topic=topic)


@pytest.fixture
def subscriber(channel):
    return SubscriberClient(transport=SubscriberClient.get_transport_class("grpc")(channel=channel))


@pytest.fixture
def subscribe(publisher, subscriber):
    made = []

    def create(name="airflow", **settings):
        # A new name each time: Google's emulator may still hand messages to a stream of the one before.
        made.append(f"{PROJECT}/subscriptions/{name}-{uuid.uuid4()}")
        subscriber.create_subscription(request={"name": made[-1], "topic": TOPIC, **settings})
        return made[-1]

    yield create
    for name in made:
        subscriber.delete_subscription(subscription=name)


def publish(publisher, *contents, topic=TOPIC, **attributes):
    messages = [{"data": content, "attributes": attributes} for content in contents]
    return list(publisher.publish(request={"topic": topic, "messages": messages}).message_ids)


def pull(subscriber, subscription, count=10, seconds=20.0):
    """Pull once more while nothing comes: the service may answer with nothing before the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            answer = subscriber.pull(subscription=subscription, max_messages=count, timeout=seconds, retry=None)
        except exceptions.DeadlineExceeded:
            continue
        if answer.received_messages:
            return list(answer.received_messages)
    return []


def nothing(subscriber, subscription):
    return not subscriber.pull(
        request={"subscription": subscription, "max_messages": 10, "return_immediately": True}
    ).received_messages


def test_publish_pull_acknowledge(publisher, subscriber, subscribe):
    subscription = subscribe()
    (message_id,) = publish(publisher, b"hello", kind="start")
    (received,) = pull(subscriber, subscription)
    message = received.message
    assert (message.message_id, message.data, dict(message.attributes)) == (message_id, b"hello", {"kind": "start"})
    assert message.publish_time
    assert received.delivery_attempt == 0
    subscriber.acknowledge(subscription=subscription, ack_ids=[received.ack_id])
    assert nothing(subscriber, subscription)


def test_every_subscription_gets_each_message_published_after_it(publisher, subscriber, subscribe):
    first = subscribe("first-one")
    publish(publisher, b"1")
    second = subscribe("second-one")
    publish(publisher, b"2")
    seen = {item.message.data for item in pull(subscriber, second)}
    assert seen == {b"2"}
    received = pull(subscriber, first)
    while len(received) < 2:
        received += pull(subscriber, first)
    assert {item.message.data for item in received} == {b"1", b"2"}


def test_max_messages(publisher, subscriber, subscribe):
    subscription = subscribe()
    publish(publisher, *(str(number).encode() for number in range(5)))
    assert len(pull(subscriber, subscription, count=2)) <= 2


def test_redelivery_after_the_ack_deadline(publisher, subscriber, subscribe):
    subscription = subscribe()
    (message_id,) = publish(publisher, b"x")
    (first,) = pull(subscriber, subscription)
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=1)
    (second,) = pull(subscriber, subscription)
    assert second.message.message_id == message_id
    assert second.ack_id != first.ack_id
    subscriber.acknowledge(subscription=subscription, ack_ids=[second.ack_id])
    assert nothing(subscriber, subscription)


def test_leased_message_is_not_delivered_and_nack_gives_it_back(publisher, subscriber, subscribe):
    subscription = subscribe(ack_deadline_seconds=600)
    publish(publisher, b"x")
    (first,) = pull(subscriber, subscription)
    assert nothing(subscriber, subscription)
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    assert pull(subscriber, subscription)[0].message.data == b"x"


def test_long_poll_wakes_up(publisher, subscriber, subscribe):
    subscription = subscribe()
    answer: Future[Any] = Future()
    thread = threading.Thread(target=lambda: answer.set_result(pull(subscriber, subscription)))
    thread.start()
    publish(publisher, b"late")
    assert answer.result(30)[0].message.data == b"late"
    thread.join()


def test_delivery_attempts_and_dead_letters(publisher, subscriber, subscribe):
    subscription = subscribe(dead_letter_policy={"dead_letter_topic": DEAD, "max_delivery_attempts": 5})
    dead = f"{PROJECT}/subscriptions/dead"
    subscriber.create_subscription(request={"name": dead, "topic": DEAD})
    publish(publisher, b"poison")
    for attempt in range(1, 6):
        (received,) = pull(subscriber, subscription)
        assert received.delivery_attempt == attempt
        subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[received.ack_id], ack_deadline_seconds=0)
    assert nothing(subscriber, subscription)
    (letter,) = pull(subscriber, dead)
    assert letter.message.data == b"poison"
    subscriber.delete_subscription(subscription=dead)


def test_streaming_pull_by_the_high_level_client(service, publisher, subscribe, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", service)
    subscription = subscribe()
    got, all_there = [], threading.Event()

    def take(message):
        got.append(message.data)
        message.ack()
        if len(got) == 20:
            all_there.set()

    with pubsub_v1.SubscriberClient() as client:
        future = client.subscribe(subscription, take, flow_control=pubsub_v1.types.FlowControl(max_messages=3))
        sender = pubsub_v1.PublisherClient()
        wanted = {str(number).encode() for number in range(20)}
        for future_id in [sender.publish(TOPIC, data) for data in wanted]:
            assert future_id.result(30)
        assert all_there.wait(30)
        future.cancel()
        future.result(30)
        sender.stop()
    assert set(got) == wanted


async def test_async_client(service, publisher, subscribe):
    subscription = subscribe()
    publish(publisher, b"x")
    async with grpc.aio.insecure_channel(service) as channel:
        client = SubscriberAsyncClient(transport=SubscriberAsyncClient.get_transport_class("grpc_asyncio")(channel=channel))
        answer = await client.pull(subscription=subscription, max_messages=1, timeout=20)
        assert answer.received_messages[0].message.data == b"x"
        await client.acknowledge(subscription=subscription, ack_ids=[answer.received_messages[0].ack_id])


def test_topics_and_subscriptions_are_resources(publisher, subscriber, subscribe):
    subscription = subscribe(ack_deadline_seconds=60)
    assert publisher.get_topic(topic=TOPIC).name == TOPIC
    assert {item.name for item in publisher.list_topics(project=PROJECT)} == {TOPIC, DEAD}
    assert list(publisher.list_topic_subscriptions(topic=TOPIC)) == [subscription]
    assert [item.name for item in subscriber.list_subscriptions(project=PROJECT)] == [subscription]
    found = subscriber.get_subscription(subscription=subscription)
    assert (found.topic, found.ack_deadline_seconds) == (TOPIC, 60)


def test_refusals(publisher, subscriber, subscribe):
    subscription = subscribe()
    with pytest.raises(exceptions.AlreadyExists):
        publisher.create_topic(name=TOPIC)
    with pytest.raises(exceptions.AlreadyExists):
        subscriber.create_subscription(name=subscription, topic=TOPIC)
    with pytest.raises(exceptions.NotFound):
        publish(publisher, b"x", topic=f"{PROJECT}/topics/nobody")
    with pytest.raises(exceptions.NotFound):
        subscriber.pull(subscription=f"{PROJECT}/subscriptions/nobody", max_messages=1)
    with pytest.raises(exceptions.NotFound):
        subscriber.create_subscription(name=f"{PROJECT}/subscriptions/other", topic=f"{PROJECT}/topics/nobody")
    with pytest.raises(exceptions.InvalidArgument):
        publisher.create_topic(name=f"{PROJECT}/topics/x")
    with pytest.raises(exceptions.InvalidArgument):
        publish(publisher, b"")
    with pytest.raises(exceptions.InvalidArgument):
        subscriber.create_subscription(
            request={"name": f"{PROJECT}/subscriptions/other", "topic": TOPIC, "ack_deadline_seconds": 601}
        )


def test_the_scenarios_resources_are_created_once(service, publisher, subscriber):
    scenario = PubSubScenario.model_validate(
        {"topics": [{"name": "task-batches", "subscriptions": [{"name": "mine", "ack_deadline_seconds": 60}]}]}
    )
    for _ in range(2):
        create_resources(service, scenario)
    name = f"{PROJECT}/subscriptions/mine"
    assert subscriber.get_subscription(subscription=name).ack_deadline_seconds == 60
    subscriber.delete_subscription(subscription=name)


# The stand-in alone: its clock and its ledger can be seen.


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def store(clock, ledger):
    store = PubSubStore(ledger, clock)
    store.create_topic("t", b"")
    return store


def test_retention(store, clock):
    store.create_subscription(Subscription("s", "t", b"", retention_seconds=600))
    store.publish("t", [(b"old", {}, "")])
    clock.now = 599
    store.publish("t", [(b"new", {}, "")])
    clock.now = 600
    assert [item.message.data for item in store.pull("s", 10)] == [b"new"]


def test_late_acknowledgement_counts_until_the_message_is_delivered_again(store, clock):
    store.create_subscription(Subscription("s", "t", b""))
    store.publish("t", [(b"a", {}, ""), (b"b", {}, "")])
    late, again = store.pull("s", 10)
    clock.now = 10
    store.acknowledge("s", [late.ack_id])
    (second,) = store.pull("s", 10)
    assert second.message.data == b"b"
    store.acknowledge("s", [again.ack_id])
    clock.now = 20
    assert [item.message.data for item in store.pull("s", 10)] == [b"b"]


def test_retry_policy_backs_off(store, clock):
    store.create_subscription(Subscription("s", "t", b"", min_backoff=10, max_backoff=15))
    store.publish("t", [(b"x", {}, "")])
    for wait in (10, 15, 15):
        (received,) = store.pull("s", 1)
        store.modify_ack_deadline("s", [received.ack_id], 0)
        clock.now += wait - 0.1
        assert store.pull("s", 1) == []
        clock.now += 0.1


def test_nothing_is_leased_to_a_client_that_left(store):
    store.create_subscription(Subscription("s", "t", b""))
    store.publish("t", [(b"x", {}, "")])
    assert store.pull("s", 1, active=lambda: False) == []
    assert len(store.pull("s", 1)) == 1


def test_ledger_tells_each_delivery(store, ledger, clock):
    store.create_subscription(Subscription("s", "t", b""))
    (message_id,) = store.publish("t", [(b"x", {"a": "b"}, "")])
    store.pull("s", 1)
    clock.now = 10
    (second,) = store.pull("s", 1)
    store.acknowledge("s", [second.ack_id])
    assert [(item.operation, item.detail.get("attempt")) for item in ledger.entries("pubsub", resource=message_id)] == [
        ("published", None),
        ("delivered", 1),
        ("delivered", 2),
        ("acked", None),
    ]


@pytest.fixture
def builtin(tmp_path, ledger):
    emulator = choose_pubsub("builtin", RuleBook(), ledger, tmp_path)
    emulator.start()
    yield emulator
    emulator.stop()


def test_builtin_refuses_what_it_would_ignore(builtin):
    with grpc.insecure_channel(builtin.address) as channel:
        publisher = PublisherClient(transport=PublisherClient.get_transport_class("grpc")(channel=channel))
        publisher.create_topic(name=TOPIC)
        client = SubscriberClient(transport=SubscriberClient.get_transport_class("grpc")(channel=channel))
        for option in ({"filter": "attributes.a"}, {"enable_message_ordering": True}):
            with pytest.raises(exceptions.MethodNotImplemented, match=next(iter(option))):
                client.create_subscription(request={"name": f"{PROJECT}/subscriptions/sub", "topic": TOPIC, **option})
