"""The waiting half of the dispatcher: takes messages into the inbox, and fires when a request is to be dispatched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.observability import stats
from airflow.triggers.base import BaseTrigger, StartTriggerArgs, TriggerEvent

from provider import settings
from provider.exceptions import ConfigurationError
from provider.hooks.pubsub import PARKED_SECONDS, SubscriptionReader
from provider.pacing import backoff
from provider.threads import in_own_thread
from provider.triggers.direct_dispatch import DirectDispatch

if TYPE_CHECKING:
    from google.pubsub_v1.types import ReceivedMessage

__all__ = ["PubSubInboxTrigger"]

log = logging.getLogger(__name__)

#: The pause after a first failure of Pub/Sub or the application database, in seconds, and the longest one.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0

#: How long full pulls are taken in one after another before the event, in seconds: one start of the dispatcher for them all.
GATHER_SECONDS = 5.0

#: How long the first pull, and the one after a full one, is waited for before the event, in seconds.
NEXT_PULL_SECONDS = 0.5

#: Deadline of one pull, in seconds: from the service, and from an emulator.
PULL_SECONDS = 100.0
EMULATOR_PULL_SECONDS = 24 * 3600.0

#: Seconds between two sweeps of the inbox in one process.
SWEEP_SECONDS = 300.0

#: Name of an exception → what to do about it.
_HINTS = {
    "NotFound": "Create the subscription, or correct [accelerator] pubsub_subscriptions.",
    "PermissionDenied": "Give the connection's service account the role roles/pubsub.subscriber on the subscription.",
    "Unauthenticated": "Correct the credentials of the connection named by [accelerator] gcp_conn_id.",
    "DefaultCredentialsError": "Correct the credentials of the connection named by [accelerator] gcp_conn_id.",
    "AirflowNotFoundException": "Create the connection named by [accelerator] gcp_conn_id.",
}


class _Signals:
    """
    What a trigger and its listeners tell each other.

    ``stored``: messages came in; ``full``: as many as a pull may bring; ``may_pull``: it is known what the last ones mean;
    ``storing``: held from before the commit until after the acknowledgement.
    """

    def __init__(self) -> None:
        self.stored, self.full, self.may_pull = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.storing = asyncio.Lock()


class PubSubInboxTrigger(BaseTrigger):
    """
    Pulls messages, commits them to the inbox, acknowledges them, and fires when a request is due.

    The order is the point: a message is acknowledged only after the transaction that holds its row is committed. Whatever
    happens before, it is delivered again, and meets its own row if there is one. The event carries no message, so losing or
    repeating it loses or repeats nothing; requests that were postponed fire it as well when their time comes.

    Nothing that goes wrong here fails the task. Errors of Pub/Sub are logged and tried again. While the application database
    is away nothing is pulled: messages that are delivered over and over would end in a dead-letter topic.

    :param subscriptions: full names, ``projects/P/subscriptions/S``.
    :param gcp_conn_id: Airflow connection; not used where ``PUBSUB_EMULATOR_HOST`` is set.
    :param impersonation_chain: service account to impersonate, or a chain of accounts.
    :param max_messages: messages taken with one pull and stored in one transaction.
    :param poll_interval: seconds between two looks into the inbox for requests that became due without a message.
    :param airflow_conn_id: connection of type ``airflow_api``, by which runs are started from here, for ever; None for an event,
        after which a task starts them.
    :param wait_seconds: deadline of one pull in seconds. A pull that is given up can hold back a message for its
        acknowledgement deadline, so by default this is longer than the service itself waits (90 s), and than Google's emulator is
        left without a message: it waits for ever, and does not notice that nobody reads any more.
    :param first_event_after: seconds before which no event is fired.
    """

    def __init__(
        self,
        subscriptions: Sequence[str],
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        max_messages: int = 250,
        poll_interval: float = 2.0,
        wait_seconds: float | None = None,
        first_event_after: float = 0.0,
        airflow_conn_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.airflow_conn_id = airflow_conn_id
        self._direct: DirectDispatch | None = None
        self.subscriptions = list(subscriptions)
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.max_messages = max_messages
        self.poll_interval = poll_interval
        self.wait_seconds = wait_seconds
        self.first_event_after = first_event_after

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "subscriptions": self.subscriptions,
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
                "max_messages": self.max_messages,
                "poll_interval": self.poll_interval,
                "wait_seconds": self.wait_seconds,
                "first_event_after": self.first_event_after,
                "airflow_conn_id": self.airflow_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Listen until a request is due; for ever where runs are started from here."""
        await in_own_thread(_keep_connections, "accelerator-inbox")
        self._direct = await DirectDispatch.opened(self.airflow_conn_id)
        clock = asyncio.get_running_loop().time
        earliest = clock() + self.first_event_after
        readers = [SubscriptionReader.open(name, self.gcp_conn_id, self.impersonation_chain) for name in self.subscriptions]
        listeners: list[asyncio.Task[None]] = []
        signals = _Signals()
        gathered_by = None
        first, fired = True, False
        try:
            while True:
                # Nobody is cut off between commit and acknowledgement: those messages would be delivered again.
                async with signals.storing:
                    signals.stored.clear()
                    due_in = await self._due_in()
                    if first:
                        for reader in readers:
                            reader.begin(self.max_messages, self._pull_seconds())
                    # What has arrived, or waits behind a full pull, comes in now, or it would wait for the next trigger. The
                    # first pull has a moment even if something is due: where something always is, nothing would come in.
                    more = first or signals.full.is_set() or any(reader.arrived() for reader in readers)
                    first = False
                    signals.full.clear()
                    gathered_by = (gathered_by or clock() + GATHER_SECONDS) if more and self._direct is None else None
                    gathers = gathered_by is not None and clock() < gathered_by
                    not_before = max(due_in or 0.0, earliest - clock())
                    is_due = due_in is not None and not_before <= 0 and not gathers
                    if is_due and self._direct is None:
                        fired = True
                        yield TriggerEvent({"status": "waiting"})  # type: ignore[no-untyped-call]
                        return
                signals.may_pull.set()
                listeners = listeners or [asyncio.create_task(self._listen(reader, signals)) for reader in readers]
                if is_due and self._direct is not None:
                    if not await self._direct.dispatch():
                        self._direct = None
                    continue
                wait = NEXT_PULL_SECONDS if gathers else min(self.poll_interval, not_before or self.poll_interval)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(signals.stored.wait(), wait)
        finally:
            for listener in listeners:
                listener.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)
            for reader in readers:
                # After an event the next trigger is on its way; one that was cancelled probably goes on in another triggerer.
                await reader.park(PARKED_SECONDS if fired else 0.0)

    def _pull_seconds(self) -> float:
        return self.wait_seconds or (EMULATOR_PULL_SECONDS if os.environ.get("PUBSUB_EMULATOR_HOST") else PULL_SECONDS)

    async def _listen(self, reader: SubscriptionReader, signals: _Signals) -> None:
        """Pull, commit, acknowledge, for ever. After each success wait until it is known whether the event is due."""
        failures = 0
        while True:
            await signals.may_pull.wait()
            try:
                received = await reader.next_messages(self.max_messages, self._pull_seconds())
                failures = 0
            except Exception as error:
                failures += 1
                delay = backoff(failures, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
                self.log.warning(
                    "Pulling from %s failed, trying again in %.0f s: %s: %s %s",
                    *(reader.subscription, delay, type(error).__name__, error, _HINTS.get(type(error).__name__, "")),
                )
                self.log.debug("Traceback of the failed pull", exc_info=True)
                await asyncio.sleep(delay)
                continue
            if received:
                async with signals.storing:
                    await self._take_in(reader, received, signals)

    async def _take_in(self, reader: SubscriptionReader, received: Sequence[ReceivedMessage], signals: _Signals) -> None:
        stored = await self._store(reader.subscription, received)
        reader.taken()
        if stored:
            if self._direct is None:
                signals.may_pull.clear()
            await self._acknowledge(reader, received)
            if len(received) >= self.max_messages:
                signals.full.set()
            signals.stored.set()

    async def _store(self, subscription: str, received: Sequence[ReceivedMessage]) -> bool:
        """Commit the messages to the inbox and tell whether that worked; if not, return once the database answers again."""
        try:
            counts = await in_own_thread(partial(commit_to_inbox, subscription, received), "accelerator-inbox")
        except Exception:
            self.log.exception(
                "%d messages of %s could not be stored. They are not acknowledged and will be delivered again; nothing is "
                "pulled until the application database answers.",
                *(len(received), subscription),
            )
            await self._due_in()
            return False
        self.log.info("Stored %d messages of %s: %s", len(received), subscription, dict(counts))
        for state, count in counts.items():
            stats.incr(f"accelerator.requests.{state}", count)
        return True

    async def _acknowledge(self, reader: SubscriptionReader, received: Sequence[ReceivedMessage]) -> None:
        try:
            await reader.acknowledge(received)
        except Exception:
            self.log.warning(
                "%d messages of %s are stored, but acknowledging them failed; delivered again, they change nothing.",
                *(len(received), reader.subscription),
                exc_info=True,
            )

    async def _due_in(self) -> float | None:
        """Return the seconds until a request is due, None where none waits. Goes on until the database answers."""
        failures = 0
        while True:
            try:
                due_at, waiting_since = await in_own_thread(look_into_inbox, "accelerator-inbox")
            except ConfigurationError as error:
                failures += 1
                self.log.error("Nothing is pulled: %s", error)
                await asyncio.sleep(LONGEST_PAUSE_SECONDS)
            except Exception:
                failures += 1
                delay = backoff(failures, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
                self.log.exception("The application database does not answer, trying again in %.0f s.", delay)
                await asyncio.sleep(delay)
            else:
                now = datetime.now(UTC)
                waited = (now - waiting_since).total_seconds() if waiting_since else 0.0
                stats.gauge("accelerator.requests.oldest_waiting_seconds", waited)
                return None if due_at is None else (due_at - now).total_seconds()


class Sweep:
    """
    Deletes old requests, and old versions of workflows, on a clock of its own, for all triggers of a process.

    Messages may come in of which none starts anything. A few requests with each look, so that a look stays short, and again
    with the next one as long as there are more.

    :param every: seconds between a sweep that found nothing more and the next one.
    """

    def __init__(self, every: float = SWEEP_SECONDS) -> None:
        self._every = every
        self._next = 0.0

    def sweep_if_due(self) -> None:
        """Delete some, if it is time; blocks."""
        from provider.metadata.engine import write_session
        from provider.metadata.request_queue import delete_old
        from provider.metadata.versions import sweep

        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        with write_session() as session:
            sweep(session)
        try:
            age = timedelta(days=settings.get_float("inbox_retention_days"))
        except ConfigurationError as error:
            log.error("Old requests stay in the inbox: %s", error)  # messages are taken in all the same
            return
        with write_session() as session:
            if delete_old(session, age):
                self._next = 0.0


_sweep = Sweep()


def _keep_connections() -> None:
    from provider.metadata.engine import keep_connections

    keep_connections()


def start_trigger_args(trigger: BaseTrigger, *, timeout: timedelta | None = None) -> StartTriggerArgs:
    """
    Let a task begin in the triggerer, without a worker, and resume in its ``execute_complete``.

    :param timeout: how long the trigger may wait; None for ever.
    """
    classpath, kwargs = trigger.serialize()
    return StartTriggerArgs(
        trigger_cls=classpath, trigger_kwargs=kwargs, next_method="execute_complete", next_kwargs=None, timeout=timeout
    )


def commit_to_inbox(subscription: str, received: Iterable[ReceivedMessage]) -> Counter[str]:
    """Commit the messages of one pull to the inbox; blocks, and returns only when they are committed."""
    from provider import messages
    from provider.metadata import engine, inbox

    read = [
        messages.read(
            bytes(item.message.data),
            dict(item.message.attributes),
            item.message.message_id,
            _utc(item.message.publish_time),
        )
        for item in received
    ]
    with engine.write_session() as session:
        return inbox.receive(session, subscription, read)


def _utc(published: Any) -> datetime | None:
    """Turn the client's own kind of timestamp into a plain one."""
    return datetime.fromtimestamp(published.timestamp(), UTC) if published else None


def look_into_inbox() -> tuple[datetime | None, datetime | None]:
    """
    Look into the inbox, let the requests that are not due say what they wait for, and sweep when it is time; blocks.

    :return: when the next request is due, and since when the oldest waits.
    """
    from provider.metadata.engine import read_session, write_session
    from provider.metadata.request_queue import next_due_at, oldest_waiting_since
    from provider.metadata.waiting_reasons import explain_waiting, has_wrong_reasons

    with read_session() as session:
        due_at, waiting_since = next_due_at(session), oldest_waiting_since(session)
        wrong_reasons = has_wrong_reasons(session)
    if wrong_reasons:
        with write_session() as session:
            explain_waiting(session)
    _sweep.sweep_if_due()
    return due_at, waiting_since
