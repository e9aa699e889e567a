"""A hint from the scheduler to its reconciler: one line of JSON in a pipe."""

from __future__ import annotations

import json
import select
from collections.abc import Mapping
from typing import Any

#: Longest line, in bytes: a write of no more than this into a pipe is done whole or not at all.
LONGEST_LINE = select.PIPE_BUF

_KINDS = {"dag_id": str, "run_id": str, "task_id": str, "map_index": int, "try_number": int, "error": str}


def hint_line(hint: Mapping[str, Any]) -> bytes:
    """Return a hint as a line; where it is too long its error is cut, and if that is not enough it says nothing but: look."""
    line = _line(hint)
    if len(line) > LONGEST_LINE and "error" in hint:
        # Counted as it is written: a character may be one byte or twelve.
        kept = json.dumps(hint["error"]).encode()[1:-1]
        kept = kept[: max(0, len(kept) - (len(line) - LONGEST_LINE))]
        line = _line({**hint, "error": _readable(kept)})
    return line if len(line) <= LONGEST_LINE else _line({})


def read_hint(line: bytes | str) -> dict[str, Any]:
    """
    Return what a line says.

    :raises ValueError: it is no hint, but a part of one, or something else that came into the pipe.
    """
    try:
        hint = json.loads(line)
    except RecursionError:
        raise ValueError from None
    if hint == {}:
        return {}
    if not isinstance(hint, dict) or {name: type(value) for name, value in hint.items()} != _KINDS:
        raise ValueError
    return dict(hint)


def _line(hint: Mapping[str, Any]) -> bytes:
    return json.dumps(hint).encode() + b"\n"


def _readable(kept: bytes) -> str:
    """Return the text of a JSON string that was cut, without the escape at its end that was cut too."""
    for end in range(len(kept), max(0, len(kept) - 12), -1):
        try:
            text: str = json.loads(b'"' + kept[:end] + b'"')
            text.encode()
        except ValueError:
            continue
        return text
    return ""
