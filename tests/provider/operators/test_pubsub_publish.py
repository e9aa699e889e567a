"""Messages that a task publishes, to the stand-in for Pub/Sub and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from airflow.sdk.exceptions import AirflowFailException
from google.pubsub_v1 import SubscriberClient
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
        {"attributes": {"topic": "a", "timeout": "b", "data": "c", "retry": "d"}, "ordering_key": "de"},
        {"data": 0},
    ]
    result = publish(told)

    found = received(host, len(told))
    assert result == {"topic": TOPIC, "message_ids": [one.message_id for one in found]}
    assert (found[0].data.decode(), dict(found[0].attributes)) == ("plain ü", {"kind": "text"})
    assert json.loads(found[1].data) == told[1]["data"]
    assert "ü".encode() in found[1].data
    assert json.loads(found[2].data) == told[2]["data"]
    assert (found[3].data, dict(found[3].attributes), found[3].ordering_key) == (b"", told[3]["attributes"], "de")
    assert found[4].data == b"0"


def test_a_single_message_is_a_list_of_one(host: str) -> None:
    publish({"data": "one"})

    assert [one.data for one in received(host, 1)] == [b"one"]


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
