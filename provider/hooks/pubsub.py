"""
Pulling and acknowledging Pub/Sub messages in an event loop.

Google's ``PubSubAsyncHook`` pulls as well, but needs a connection even where ``PUBSUB_EMULATOR_HOST`` makes credentials
pointless, wraps each error so that its code is lost, and logs two lines for every empty pull.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from provider.exceptions import ConfigurationError
from provider.plain_data import as_list
from provider.threads import in_own_thread

if TYPE_CHECKING:
    from google.pubsub_v1.services.subscriber.async_client import SubscriberAsyncClient
    from google.pubsub_v1.types import ReceivedMessage, Subscription

#: Deadline of one acknowledge call in seconds, its retries included; after it the messages are delivered again, which does no
#: harm.
ACKNOWLEDGE_SECONDS = 10.0

#: How long what a parked pull has brought waits for the next trigger before it is given back, in seconds.
PARKED_SECONDS = 10.0

#: Deadline of giving messages back, in seconds; if that fails they are delivered again when their own deadline has passed.
GIVE_BACK_SECONDS = 2.0

#: What pull and acknowledge need.
CONSUME = "pubsub.subscriptions.consume"

log = logging.getLogger(__name__)

_SUBSCRIPTION = re.compile(r"projects/[^/\s]+/subscriptions/[A-Za-z][A-Za-z0-9._~+%-]{2,254}")


def check_subscriptions(names: str | Iterable[str]) -> list[str]:
    """
    Return the names without repetitions, if each is the full name of a subscription; one text stands for a list of one.

    Names follow https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names.

    :raises ConfigurationError: one is not, or there is none.
    """
    subscriptions = list(dict.fromkeys(as_list(names)))
    if not subscriptions:
        raise ConfigurationError(
            "no Pub/Sub subscription to listen to; name at least one as projects/PROJECT/subscriptions/SUBSCRIPTION "
            "([accelerator] pubsub_subscriptions)."
        )
    for name in subscriptions:
        if not _SUBSCRIPTION.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} is not the full name of a Pub/Sub subscription; write projects/PROJECT/subscriptions/SUBSCRIPTION "
                "([accelerator] pubsub_subscriptions)."
            )
    return subscriptions


def client_arguments(gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None) -> dict[str, Any]:
    """
    Return the arguments of a Google client for Pub/Sub by a connection; for the emulator none is looked up.

    This blocks.

    :raises google.auth.exceptions.GoogleAuthError: the connection's credentials do not work.
    """
    if os.environ.get("PUBSUB_EMULATOR_HOST"):
        from google.auth.credentials import AnonymousCredentials

        return {"credentials": AnonymousCredentials()}  # type: ignore[no-untyped-call]
    from airflow.providers.google.cloud.hooks.pubsub import PubSubHook
    from airflow.providers.google.common.consts import CLIENT_INFO

    hook = PubSubHook(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
    return {"credentials": hook.get_credentials(), "client_info": CLIENT_INFO, "client_options": hook.get_client_options()}


class SubscriberAsyncHook:
    """
    Pulls from subscriptions and acknowledges, with one client for all of them.

    Credentials come from the connection, by the Google provider's rules (key, application default, impersonation,
    ``is_anonymous``). With ``PUBSUB_EMULATOR_HOST`` set, as for Google's own clients, none are needed and no connection is
    looked up.

    :param gcp_conn_id: Airflow connection.
    :param impersonation_chain: service account to impersonate, or a chain of accounts.
    """

    def __init__(self, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None) -> None:
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._client: SubscriberAsyncClient | None = None

    async def pull(self, subscription: str, max_messages: int, wait_seconds: float) -> list[ReceivedMessage]:
        """
        Wait for messages; returns as soon as there are some, or none after the wait.

        https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#google.pubsub.v1.Subscriber.Pull

        :param subscription: full name.
        :param wait_seconds: how long to wait; the service may answer earlier.
        :raises google.api_core.exceptions.GoogleAPICallError: the call failed; it is not repeated here.
        :raises google.auth.exceptions.GoogleAuthError: the connection's credentials do not work.
        """
        from google.api_core.exceptions import DeadlineExceeded

        client = await self._get_client()
        try:
            response = await client.pull(
                request={"subscription": subscription, "max_messages": max_messages}, retry=None, timeout=wait_seconds
            )
        except DeadlineExceeded:
            return []
        return list(response.received_messages)

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """
        Acknowledge messages; passing errors are retried by Google's own rules.

        https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#google.pubsub.v1.Subscriber.Acknowledge

        :raises google.api_core.exceptions.GoogleAPICallError: the call failed.
        """
        client = await self._get_client()
        await client.acknowledge(request={"subscription": subscription, "ack_ids": list(ack_ids)}, timeout=ACKNOWLEDGE_SECONDS)

    async def give_back(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """
        Let messages be delivered again at once.

        https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#google.pubsub.v1.Subscriber.ModifyAckDeadline

        :raises google.api_core.exceptions.GoogleAPICallError: the call failed; it is not repeated here.
        """
        client = await self._get_client()
        request = {"subscription": subscription, "ack_ids": list(ack_ids), "ack_deadline_seconds": 0}
        await client.modify_ack_deadline(request=request, retry=None, timeout=GIVE_BACK_SECONDS)

    async def look_at(self, subscription: str, seconds: float) -> Subscription:
        """
        Return what a subscription is; that takes more than the right to consume from it.

        https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#google.pubsub.v1.Subscriber.GetSubscription

        :raises google.api_core.exceptions.GoogleAPICallError: the call failed; it is not repeated here.
        """
        client = await self._get_client()
        return await client.get_subscription(request={"subscription": subscription}, retry=None, timeout=seconds)

    async def may_consume(self, subscription: str, seconds: float) -> bool:
        """
        Tell whether the connection may pull from a subscription and acknowledge; asking is free to everybody.

        https://cloud.google.com/pubsub/docs/reference/rpc/google.iam.v1#google.iam.v1.IAMPolicy.TestIamPermissions

        :raises google.api_core.exceptions.GoogleAPICallError: the call failed; it is not repeated here.
        """
        client = await self._get_client()
        request = {"resource": subscription, "permissions": [CONSUME]}
        answer = await client.test_iam_permissions(request=request, retry=None, timeout=seconds)
        return CONSUME in answer.permissions

    async def close(self) -> None:
        """Close the channel, if there is one."""
        if self._client is not None:
            await self._client.transport.close()  # type: ignore[no-untyped-call]
            self._client = None

    async def _get_client(self) -> SubscriberAsyncClient:
        if self._client is None:
            from google.pubsub_v1.services.subscriber.async_client import SubscriberAsyncClient

            # Looking up the connection and reading credentials block; the hook speaks to the supervisor on the way.
            opened = await in_own_thread(
                partial(client_arguments, self.gcp_conn_id, self.impersonation_chain), "accelerator-open-pubsub"
            )
            self._client = SubscriberAsyncClient(**opened)
        return self._client


class SubscriptionReader:
    """
    One subscription, read with one pull at a time, which outlives the wait for it.

    A pull that is given up can hold back a message until its acknowledgement deadline: the service hands it to a call that nobody
    reads, if it comes before the call's own deadline. So a cancelled :meth:`next_messages` leaves its pull running and the next
    one goes on with it, and :meth:`park` hands a reader on to the next trigger of this process, or gives back what its pull still
    brings.

    :param subscription: full name.
    """

    def __init__(self, subscription: str, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None) -> None:
        self.subscription = subscription
        self._hook = SubscriberAsyncHook(gcp_conn_id, impersonation_chain)
        self._pull: asyncio.Task[list[ReceivedMessage]] | None = None
        self._expiry: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._key = (subscription, gcp_conn_id, str(impersonation_chain), os.environ.get("PUBSUB_EMULATOR_HOST"))

    @classmethod
    def open(
        cls, subscription: str, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None
    ) -> SubscriptionReader:
        """Return the parked reader of the subscription, or a new one."""
        reader = cls(subscription, gcp_conn_id, impersonation_chain)
        parked = _parked.pop(reader._key, None)
        if parked is None or parked._loop is not reader._loop:
            return reader
        if parked._expiry is not None:
            parked._expiry.cancel()
        return parked

    def begin(self, max_messages: int, wait_seconds: float) -> asyncio.Task[list[ReceivedMessage]]:
        """Begin a pull, unless one is under way or what it has brought is not taken yet; return it."""
        if self._pull is None:
            self._pull = asyncio.create_task(self._hook.pull(self.subscription, max_messages, wait_seconds))
        return self._pull

    def arrived(self) -> list[ReceivedMessage]:
        """Return the messages that a pull has brought and nobody has taken yet."""
        pull = self._pull
        return pull.result() if pull and pull.done() and not pull.cancelled() and pull.exception() is None else []

    async def next_messages(self, max_messages: int, wait_seconds: float) -> list[ReceivedMessage]:
        """
        Wait for messages; parameters and errors as in :meth:`SubscriberAsyncHook.pull`.

        They are what the next call returns as well, until they are :meth:`taken`.
        """
        pull = self.begin(max_messages, wait_seconds)
        try:
            received = await asyncio.shield(pull)
        except BaseException:
            # Cancelled is the wait, not the pull: its messages are the next caller's, even if they are here already.
            if pull.done() and (pull.cancelled() or pull.exception() is not None):
                self._pull = None
                await self._hook.close()  # the next client reads the connection anew, whose key may have been replaced
            raise
        if not received:
            self._pull = None
        return received

    def taken(self) -> None:
        """Let the next call pull again: the messages of the last one are stored, or left to be delivered again."""
        self._pull = None

    async def acknowledge(self, received: Iterable[ReceivedMessage]) -> None:
        """Acknowledge messages; errors as in :meth:`SubscriberAsyncHook.acknowledge`."""
        await self._hook.acknowledge(self.subscription, [message.ack_id for message in received])

    async def park(self, seconds: float) -> None:
        """
        Leave this reader, and a pull that is under way, to the next who opens the same subscription.

        That may be in another process, as the next trigger may run in another triggerer. So nobody waits here for ever: what the
        pull brings is given back.

        :param seconds: how long that waits for the next one, from the end of the pull.
        """
        if not seconds and (self._pull is None or self._pull.done()):
            await self.close()
            return
        _parked[self._key] = self
        self._expiry = asyncio.create_task(self._expire(seconds))

    async def _expire(self, seconds: float) -> None:
        if self._pull is not None:
            await asyncio.wait([self._pull])
        await asyncio.sleep(seconds)
        if _parked.get(self._key) is self:
            del _parked[self._key]
        self._expiry = None
        await self.close()

    async def close(self) -> None:
        """Give up the pull, give back what it has brought, and close the channel."""
        if self._loop is not asyncio.get_running_loop():
            return  # ended with its loop
        if self._expiry is not None:
            self._expiry.cancel()
        if received := self.arrived():
            try:
                await self._hook.give_back(self.subscription, [message.ack_id for message in received])
            except Exception:
                log.warning(
                    "%d messages of %s could not be given back; they are delivered again after their deadline.",
                    *(len(received), self.subscription),
                    exc_info=True,
                )
        elif self._pull is not None:
            self._pull.cancel()
            await asyncio.gather(self._pull, return_exceptions=True)
        self._pull = None
        await self._hook.close()


_parked: dict[tuple[str, str, str, str | None], SubscriptionReader] = {}
