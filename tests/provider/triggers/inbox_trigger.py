"""An inbox trigger as its tests run it, and what it has stored."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from airflow.triggers.base import TriggerEvent
from sqlalchemy import select

from provider import messages
from provider.hooks import pubsub as hooks
from provider.metadata.engine import read_session
from provider.metadata.inbox_message import InboxMessage
from provider.metadata.tables import BatchRequest
from provider.triggers.pubsub import PubSubInboxTrigger

GOOD = {"task_id": "stg_orders", "batch_id": "B1", "scope": "workflow"}


async def give_back_what_is_parked() -> None:
    for reader in list(hooks._parked.values()):
        await reader.close()
    hooks._parked.clear()


async def first_event(subscription: str, **kwargs: Any) -> TriggerEvent:
    events: Any = PubSubInboxTrigger([subscription], poll_interval=0.2, **kwargs).run()
    try:
        return await asyncio.wait_for(anext(events), 60)
    finally:
        await events.aclose()


def rows() -> list[BatchRequest]:
    with read_session() as session:
        return list(session.scalars(select(BatchRequest).order_by(BatchRequest.id)))


def states() -> Counter[str]:
    return Counter(row.state for row in rows())


def message_of_inbox(message_id: str) -> InboxMessage:
    return messages.read(json.dumps(GOOD).encode(), {}, message_id, None)
