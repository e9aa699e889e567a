"""
What a message says: bytes of a stranger → :class:`StartRequest`, or one clear reason why not.

The format is the JSON object ``{"task_id": "stg_orders", "batch_id": "B1", "scope": "downstream", "params": {...}}``; only
``task_id`` is required. Nothing in it is evaluated, and what could not be stored or handed on by Airflow is refused here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from provider.batch_ids import check_batch_id, shown
from provider.exceptions import MessageError
from provider.metadata.inbox import InboxMessage

MAX_BYTES = 256 * 1024
"""Longest message: it becomes the conf of a DAG run, which every task of the run loads."""

MAX_DEPTH = 20
"""Deepest nesting of a message's JSON."""

RESERVED_PARAMS = ("start_task_id", "scope", "_accelerator")
"""Keys of a run's conf that are ours."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

Scope = Literal["downstream", "task", "workflow"]


class StartRequest(BaseModel):
    """
    The wish to start a batch at a task.

    :param task_id: where the batch starts; the workflow is the one that the task belongs to.
    :param batch_id: run id of the DAG run; derived from the message id where the message names none.
    :param scope: ``downstream`` (the task and what follows it), ``task`` alone, or the whole ``workflow``.
    :param params: values for the workflow's params.

    Keys that we do not know are kept, so that a publisher may send more than we read.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: Literal["start"] = Field(default="start", exclude=True)
    task_id: StrictStr = Field(min_length=1, max_length=250)
    batch_id: StrictStr
    scope: Scope = "downstream"
    params: dict[str, Any] = Field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """Equal for two requests that ask for the same, whatever the order of keys and the unknown ones say."""
        content = {"task_id": self.task_id, "scope": self.scope, "params": self.params}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def parse(data: bytes, attributes: Mapping[str, str], message_id: str) -> StartRequest:  # noqa: ARG001 - for other formats
    """
    Read a message.

    :param data: the payload: UTF-8 JSON.
    :param attributes: the message's attributes; this format uses none.
    :param message_id: the id that Pub/Sub gave the message; names the batch when the message does not.
    :raises MessageError: with the one reason that is stored with the rejected request.
    """
    document = _read_json(data)
    if document.get("status") is not None:
        raise MessageError(
            "the message reports the end of a task ('status' is set); this version starts batches only. Send it without status."
        )
    fields = {key: value for key, value in document.items() if value is not None and key != "kind"}
    fields.setdefault("batch_id", f"msg_{message_id}")
    try:
        request = StartRequest.model_validate(fields)
    except ValidationError as error:
        raise MessageError(_first_problem(error)) from None
    check_batch_id(request.batch_id)
    if reserved := [key for key in RESERVED_PARAMS if key in request.params]:
        raise MessageError(f"params may not set {', '.join(reserved)}: the message has task_id and scope for that.")
    return request


def read(data: bytes, attributes: Mapping[str, str], message_id: str, published_at: datetime | None) -> InboxMessage:
    """Read a message for the inbox; where it cannot be accepted, the reason is in ``problem``."""
    message = InboxMessage(
        message_id=message_id, payload=data, attributes=dict(attributes), published_at=published_at, kind="start"
    )
    try:
        request = parse(data, attributes, message_id)
    except MessageError as error:
        return replace(message, problem=str(error))
    return replace(
        message,
        kind=request.kind,
        task_id=request.task_id,
        batch_id=request.batch_id,
        scope=request.scope,
        params=request.params,
        content_hash=request.content_hash,
    )


def _read_json(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise MessageError(
            f"the message has {len(data)} bytes, more than {MAX_BYTES}; put the data into a bucket and send its address."
        )
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated_keys)
    except UnicodeDecodeError as error:
        raise MessageError(f"the message is not UTF-8 (byte {error.start}); encode its JSON as UTF-8.") from None
    except RecursionError:
        raise MessageError(f"the message's JSON is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise MessageError(f'the message is not JSON: {error}. Send an object such as {{"task_id": "…"}}.') from None
    if not isinstance(document, dict):
        raise MessageError(f'the message is a JSON {_json_type(document)}, not an object; send {{"task_id": "…"}}.')
    _refuse_unstorable(document)
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise MessageError(f"the message holds {name}, which is no JSON; send null or a string.")


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise MessageError(f"the message has the key {shown(repeated)} twice; which one is meant cannot be told.")
    return document


def _refuse_unstorable(document: dict[str, Any]) -> None:
    """Refuse what PostgreSQL's JSON or Airflow's protocol between task and supervisor cannot hold."""
    waiting: list[tuple[Any, int]] = [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise MessageError(f"the message's JSON is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(value, dict):
            waiting.extend((part, depth) for part in value)
            waiting.extend((part, depth + 1) for part in value.values())
        elif isinstance(value, list):
            waiting.extend((part, depth + 1) for part in value)
        elif isinstance(value, str):
            if _UNSTORABLE.search(value):
                raise MessageError(f"the text {shown(value)} has a NUL or half a character, which no database stores.")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise MessageError(f"the number {shown(value)} has more than 64 bits; send it as a string.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise MessageError("the message holds a number too large for a float; send it as a string.")


def _json_type(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(shown(part) if not str(part).isidentifier() else str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f'the message has no {where}; send an object such as {{"task_id": "…"}}.'
    return f"{where}: {problem['msg']}."
