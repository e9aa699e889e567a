"""
CloudEvents as Eventarc publishes them: what one says of a file, in the words of Cloud Storage's own notifications.

.. seealso:: https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provider.exceptions import MessageError
from provider.message_json import read_object, refuse_unstorable
from provider.texts import quoted

_STORAGE_EVENT = "google.cloud.storage.object.v1."
_NOTIFICATION_EVENTS = {
    "finalized": "OBJECT_FINALIZE",
    "deleted": "OBJECT_DELETE",
    "archived": "OBJECT_ARCHIVE",
    "metadataUpdated": "OBJECT_METADATA_UPDATE",
}
_STRUCTURED = "application/cloudevents"
_PREFIX = "ce-"


def is_binary_event(attributes: Mapping[str, str]) -> bool:
    """Tell whether the attributes are those of a CloudEvent in binary mode, whose data is the payload."""
    return bool({"ce-type", "ce-specversion"} & {name.lower() for name in attributes})


def is_structured_event(attributes: Mapping[str, str]) -> bool:
    """Tell whether the attributes say that the payload is a CloudEvent as a whole."""
    return any(name.lower() == "content-type" and value.lower().startswith(_STRUCTURED) for name, value in attributes.items())


def looks_like_event(document: Mapping[str, Any]) -> bool:
    """Tell whether a payload is a CloudEvent as a whole, though no attribute says so."""
    return "specversion" in document and "type" in document


def notification_of_binary(data: bytes, attributes: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the attributes that Cloud Storage itself would have sent.

    :raises MessageError: the event is of another kind, cannot be read, or says what cannot be stored.
    """
    event = {name.lower().removeprefix(_PREFIX): value for name, value in attributes.items() if name.lower().startswith(_PREFIX)}
    kind = _kind(event)
    found = _notification(kind, event, read_object(data))
    # The payload was looked at when it was read; the attributes are texts that nobody has looked at.
    refuse_unstorable(found)
    return found


def notification_of_structured(data: bytes) -> dict[str, Any]:
    """Do what :func:`notification_of_binary` does, for an event that is the payload."""
    event = read_object(data)
    kind = _kind(event)
    told = event.get("data")
    if not isinstance(told, dict):
        raise MessageError("the CloudEvent has no object in data; let Eventarc send its data as JSON.")
    return _notification(kind, event, told)


def _kind(event: Mapping[str, Any]) -> str:
    kind = event.get("type")
    if isinstance(kind, str) and kind.startswith(_STORAGE_EVENT):
        return kind.removeprefix(_STORAGE_EVENT)
    raise MessageError(
        f"the message is a CloudEvent of type {quoted(kind)}; of CloudEvents only those of Cloud Storage are read "
        f"({_STORAGE_EVENT}finalized). Send anything else as a plain message."
    )


def _notification(kind: str, event: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    subject = event.get("subject")
    of_subject = subject.removeprefix("objects/") if isinstance(subject, str) and subject.startswith("objects/") else None
    found = {
        "eventType": _NOTIFICATION_EVENTS.get(kind, kind),
        "bucketId": told.get("bucket", event.get("bucket")),
        "objectId": told.get("name", of_subject),
        "objectGeneration": told.get("generation"),
        "size": told.get("size"),
    }
    # As JSON, Google's events have 64-bit numbers as texts; another producer may not know.
    found = {key: str(value) if type(value) is int else value for key, value in found.items()}
    return {key: value for key, value in found.items() if value is not None}
