# ruff: noqa: TID253 - the vendor's types are this module's subject, and only the emulators import it
"""
The Pub/Sub stand-in: ``google.pubsub.v1`` Publisher and Subscriber over gRPC.

Follows https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1. Options that it would have to ignore (push,
exports, filters, ordering, exactly-once) are refused with UNIMPLEMENTED.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf import empty_pb2
from google.pubsub_v1 import types

from provider.emulators.grpc_server import (
    FaultingCalls,
    GrpcServer,
    GrpcStatusError,
    deserializer,
    invalid_argument,
    page,
    serialize,
)
from provider.emulators.ledger import Ledger
from provider.emulators.pubsub_store import (
    DEFAULT_DELIVERY_ATTEMPTS,
    DEFAULT_RETENTION_SECONDS,
    PubSubStore,
    Received,
    Subscription,
    checked_ack_seconds,
)
from provider.emulators.rules import RuleBook

NAME = r"projects/[^/]+/{collection}/(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{{2,254}}"
LONG_POLL_SECONDS = 20.0
STREAM_BATCH = 100
STREAM_WAIT_SECONDS = 1.0
# A pull and a stream keep a thread each; 200 subscribers at once are more than a machine's Airflow has.
WORKERS = 200
_UNSUPPORTED = ("push_config", "bigquery_config", "cloud_storage_config", "filter", "enable_message_ordering")
_UNSUPPORTED_FLAGS = ("enable_exactly_once_delivery", "retain_acked_messages")


class BuiltinPubSub:
    """
    A Pub/Sub service on loopback.

    :param port: 0 takes a free one.
    """

    def __init__(self, rules: RuleBook, ledger: Ledger, *, port: int = 0) -> None:
        self._server = GrpcServer(port, max_workers=WORKERS)
        self.address = self._server.address
        self._store = PubSubStore(ledger)
        calls = FaultingCalls("pubsub", rules, ledger, self._server.stopping)
        self._server.add("google.pubsub.v1.Publisher", Publisher(self._store).handlers(calls))
        self._server.add("google.pubsub.v1.Subscriber", Subscriber(self._store, calls).handlers())

    def start(self) -> None:
        """Begin to serve."""
        self._server.start()

    def stop(self) -> None:
        """End open calls and free the port."""
        self._server.stop()


class Publisher:
    """The Publisher service."""

    def __init__(self, store: PubSubStore) -> None:
        self._store = store

    def handlers(self, calls: FaultingCalls) -> dict[str, grpc.RpcMethodHandler]:
        """Return the handlers."""
        methods: dict[str, tuple[Any, Callable[[Any, grpc.ServicerContext], Any]]] = {
            "CreateTopic": (types.Topic, self.create_topic),
            "GetTopic": (types.GetTopicRequest, self.get_topic),
            "ListTopics": (types.ListTopicsRequest, self.list_topics),
            "ListTopicSubscriptions": (types.ListTopicSubscriptionsRequest, self.list_topic_subscriptions),
            "DeleteTopic": (types.DeleteTopicRequest, self.delete_topic),
            "Publish": (types.PublishRequest, self.publish),
        }
        return {name: calls.unary(name, request, method) for name, (request, method) in methods.items()}

    def create_topic(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Create a topic."""
        self._store.create_topic(_checked(request.name, "topics"), serialize(request))
        return request

    def get_topic(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Return a topic."""
        return types.Topic.deserialize(self._store.topic(_checked(request.topic, "topics")))

    def list_topics(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Return a page of a project's topics."""
        names, token = page(self._store.topics(request.project), str, request.page_size, request.page_token)
        return types.ListTopicsResponse(topics=[types.Topic(name=name) for name in names], next_page_token=token)

    def list_topic_subscriptions(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Return a page of a topic's subscriptions."""
        self._store.topic(request.topic)
        found = [item.name for item in self._store.subscriptions(topic=request.topic)]
        names, token = page(found, str, request.page_size, request.page_token)
        return types.ListTopicSubscriptionsResponse(subscriptions=names, next_page_token=token)

    def delete_topic(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Delete a topic."""
        self._store.delete_topic(request.topic)
        return empty_pb2.Empty()

    def publish(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Publish messages."""
        if not request.messages:
            raise invalid_argument("The value for message_count is too small. You passed 0 in the request.")
        contents = [(item.data, dict(item.attributes), item.ordering_key) for item in request.messages]
        if any(not data and not attributes for data, attributes, _key in contents):
            raise invalid_argument("Some messages have neither data nor attributes.")
        if len({key for _data, _attributes, key in contents}) > 1:
            raise invalid_argument("All messages of a publish request must specify the same ordering key.")
        return types.PublishResponse(message_ids=self._store.publish(request.topic, contents))


class Subscriber:
    """The Subscriber service."""

    def __init__(self, store: PubSubStore, calls: FaultingCalls) -> None:
        self._store = store
        self._calls = calls

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return the handlers."""
        methods: dict[str, tuple[Any, Callable[[Any, grpc.ServicerContext], Any]]] = {
            "CreateSubscription": (types.Subscription, self.create_subscription),
            "GetSubscription": (types.GetSubscriptionRequest, self.get_subscription),
            "ListSubscriptions": (types.ListSubscriptionsRequest, self.list_subscriptions),
            "DeleteSubscription": (types.DeleteSubscriptionRequest, self.delete_subscription),
            "Pull": (types.PullRequest, self.pull),
            "Acknowledge": (types.AcknowledgeRequest, self.acknowledge),
            "ModifyAckDeadline": (types.ModifyAckDeadlineRequest, self.modify_ack_deadline),
        }
        handlers = {name: self._calls.unary(name, request, method) for name, (request, method) in methods.items()}
        handlers["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
            self.streaming_pull,
            request_deserializer=deserializer(types.StreamingPullRequest),
            response_serializer=serialize,
        )
        return handlers

    def create_subscription(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Create a pull subscription."""
        _checked(request.name, "subscriptions")
        unsupported = [field for field in (*_UNSUPPORTED, *_UNSUPPORTED_FLAGS) if getattr(request, field)]
        if unsupported:
            raise GrpcStatusError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"This emulator does not support {', '.join(unsupported)}; use Google's emulator.",
            )
        request.ack_deadline_seconds = checked_ack_seconds(request.ack_deadline_seconds)
        policy, retry = request.dead_letter_policy, request.retry_policy
        backs_off = "retry_policy" in request
        self._store.create_subscription(
            Subscription(
                request.name,
                request.topic,
                serialize(request),
                request.ack_deadline_seconds,
                _seconds(request.message_retention_duration, DEFAULT_RETENTION_SECONDS),
                policy.dead_letter_topic,
                policy.max_delivery_attempts or DEFAULT_DELIVERY_ATTEMPTS,
                _seconds(retry.minimum_backoff, 10.0) if backs_off else 0.0,
                _seconds(retry.maximum_backoff, 600.0) if backs_off else 0.0,
            )
        )
        return request

    def get_subscription(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Return a subscription."""
        return _resource(self._store.subscription(request.subscription))

    def list_subscriptions(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Return a page of a project's subscriptions."""
        found = self._store.subscriptions(project=request.project)
        chosen, token = page(found, lambda item: item.name, request.page_size, request.page_token)
        return types.ListSubscriptionsResponse(subscriptions=[_resource(item) for item in chosen], next_page_token=token)

    def delete_subscription(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Delete a subscription."""
        self._store.delete_subscription(request.subscription)
        return empty_pb2.Empty()

    def pull(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Lease messages; wait for the first one unless ``return_immediately``."""
        if request.max_messages < 1:
            raise invalid_argument("max_messages must be positive.")
        context.add_callback(self._store.wake)
        remaining = context.time_remaining()
        wait = LONG_POLL_SECONDS if remaining is None else min(LONG_POLL_SECONDS, remaining * 0.9)
        received = self._store.pull(
            request.subscription,
            request.max_messages,
            wait_seconds=0.0 if request.return_immediately else wait,
            active=context.is_active,
        )
        return types.PullResponse(received_messages=[_received(item) for item in received])

    def acknowledge(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Acknowledge deliveries."""
        self._store.acknowledge(request.subscription, request.ack_ids)
        return empty_pb2.Empty()

    def modify_ack_deadline(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Prolong, shorten or give back leases."""
        _check_lease(request.ack_deadline_seconds)
        self._store.modify_ack_deadline(request.subscription, request.ack_ids, request.ack_deadline_seconds)
        return empty_pb2.Empty()

    def streaming_pull(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Deliver messages as they come, within the client's flow control, until it leaves."""
        rule = self._calls.rules.strike("pubsub", "StreamingPull")
        if rule:
            self._calls.strike(rule, "StreamingPull", context)
        opening = next(requests, None)
        if opening is None:
            return
        context.add_callback(self._store.wake)
        try:
            _check_lease(opening.stream_ack_deadline_seconds, shortest=10)
            self._store.subscription(opening.subscription)
            reader = threading.Thread(
                target=self._read_stream, args=(opening.subscription, requests), name="emulator-stream", daemon=True
            )
            reader.start()
            yield from self._deliver(opening, context)
        except GrpcStatusError as error:
            context.abort(error.code, str(error))

    def _deliver(self, opening: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        ack_ids: set[str] = set()
        while context.is_active():
            ack_ids = self._store.outstanding(opening.subscription, ack_ids)
            limit = STREAM_BATCH
            if opening.max_outstanding_messages > 0:
                limit = min(limit, opening.max_outstanding_messages - len(ack_ids))
            if limit <= 0:
                self._store.wait_for_change(STREAM_WAIT_SECONDS)
                continue
            received = self._store.pull(
                opening.subscription,
                limit,
                wait_seconds=STREAM_WAIT_SECONDS,
                ack_seconds=opening.stream_ack_deadline_seconds,
                active=context.is_active,
            )
            if received:
                ack_ids |= {item.ack_id for item in received}
                yield types.StreamingPullResponse(received_messages=[_received(item) for item in received])

    def _read_stream(self, subscription: str, requests: Iterator[Any]) -> None:
        """Take acknowledgements and new deadlines from the open stream until the client ends it."""
        try:
            for request in requests:
                self._store.acknowledge(subscription, request.ack_ids)
                for ack_id, seconds in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True):
                    self._store.modify_ack_deadline(subscription, [ack_id], seconds)
        except (grpc.RpcError, GrpcStatusError, ValueError):
            # The stream is gone, the subscription was deleted, or the request is malformed: nothing more to read.
            return


def _checked(name: str, collection: str) -> str:
    if not re.fullmatch(NAME.format(collection=collection), name):
        raise invalid_argument(f"Invalid [{collection}] name: (name={name})")
    return name


def _check_lease(seconds: int, *, shortest: int = 0) -> None:
    if not shortest <= seconds <= 600:
        raise invalid_argument(f"Invalid ack deadline given: {seconds} (must be between {shortest} and 600 seconds).")


def _seconds(duration: Any, default: float) -> float:
    return float(duration.total_seconds()) if duration else default


def _resource(subscription: Subscription) -> Any:
    resource = types.Subscription.deserialize(subscription.settings)
    resource.topic = subscription.topic
    return resource


def _received(item: Received) -> Any:
    message = item.message
    return types.ReceivedMessage(
        ack_id=item.ack_id,
        delivery_attempt=item.attempt,
        message={
            "data": message.data,
            "attributes": message.attributes,
            "message_id": message.id,
            "publish_time": message.publish_time,
            "ordering_key": message.ordering_key,
        },
    )
