"""
What a message says: bytes of a stranger → one of three kinds, or one clear reason why not.

``{"task_id": "stg_orders", "batch_id": "B1", "scope": "downstream", "params": {...}}``
    starts a batch (:class:`StartMessage`); only ``task_id`` is required.
``{"previous_task_id": "stg_orders", "batch_id": "B1", "status": "SUCCESS"}``
    says that a task has ended elsewhere (:class:`CompletionMessage`).
A notification of Cloud Storage
    says that a file has arrived (:class:`FileNotification`); it is told by its attributes, or it is a CloudEvent of Eventarc.

Nothing in a message is evaluated, and what could not be stored or handed on by Airflow is refused here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StrictStr, ValidationError

from provider import cloud_events
from provider.batch_ids import BATCH_ID_SCHEMA, check_batch_id, file_batch_id
from provider.exceptions import MessageError
from provider.message_json import read_object, refuse_unstorable
from provider.metadata.inbox_message import InboxMessage
from provider.run_conf import ScopeName, reserved_among
from provider.texts import quoted

#: The event of an object that is there, new or written again; what else happens to objects starts nothing.
OBJECT_FINALIZE = "OBJECT_FINALIZE"

_LONGEST_OBJECT_NAME = 1024

#: How the names of objects end that consoles, gcsfuse and Hadoop write for folders.
_FOLDER_ENDS = ("/", "_$folder$")


class _Message(BaseModel):
    """Base of messages: keys that we do not know are kept, so that a publisher may send more than we read."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)
    #: What two messages must have in common to be the same wish.
    compared: ClassVar[tuple[str, ...]]
    #: For whoever has sent too little.
    example: ClassVar[str]

    @property
    def content_hash(self) -> str:
        """Equal for two messages that say the same, whatever the order of keys and the unknown ones say."""
        content = {name: getattr(self, name) for name in self.compared}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


Model = TypeVar("Model", bound=_Message)


class StartMessage(_Message):
    """
    The wish to start a batch at a task.

    :param task_id: where the batch starts; the workflow is the one that the task belongs to.
    :param batch_id: run id of the DAG run; derived from the message id where the message names none.
    :param scope: ``downstream`` (the task and what follows it), ``task`` alone, or the whole ``workflow``.
    :param params: values for the workflow's params; Airflow checks them when the run is made.
    """

    compared = ("task_id", "scope", "params")
    example = 'an object such as {"task_id": "…"}'

    task_id: StrictStr = Field(min_length=1, max_length=250)
    batch_id: StrictStr | None = Field(default=None, json_schema_extra=BATCH_ID_SCHEMA)
    scope: ScopeName = "downstream"
    params: dict[str, Any] = Field(default_factory=dict)


class CompletionMessage(_Message):
    """
    The news that a task has ended elsewhere.

    :param previous_task_id: the task that has ended. A ``task_id`` beside it says nothing more and is not read.
    :param batch_id: the batch in which it has ended.
    :param status: how.
    :param error: why, for people; of an ``ERROR``. May be called ``error_message`` too.
    """

    compared = ("previous_task_id", "status", "error")
    example = 'an object such as {"previous_task_id": "…", "batch_id": "…", "status": "SUCCESS"} for the end of a task'

    previous_task_id: StrictStr = Field(min_length=1, max_length=250)
    batch_id: StrictStr = Field(json_schema_extra=BATCH_ID_SCHEMA)
    status: Literal["SUCCESS", "ERROR"]
    error: StrictStr | None = Field(default=None, max_length=10_000, validation_alias=AliasChoices("error", "error_message"))


class FileNotification(_Message):
    """
    The attributes of a Pub/Sub notification of Cloud Storage; of the payload only the size is read.

    :param event_type: only :data:`OBJECT_FINALIZE` starts something.
    :param bucket: name of the bucket, and ``object`` that of the object.
    :param generation: tells one content of the object from the next.
    :param size: of the object, in bytes; None where the notification has no payload that says it.

    .. seealso:: https://cloud.google.com/storage/docs/pubsub-notifications#attributes
    """

    compared = ("bucket", "object", "generation")
    example = "attributes as Cloud Storage sends them"

    event_type: StrictStr = Field(alias="eventType")
    bucket: StrictStr = Field(alias="bucketId", min_length=1, max_length=250)
    object: StrictStr = Field(alias="objectId", min_length=1, max_length=_LONGEST_OBJECT_NAME)
    generation: StrictStr = Field(alias="objectGeneration", pattern="^[0-9]{1,20}$")
    size: int | None = Field(default=None, ge=0)


