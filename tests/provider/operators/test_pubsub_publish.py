"""Messages that a task publishes, to the stand-in for Pub/Sub and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from airflow.sdk.exceptions import AirflowFailException
from google.api_core.exceptions import InvalidArgument
from google.pubsub_v1 import PublisherClient, PubsubMessage, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from provider.emulators.server import Emulators
from provider.hooks.remote_job import RemoteCallError
from provider.operators.pubsub import PubSubPublishOperator

TOPIC = "projects/demo-project/topics/task-batches"
SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with Emulators(pubsub="builtin", folder=tmp_path_factory.mktemp("emulators")) as emulators:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", emulators.pubsub_host)
        yield emulators.pubsub_host


def publish(messages: Any, topic: str = TOPIC) -> Any:
    return PubSubPublishOperator(task_id="tell", topic=topic, messages=messages).execute({})


def received(host: str, number: int) -> list[Any]:
    with grpc.insecure_channel(host) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        found: list[Any] = []
        while len(found) < number:
            found += client.pull(subscription=SUBSCRIPTION, max_messages=number).received_messages
        return [one.message for one in found]


def test_each_message_is_what_was_given(host: str) -> None:
    told: list[dict[str, Any]] = [
        {"data": "plain ü", "attributes": {"kind": "text"}},
        {"data": {"day": "2026-01-31", "rows": 7, "name": "ü"}},
        {"data": [1, None, True]},
        {"attributes": {"topic": "a", "timeout": "b", "data": "c", "retry": "d"}},
        {"data": 0},
    ]
    result = publish(told)

    found = received(host, len(told))
    assert result == {"topic": TOPIC, "message_ids": [one.message_id for one in found]}
    assert (found[0].data.decode(), dict(found[0].attributes)) == ("plain ü", {"kind": "text"})
    assert json.loads(found[1].data) == told[1]["data"]
    assert "ü".encode() in found[1].data
    assert json.loads(found[2].data) == told[2]["data"]
    assert (found[3].data, dict(found[3].attributes)) == (b"", told[3]["attributes"])
    assert [found[4].data, *{one.ordering_key for one in found}] == [b"0", ""]


def test_a_single_message_is_a_list_of_one(host: str) -> None:
    publish({"data": "one"})

    assert [one.data for one in received(host, 1)] == [b"one"]


def test_messages_of_one_key_go_together(host: str) -> None:
    publish([{"data": "1", "ordering_key": "de"}, {"data": "2", "ordering_key": "de"}])

    assert [(one.data, one.ordering_key) for one in received(host, 2)] == [(b"1", "de"), (b"2", "de")]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["de", "fr", "de"], "the same ordering_key, not 'de' and 'fr'; make a task"),
        (["de", None], "not none and 'de'; make a task"),
    ],
)
def test_messages_of_several_keys_are_not_sent(keys: list[str | None], said: str, host: str) -> None:
    messages = [{"data": "x", "ordering_key": key} for key in keys]
    with pytest.raises(AirflowFailException, match=said):
        publish(messages)

    # As the vendor documents it, so that others' operators are told too.
    sent = [PubsubMessage(data=b"x", ordering_key=key or "") for key in keys]
    with grpc.insecure_channel(host) as channel:
        client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        with pytest.raises(InvalidArgument, match="the same ordering key"):
            client.publish(topic=TOPIC, messages=sent)
    publish([{"data": "last"}])
    assert [one.data for one in received(host, 1)] == [b"last"]


@pytest.mark.usefixtures("host")
def test_a_topic_that_is_not_there_is_told() -> None:
    missing = "projects/demo-project/topics/missing"
    with pytest.raises(
        RemoteCallError, match=f"Pub/Sub did not publish to {missing}: NotFound: .*It takes roles/pubsub.publisher"
    ):
        publish([{"data": "x"}], missing)


@pytest.mark.parametrize("topic", ["task-batches", "projects/p/topics/", "projects/p/subscriptions/told", ""])
def test_a_rendered_topic_has_a_full_name(topic: str) -> None:
    with pytest.raises(AirflowFailException, match="is not the full name of a Pub/Sub topic"):
        publish([{"data": "x"}], topic)
