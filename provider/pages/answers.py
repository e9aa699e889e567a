"""What routes answer with: JSON, in which secrets are masked, whatever column they stand in."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from provider.airflow_internals.secrets import redact
from provider.metadata.database_url import without_passwords
from provider.texts import cut, first_line

#: Longest text of a payload that is shown, in characters.
PAYLOAD_CHARACTERS = 20_000

#: A name before ``:`` or ``=`` in what is no JSON, such as one that was cut; it may be in quotes, and they escaped. A name is
#: looked for where a word begins, and is not longer than any is: a payload of one long word would take minutes else.
_NAME = re.compile(r"""(?<![\w.-])(?P<name>[\w.-]{1,100})\\*["']?\s*(?P<sign>[:=])\s*""")
#: Its value: in quotes up to the same one, a number up to what follows; of a list, a map or a block nobody knows where it ends.
_VALUE = re.compile(
    r"""(?P<quote>\\+["']).*?((?<!\\)(?P=quote)|\Z)|"(\\.|[^"\\])*"?|'(\\.|[^'\\])*'?|-?[\d.]+(?=\s*[,}\]])|[\[{|>].*""",
    re.DOTALL,
)
_REST = {":": re.compile(r"[^\r\n]*"), "=": re.compile(r"[^&\r\n]*")}


def answer(data: Any, status: int = 200) -> Response:
    """
    Return data as JSON.

    Everything passes the masks of the product, so that no column is forgotten. All but ASCII is escaped: half a surrogate pair,
    which a row may hold, has no other form.
    """
    masked = redact(data)
    try:
        text = json.dumps(masked, default=_plain, allow_nan=False)
    except ValueError:  # a NaN in a JSON column, which no browser reads
        text = json.dumps(json.loads(json.dumps(masked, default=_plain), parse_constant=str))
    return Response(text, status, media_type="application/json")


def shown_payload(payload: bytes, whole: int) -> dict[str, Any]:
    """
    Return what people see of a message's payload: masked, in lines where it is JSON, and cut.

    :param whole: its size as it came, in bytes; the inbox may have kept less.
    :return: ``text``, ``bytes`` (of the whole), ``kept`` (bytes in the inbox), and ``faithful``: nothing was masked or cut.
    """
    text = plain = payload.decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
        text, plain = (json.dumps(shown, indent=2, ensure_ascii=False) for shown in (redact(parsed), parsed))
    except (ValueError, RecursionError):
        text = _mask_named(text)
    text = cut(redact(text), PAYLOAD_CHARACTERS)
    return {"text": text, "bytes": whole, "kept": len(payload), "faithful": text == plain and "\ufffd" not in text}


def database_says(error: Exception) -> str:
    """Return what a database says of an error, without secrets; masked before it is cut."""
    return first_line(redact(without_passwords(str(getattr(error, "orig", None) or error))))


def _mask_named(text: str) -> str:
    """Mask the values of what names say to be secret; rather too much of what follows than too little."""
    shown, end = [], 0
    for name in _NAME.finditer(text):
        if name.start() < end or redact("value", name["name"]) == "value":
            continue
        value = _VALUE.match(text, name.end()) or _REST[name["sign"]].match(text, name.end())
        assert value is not None, "the rest of a line may be empty"
        shown += [text[end : name.end()], "***"]
        end = value.end()
    return "".join([*shown, text[end:]])


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
