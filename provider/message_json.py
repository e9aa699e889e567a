"""A message's payload as a JSON object: only what databases and Airflow can hold, and never a surprise for the parser."""

from __future__ import annotations

from typing import Any

from provider.exceptions import MessageError
from provider.plain_data import ConstantError, Flaw, RepeatedKeyError, Unstorable, parse_json, unstorable
from provider.texts import quoted

#: Longest message, in bytes: it becomes the conf of a DAG run, which every task of the run loads.
MAX_BYTES = 256 * 1024

#: Deepest nesting of a message's JSON.
MAX_DEPTH = 20

_TOO_DEEP = f"the message's JSON is nested deeper than {MAX_DEPTH} levels."


def read_object(data: bytes) -> dict[str, Any]:
    """
    Return the object that a payload holds.

    :param data: UTF-8 JSON.
    :raises MessageError: with the one reason why it cannot be taken.
    """
    if len(data) > MAX_BYTES:
        raise MessageError(
            f"the message has {len(data)} bytes, more than {MAX_BYTES}; put the data into a bucket and send its address."
        )
    try:
        document = parse_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise MessageError(f"the message is not UTF-8 (byte {error.start}); encode its JSON as UTF-8.") from None
    except RecursionError:
        raise MessageError(_TOO_DEEP) from None
    except ConstantError as error:
        raise MessageError(f"the message holds {error.word}, which is no JSON; send null or a string.") from None
    except RepeatedKeyError as error:
        raise MessageError(f"the message has the key {quoted(error.key)} twice; which one is meant cannot be told.") from None
    except ValueError as error:
        raise MessageError(f'the message is not JSON: {error}. Send an object such as {{"task_id": "…"}}.') from None
    if not isinstance(document, dict):
        raise MessageError(f'the message is a JSON {_json_type(document)}, not an object; send {{"task_id": "…"}}.')
    refuse_unstorable(document)
    return document


def refuse_unstorable(document: dict[str, Any]) -> None:
    """
    Refuse what PostgreSQL's JSON or Airflow's protocol between task and supervisor cannot hold.

    :raises MessageError: with the reason.
    """
    found = next(unstorable(document, max_depth=MAX_DEPTH), None)
    if found is not None:
        raise MessageError(_reason(found))


def _reason(found: Unstorable) -> str:
    if found.flaw is Flaw.TOO_DEEP:
        return _TOO_DEEP
    if found.flaw in (Flaw.NUL, Flaw.HALF_CHARACTER):
        return f"the text {quoted(found.value)} has a NUL or half a character, which no database stores."
    if found.flaw is Flaw.TOO_LARGE:
        return f"the number {quoted(found.value)} has more than 64 bits; send it as a string."
    if found.flaw is Flaw.NOT_FINITE:
        return "the message holds a number too large for a float; send it as a string."
    return f"the key {quoted(found.value)} is no string."


def _json_type(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
