"""Rows as people have written them by SQL: what SQLite takes for JSON or a boolean may be neither, and must hide no other row."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import JSON, Boolean, Text, cast
from sqlalchemy.orm import Session

from provider.plain_data import ConstantError, deeper_than, parse_json

#: So many ids in one SELECT; databases limit how many.
IDS_AT_ONCE = 500

#: JSON that is nested deeper than this is left as text: whoever writes such a value, with more callers above than whoever has
#: read it, would run out of stack. No valid row has half as many levels.
_MOST_LEVELS = 100

#: How people write a boolean in SQL. PostgreSQL takes them all for what they mean, SQLite reads each of them as true.
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}


def rows_as_written(session: Session, statement: Any, table: Any) -> list[dict[str, Any]]:
    """
    Return rows as dicts.

    A JSON column whose text is no JSON, and a boolean that is none, come back as that text.

    :param statement: selects from a table the columns that :func:`columns_as_written` gives.
    """
    readers = {column.name: reader for column in table.columns if (reader := _reader(column)) is not None}
    found = [dict(row) for row in session.execute(statement).mappings()]
    for row in found:
        row |= {name: reader(row[name]) for name, reader in readers.items()}
    return found


def columns_as_written(table: Any) -> list[Any]:
    """Return a table's columns, those with JSON and booleans as the text that is stored."""
    return [column if _reader(column) is None else cast(column, Text).label(column.name) for column in table.columns]


def _reader(column: Any) -> Callable[[str | None], Any] | None:
    """Return what makes a value of a stored text; None for columns that come as they are."""
    return next((reader for kind, reader in ((JSON, parsed), (Boolean, boolean)) if isinstance(column.type, kind)), None)


def parsed(text: str | None) -> Any:
    """Return the value of a JSON column, or its text where that is no JSON, or nested too deep to be handed on."""
    if text is None:
        return None
    if text == "[]":  # which most columns with a list hold
        return []
    try:
        value = _value(text)
    except (ValueError, RecursionError):
        return text
    may_be_deep = len(text) > _MOST_LEVELS and text.count("[") + text.count("{") > _MOST_LEVELS  # most texts are short
    return text if may_be_deep and deeper_than(_MOST_LEVELS, value) else value


def _value(text: str) -> Any:
    try:
        return parse_json(text)
    except ConstantError:
        # Whoever checks the row tells where the NaN is.
        return json.loads(text)


def can_be_sent(id_: object) -> bool:
    """Tell whether an id can be a value in a statement; what is no text, or none that UTF-8 has, SQLite alone holds."""
    try:
        return isinstance(id_, str) and id_.encode() is not None
    except UnicodeEncodeError:
        return False


def boolean(text: str | None) -> Any:
    """Return a boolean, or the text where that is none."""
    return text if text is None else _BOOLEANS.get(text.strip().lower(), text)