def parse(data: bytes, attributes: Mapping[str, str], message_id: str) -> StartMessage | CompletionMessage | FileNotification:
    """
    Read a message.

    :param data: the payload: UTF-8 JSON.
    :param attributes: the message's attributes; they tell a notification of Cloud Storage.
    :param message_id: the id that Pub/Sub gave the message; names the batch when the message does not.
    :raises MessageError: with the one reason that is stored with the rejected request.
    """
    if is_file_notification(attributes):
        refuse_unstorable(dict(attributes))
        return _validated(FileNotification, {**attributes, "size": _size(data)})
    if cloud_events.is_binary_event(attributes):
        return _validated(FileNotification, cloud_events.notification_of_binary(data, attributes))
    if cloud_events.is_structured_event(attributes):
        return _validated(FileNotification, cloud_events.notification_of_structured(data))
    document = read_object(data)
    if cloud_events.looks_like_event(document) and "task_id" not in document and "previous_task_id" not in document:
        return _validated(FileNotification, cloud_events.notification_of_structured(data))
    fields = {key: value for key, value in document.items() if value is not None}
    if "status" in fields or "previous_task_id" in fields:
        completion = _validated(CompletionMessage, fields)
        check_batch_id(completion.batch_id)
        return completion
    fields.setdefault("batch_id", f"msg_{message_id}")
    start = _validated(StartMessage, fields)
    check_batch_id(start.batch_id or "")
    if reserved := reserved_among(start.params):
        raise MessageError(f"params may not set {', '.join(reserved)}: the message has task_id and scope for that.")
    return start


def _size(data: bytes) -> int | None:
    """Return the size that the payload of a notification tells; None where there is none, or it says something else."""
    try:
        size = read_object(data).get("size")
    except MessageError:
        return None
    return int(size) if isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 20 else None


def is_file_notification(attributes: Mapping[str, str]) -> bool:
    """Tell whether a message comes from Cloud Storage."""
    return "eventType" in attributes and "bucketId" in attributes


def read(data: bytes, attributes: Mapping[str, str], message_id: str, published_at: datetime | None) -> InboxMessage:
    """Read a message for the inbox; where it cannot be accepted, the reason is in ``problem``."""
    message = InboxMessage(
        message_id=message_id,
        payload=data,
        attributes=dict(attributes),
        published_at=published_at,
        kind="file" if is_file_notification(attributes) else "start",
    )
    try:
        parsed = parse(data, attributes, message_id)
    except MessageError as error:
        return replace(message, problem=str(error))
    message = replace(message, content_hash=parsed.content_hash, batch_id=None)
    if isinstance(parsed, FileNotification):
        return _file(message, parsed)
    if isinstance(parsed, CompletionMessage):
        return replace(
            message,
            kind="completion",
            task_id=parsed.previous_task_id,
            batch_id=parsed.batch_id,
            scope="downstream",
            status=parsed.status,
            error=parsed.error,
        )
    return replace(message, task_id=parsed.task_id, batch_id=parsed.batch_id, scope=parsed.scope, params=parsed.params)


def _file(message: InboxMessage, file: FileNotification) -> InboxMessage:
    if file.event_type != OBJECT_FINALIZE:
        reason = f"event {quoted(file.event_type)} of a file starts nothing; {OBJECT_FINALIZE} does."
        return replace(message, kind="file", no_effect=reason)
    if file.object.endswith(_FOLDER_ENDS):
        return replace(message, kind="file", no_effect="the object stands for a folder, by its name, and starts nothing.")
    return replace(
        message,
        kind="file",
        file_size=file.size,
        batch_id=file_batch_id(file.bucket, file.object, file.generation),
        scope="workflow",
        params={"bucket": file.bucket, "object": file.object, "generation": file.generation},
    )


def _validated(model: type[Model], fields: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise MessageError(_first_problem(error, model.example)) from None


def _first_problem(error: ValidationError, example: str) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(quoted(part) if not str(part).isidentifier() else str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"the message has no {where}; send {example}."
    return f"{where}: {problem['msg']}."


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of what may be published: a start or a completion."""
    completion = {"anyOf": [{"required": ["previous_task_id"]}, {"required": ["status"]}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Message to the dispatcher",
        "if": completion,
        "then": _published(CompletionMessage),
        "else": _published(StartMessage),
    }


def _published(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="validation")
    # The docstring is for who reads the code.
    schema["description"] = (model.__doc__ or "").strip().partition("\n")[0]
    return schema


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
