"""A message's payload as a JSON object: only what databases and Airflow can hold, and never a surprise for the parser."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from provider.exceptions import MessageError
from provider.texts import quoted

#: Longest message: it becomes the conf of a DAG run, which every task of the run loads.
MAX_BYTES = 256 * 1024

#: Deepest nesting of a message's JSON.
MAX_DEPTH = 20

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


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
        document = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated_keys)
    except UnicodeDecodeError as error:
        raise MessageError(f"the message is not UTF-8 (byte {error.start}); encode its JSON as UTF-8.") from None
    except RecursionError:
        raise MessageError(f"the message's JSON is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise MessageError(f'the message is not JSON: {error}. Send an object such as {{"task_id": "…"}}.') from None
    if not isinstance(document, dict):
        raise MessageError(f'the message is a JSON {_json_type(document)}, not an object; send {{"task_id": "…"}}.')
    refuse_unstorable(document)
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise MessageError(f"the message holds {name}, which is no JSON; send null or a string.")


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise MessageError(f"the message has the key {quoted(repeated)} twice; which one is meant cannot be told.")
    return document


def refuse_unstorable(document: dict[str, Any]) -> None:
    """
    Refuse what PostgreSQL's JSON or Airflow's protocol between task and supervisor cannot hold.

    :raises MessageError: with the reason.
    """
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
                raise MessageError(f"the text {quoted(value)} has a NUL or half a character, which no database stores.")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise MessageError(f"the number {quoted(value)} has more than 64 bits; send it as a string.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise MessageError("the message holds a number too large for a float; send it as a string.")


def _json_type(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
