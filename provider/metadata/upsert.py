"""INSERT … ON CONFLICT for both databases, in chunks below the limits on bound parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from sqlalchemy import ColumnElement, Table
from sqlalchemy.orm import DeclarativeBase, Session

_MAX_PARAMETERS = 30_000

Rule = Callable[[str, Any], ColumnElement[Any]]


def inserts(session: Session, model: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    """
    Yield INSERTs of rows, which know the ON CONFLICT of the session's own database.

    :param rows: dicts with the same keys.
    """
    if not rows:
        return
    dialect: Any = import_module(f"sqlalchemy.dialects.{session.get_bind().dialect.name}")
    size = max(1, _MAX_PARAMETERS // len(rows[0]))
    for start in range(0, len(rows), size):
        yield dialect.insert(model).values([dict(row) for row in rows[start : start + size]])


def upsert(
    session: Session,
    model: type[DeclarativeBase],
    rows: Sequence[Mapping[str, Any]],
    *,
    update: Sequence[str],
    rules: Mapping[str, Rule] | None = None,
    where: Callable[[Any], ColumnElement[bool]] | None = None,
) -> None:
    """
    Insert rows; where the primary key is already there, update them.

    :param rows: dicts with the same keys.
    :param update: columns to take from the new row; empty leaves existing rows alone.
    :param rules: column → function of (column name, the proposed row) giving the value to store instead of the proposed one.
    :param where: condition, given the proposed row, under which an existing row is updated.
    """
    primary_key = list(cast("Table", model.__table__).primary_key.columns)
    for statement in inserts(session, model, rows):
        if not update:
            session.execute(statement.on_conflict_do_nothing())
            continue
        excluded = statement.excluded
        rule_of = rules or {}
        values = {column: rule_of[column](column, excluded) if column in rule_of else excluded[column] for column in update}
        session.execute(
            statement.on_conflict_do_update(index_elements=primary_key, set_=values, where=where(excluded) if where else None)
        )
