"""A message as it goes into the inbox. No SQLAlchemy: whoever reads messages imports it at the top."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class InboxMessage:
    """
    A message as it goes into the inbox.

    :param message_id: unique within a subscription.
    :param payload: the bytes as they came, whatever they are.
    :param kind: ``start``, ``completion`` or ``file``.
    :param problem: why the message cannot be accepted; None for one that could be read, which then has the fields below.
    :param no_effect: why a message that could be read starts nothing.
    :param task_id: where to start, or the task that has ended.
    :param status: how it has ended, ``SUCCESS`` or ``ERROR``, and ``error`` why.
    :param file_size: of a file, in bytes; None where the message does not tell.
    :param params: values for the workflow's params; of a file ``{"bucket", "object", "generation"}``.
    """

    message_id: str
    payload: bytes
    attributes: dict[str, str]
    published_at: datetime | None
    kind: Literal["start", "completion", "file"]
    problem: str | None = None
    no_effect: str | None = None
    task_id: str | None = None
    batch_id: str | None = None
    scope: str | None = None
    params: dict[str, Any] | None = None
    status: str | None = None
    error: str | None = None
    content_hash: str | None = None
    file_size: int | None = None
