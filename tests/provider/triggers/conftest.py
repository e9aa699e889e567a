"""A Pub/Sub service of each kind, spoken to with Google's own clients."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1 import PublisherClient, PubsubMessage, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from provider.emulators.pubsub import find_google_emulator
from provider.emulators.server import Emulators
from provider.metadata import definitions
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows
from tests.provider.triggers.inbox_trigger import give_back_what_is_parked

ACK_SECONDS = 10


@dataclass
class PubSub:
    """A topic with one subscription of its own."""

    address: str
    channel: grpc.Channel
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        self.topic = f"projects/demo-project/topics/{self.name}"
        self.subscription = f"projects/demo-project/subscriptions/{self.name}"
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self.channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self.channel))
        self.publisher.create_topic(name=self.topic)

    def create_subscription(self) -> None:
        self.subscriber.create_subscription(
            request={"name": self.subscription, "topic": self.topic, "ack_deadline_seconds": ACK_SECONDS}
        )

    def publish(self, *messages: bytes | dict[str, Any], attributes: dict[str, str] | None = None) -> list[str]:
        """Publish messages in one request, all with the same attributes."""
        data = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        answer = self.publisher.publish(
            topic=self.topic, messages=[PubsubMessage(data=item, attributes=attributes or {}) for item in data]
        )
        return list(answer.message_ids)

    def left(self) -> list[bytes]:
        """Return what is delivered within a wait longer than the acknowledgement deadline: nothing, if all was acknowledged."""
        try:
            answer = self.subscriber.pull(
                request={"subscription": self.subscription, "max_messages": 100}, timeout=ACK_SECONDS + 3, retry=None
            )
        except DeadlineExceeded:
            return []
        return [item.message.data for item in answer.received_messages]


@pytest.fixture(scope="module", params=["builtin", "google"])
def pubsub_address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "google" and find_google_emulator(os.environ) is None:
        pytest.skip("Google's Pub/Sub emulator (or Java) is not on this machine")
    with Emulators(pubsub=request.param, folder=tmp_path_factory.mktemp("emulators")) as emulators:
        yield emulators.pubsub_host


@pytest.fixture
def pubsub(pubsub_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSub]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    with grpc.insecure_channel(pubsub_address) as channel:
        yield PubSub(pubsub_address, channel)


@pytest.fixture
def workflow(embedded_database: str) -> None:
    rows = DefinitionRows(
        workflows=[{"workflow_id": "daily_sales"}],
        tasks=[{"task_id": "stg_orders", "workflow_id": "daily_sales", "task_type": "t"}],
    )
    with write_session() as session:
        definitions.replace_workflows(session, rows)


@pytest.fixture
async def nothing_parked() -> AsyncIterator[None]:
    yield
    await give_back_what_is_parked()
