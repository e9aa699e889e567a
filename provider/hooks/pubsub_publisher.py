"""Publishing to Pub/Sub, for a person or a task that waits for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from provider.exceptions import ConfigurationError
from provider.hooks.pubsub import SubscriberAsyncHook, client_arguments
from provider.hooks.remote_job import RemoteCallError
from provider.texts import quoted, sentence
from provider.threads import within

T = TypeVar("T")

_TOPIC = re.compile(r"projects/[^/\s]+/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
#: How long opening the connection and one call may take together, in seconds.
CALL_SECONDS = 30.0


def check_topic(name: str) -> str:
    """
    Return the name of a topic if it is a full one.

    :raises ConfigurationError: it is not.
    """
    if not _TOPIC.fullmatch(name):
        raise ConfigurationError(f"{quoted(name)} is not the full name of a Pub/Sub topic; write projects/PROJECT/topics/TOPIC.")
    return name


def check_ordering_keys(keys: Iterable[str]) -> None:
    """
    Refuse what Pub/Sub refuses: messages of one call that have different keys; to have none is different from having one.

    https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#pubsubmessage

    :raises ConfigurationError: there is more than one.
    """
    if len(found := sorted(set(keys))) > 1:
        some = " and ".join(quoted(key) if key else "none" for key in found[:2])
        raise ConfigurationError(f"all messages of a call have the same ordering_key, not {some}; make a task for each.")


@dataclass(frozen=True)
class OutgoingMessage:
    """
    What is published.

    :param ordering_key: messages of one key reach a subscription that asks for it in the order they were published in.

    .. seealso:: https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#pubsubmessage
    """

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    ordering_key: str = ""


def publish(topic: str, data: bytes, attributes: Mapping[str, str], gcp_conn_id: str) -> str:
    """Publish a message, and return the id that Pub/Sub gives it, see :func:`publish_all`."""
    return publish_all(topic, [OutgoingMessage(data, attributes)], gcp_conn_id)[0]


def publish_all(
    topic: str,
    messages: Sequence[OutgoingMessage],
    gcp_conn_id: str,
    impersonation_chain: str | Sequence[str] | None = None,
) -> list[str]:
    """
    Publish messages by one call, all of them or none, and return the ids that Pub/Sub gives them. Nothing is repeated.

    https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#google.pubsub.v1.Publisher.Publish

    :param topic: full name.
    :param gcp_conn_id: connection whose account publishes.
    :raises RemoteCallError: Pub/Sub did not say that it has the messages.
    """

    def call() -> list[str]:
        from google.pubsub_v1 import PublisherClient, PubsubMessage

        sent = [PubsubMessage(data=one.data, attributes=dict(one.attributes), ordering_key=one.ordering_key) for one in messages]
        with PublisherClient(**client_arguments(gcp_conn_id, impersonation_chain)) as client:
            answer = client.publish(request={"topic": topic, "messages": sent}, retry=None, timeout=CALL_SECONDS)
        return [str(one) for one in answer.message_ids]

    return _explained(call, f"publish to {topic}", "roles/pubsub.publisher on the topic")


def topic_of(subscription: str, gcp_conn_id: str) -> str:
    """
    Return the topic of a subscription.

    :param subscription: full name.
    :raises RemoteCallError: Pub/Sub does not tell.
    """

    async def look() -> str:
        hook = SubscriberAsyncHook(gcp_conn_id)
        try:
            return str((await hook.look_at(subscription, CALL_SECONDS)).topic)
        finally:
            await hook.close()

    return _explained(partial(asyncio.run, look()), f"tell the topic of {subscription}", "--topic, or roles/pubsub.viewer")


def _explained(call: Callable[[], T], what: str, needs: str) -> T:
    """Call within the time there is; errors say what was not done, and what it takes."""
    from airflow.sdk.exceptions import AirflowException
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    try:
        return within(CALL_SECONDS, call, "accelerator-publish")
    except (GoogleAPICallError, GoogleAuthError, AirflowException, TimeoutError) as error:
        said = f"{type(error).__name__}: {sentence(error)}"
        raise RemoteCallError(f"Pub/Sub did not {what}: {said}. It takes {needs}.") from error
