# ruff: noqa: TID253 - gRPC's status codes are in its interface, and only the emulators import it
"""
Topics, subscriptions and deliveries of the Pub/Sub stand-in, by the service's at-least-once rules.

A delivery needs one moment only: from when on it may be delivered (again). A lease pushes that moment into the future,
a negative acknowledgement pulls it back, so nothing has to watch deadlines.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc

from provider.emulators.grpc_server import GrpcStatusError, invalid_argument, not_found
from provider.emulators.ledger import Ledger

DELETED_TOPIC = "_deleted-topic_"
DEFAULT_ACK_SECONDS = 10
DEFAULT_RETENTION_SECONDS = 7 * 24 * 3600.0
DEFAULT_DELIVERY_ATTEMPTS = 5


@dataclass(frozen=True)
class Message:
    """
    A published message.

    :param published: the store's clock, seconds.
    """

    id: str
    data: bytes
    attributes: dict[str, str]
    ordering_key: str
    publish_time: datetime
    published: float


@dataclass
class Delivery:
    """
    A message in one subscription, until it is acknowledged.

    :param attempts: how often it was delivered.
    :param available: from when on it may be delivered, by the store's clock.
    """

    message: Message
    available: float
    attempts: int = 0
    ack_id: str | None = None


@dataclass
class Subscription:
    """
    A pull subscription.

    :param settings: the resource as it was created, in wire format.
    :param dead_letter_topic: where messages go that were delivered ``max_delivery_attempts`` times; "" nowhere.
    :param min_backoff: seconds before the second delivery; doubles up to ``max_backoff``.
    """

    name: str
    topic: str
    settings: bytes
    ack_seconds: float = DEFAULT_ACK_SECONDS
    retention_seconds: float = DEFAULT_RETENTION_SECONDS
    dead_letter_topic: str = ""
    max_delivery_attempts: int = DEFAULT_DELIVERY_ATTEMPTS
    min_backoff: float = 0.0
    max_backoff: float = 0.0
    deliveries: dict[str, Delivery] = field(default_factory=dict, repr=False)
    leases: dict[str, Delivery] = field(default_factory=dict, repr=False)

    def backoff(self, attempts: int) -> float:
        """Return the seconds to wait after an attempt."""
        return min(self.min_backoff * 2.0 ** (attempts - 1), self.max_backoff)


@dataclass(frozen=True)
class Received:
    """
    What a subscriber gets.

    :param attempt: how often the message has been delivered; 0 where the subscription has no dead letter policy,
        because the service counts only with one.
    """

    ack_id: str
    message: Message
    attempt: int


class PubSubStore:
    """
    All topics and subscriptions. Thread-safe.

    :param clock: seconds that only grow.
    :raises GrpcStatusError: by every method, where the vendor would refuse.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._changed = threading.Condition()
        self._message_ids = itertools.count(1)
        self._topics: dict[str, bytes] = {}
        self._subscriptions: dict[str, Subscription] = {}

    def create_topic(self, name: str, settings: bytes) -> None:
        """Create a topic."""
        with self._changed:
            if name in self._topics:
                raise already_exists(name)
            self._topics[name] = settings

    def topic(self, name: str) -> bytes:
        """Return a topic's settings."""
        with self._changed:
            if name not in self._topics:
                raise missing(name)
            return self._topics[name]

    def topics(self, project: str) -> list[str]:
        """Return the names of a project's topics."""
        with self._changed:
            return sorted(name for name in self._topics if name.startswith(f"{project}/topics/"))

    def delete_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions keep their messages."""
        with self._changed:
            self.topic(name)
            del self._topics[name]
            for subscription in self._subscriptions.values():
                if subscription.topic == name:
                    subscription.topic = DELETED_TOPIC

    def create_subscription(self, subscription: Subscription) -> None:
        """Create a subscription; it gets what is published from now on."""
        with self._changed:
            if subscription.name in self._subscriptions:
                raise already_exists(subscription.name)
            self.topic(subscription.topic)
            self._subscriptions[subscription.name] = subscription

    def subscription(self, name: str) -> Subscription:
        """Return a subscription."""
        with self._changed:
            if name not in self._subscriptions:
                raise missing(name)
            return self._subscriptions[name]

    def subscriptions(self, *, project: str | None = None, topic: str | None = None) -> list[Subscription]:
        """Return a project's or a topic's subscriptions, by name."""
        with self._changed:
            found = [
                item
                for item in self._subscriptions.values()
                if (project is None or item.name.startswith(f"{project}/subscriptions/"))
                and (topic is None or item.topic == topic)
            ]
        return sorted(found, key=lambda item: item.name)

    def delete_subscription(self, name: str) -> None:
        """Delete a subscription and what it still holds."""
        with self._changed:
            self.subscription(name)
            del self._subscriptions[name]
            self._changed.notify_all()

    def publish(self, topic: str, contents: Sequence[tuple[bytes, dict[str, str], str]]) -> list[str]:
        """Publish (data, attributes, ordering key) and return the message ids."""
        with self._changed:
            self.topic(topic)
            messages = [
                Message(str(next(self._message_ids)), data, attributes, key, datetime.now(UTC), self._clock())
                for data, attributes, key in contents
            ]
            for message in messages:
                for subscription in self.subscriptions(topic=topic):
                    subscription.deliveries[message.id] = Delivery(message, message.published)
                self._ledger.append("pubsub", "published", message.id, detail={"topic": topic, **_described(message)})
            self._changed.notify_all()
            return [message.id for message in messages]

    def pull(
        self,
        name: str,
        limit: int,
        *,
        wait_seconds: float = 0.0,
        ack_seconds: float | None = None,
        active: Callable[[], bool] = lambda: True,
    ) -> list[Received]:
        """
        Lease messages, waiting for the first one.

        :param wait_seconds: how long to wait while there is none.
        :param ack_seconds: the lease; None takes the subscription's own.
        :param active: whether the caller is still there; nothing is leased to one who is gone.
        """
        gives_up = self._clock() + wait_seconds
        with self._changed:
            while active():
                subscription = self.subscription(name)
                if received := list(self._take(subscription, limit, ack_seconds)):
                    return received
                now = self._clock()
                wakes = min([gives_up, *(item.available for item in subscription.deliveries.values())])
                if now >= gives_up:
                    return []
                self._changed.wait(max(0.0, wakes - now))
        return []

    def wake(self) -> None:
        """Let waiting pulls look again at who is still there."""
        with self._changed:
            self._changed.notify_all()

    def wait_for_change(self, seconds: float) -> None:
        """Wait until something was published, acknowledged or woken, at most for that long."""
        with self._changed:
            self._changed.wait(seconds)

    def acknowledge(self, name: str, ack_ids: Sequence[str]) -> None:
        """
        Acknowledge deliveries.

        An id whose lease ran out still counts while the message was not delivered again; others are ignored, as the
        service does.
        """
        with self._changed:
            subscription = self.subscription(name)
            for ack_id in ack_ids:
                if delivery := subscription.leases.pop(ack_id, None):
                    subscription.deliveries.pop(delivery.message.id, None)
                    self._ledger.append("pubsub", "acked", delivery.message.id, detail={"subscription": name})
            self._changed.notify_all()

    def modify_ack_deadline(self, name: str, ack_ids: Sequence[str], seconds: float) -> None:
        """Prolong or shorten leases from now on; 0 gives the messages back."""
        with self._changed:
            subscription = self.subscription(name)
            for ack_id in ack_ids:
                delivery = subscription.leases.get(ack_id)
                if delivery is None:
                    continue
                delivery.available = self._clock() + seconds + subscription.backoff(delivery.attempts)
                if not seconds:
                    del subscription.leases[ack_id]
                    self._ledger.append("pubsub", "nacked", delivery.message.id, detail={"subscription": name})
            self._changed.notify_all()

    def outstanding(self, name: str, ack_ids: set[str]) -> set[str]:
        """Return those of the ids that are still leased."""
        with self._changed:
            subscription, now = self.subscription(name), self._clock()
            return {ack_id for ack_id in ack_ids & subscription.leases.keys() if subscription.leases[ack_id].available > now}

    def _take(self, subscription: Subscription, limit: int, ack_seconds: float | None) -> Iterator[Received]:
        now = self._clock()
        lease = subscription.ack_seconds if ack_seconds is None else ack_seconds
        taken = 0
        for delivery in list(subscription.deliveries.values()):
            if taken >= limit:
                return
            if delivery.message.published + subscription.retention_seconds <= now:
                self._forget(subscription, delivery)
                continue
            if delivery.available > now:
                continue
            if subscription.dead_letter_topic and delivery.attempts >= subscription.max_delivery_attempts:
                self._dead_letter(subscription, delivery)
                continue
            taken += 1
            yield self._lease(subscription, delivery, now + lease)

    def _lease(self, subscription: Subscription, delivery: Delivery, until: float) -> Received:
        if delivery.ack_id:
            subscription.leases.pop(delivery.ack_id, None)
        delivery.attempts += 1
        delivery.ack_id = f"{delivery.message.id}:{delivery.attempts}:{secrets.token_hex(8)}"
        delivery.available = until + subscription.backoff(delivery.attempts)
        subscription.leases[delivery.ack_id] = delivery
        self._ledger.append(
            "pubsub",
            "delivered",
            delivery.message.id,
            detail={"subscription": subscription.name, "attempt": delivery.attempts},
        )
        return Received(delivery.ack_id, delivery.message, delivery.attempts if subscription.dead_letter_topic else 0)

    def _forget(self, subscription: Subscription, delivery: Delivery) -> None:
        del subscription.deliveries[delivery.message.id]
        if delivery.ack_id:
            subscription.leases.pop(delivery.ack_id, None)

    def _dead_letter(self, subscription: Subscription, delivery: Delivery) -> None:
        if subscription.dead_letter_topic not in self._topics:
            return
        self._forget(subscription, delivery)
        source = {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(delivery.attempts),
            "CloudPubSubDeadLetterSourceSubscription": subscription.name.rpartition("/")[2],
            "CloudPubSubDeadLetterSourceSubscriptionProject": subscription.name.split("/")[1],
        }
        message = delivery.message
        self.publish(subscription.dead_letter_topic, [(message.data, {**message.attributes, **source}, message.ordering_key)])


def already_exists(name: str) -> GrpcStatusError:
    """Return the vendor's ALREADY_EXISTS."""
    return GrpcStatusError(
        grpc.StatusCode.ALREADY_EXISTS,
        f"Resource already exists in the project (resource={name.rpartition('/')[2]}).",
    )


def missing(name: str) -> GrpcStatusError:
    """Return the vendor's NOT_FOUND."""
    return not_found(f"Resource not found (resource={name.rpartition('/')[2]}).")


def checked_ack_seconds(seconds: int) -> int:
    """Return a subscription's ack deadline; 0 stands for the default."""
    if seconds and not DEFAULT_ACK_SECONDS <= seconds <= 600:
        raise invalid_argument(f"Invalid ack deadline given: {seconds} (must be between 10 and 600 seconds).")
    return seconds or DEFAULT_ACK_SECONDS


def _described(message: Message) -> dict[str, object]:
    return {"attributes": message.attributes, "bytes": len(message.data)}
