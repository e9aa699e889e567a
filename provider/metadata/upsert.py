"""INSERT … ON CONFLICT for both databases, in chunks below the limits on bound parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
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
    for chunk in _chunks(rows):
        yield _insert(session.get_bind().dialect.name, model).values(chunk)


def _insert(dialect_name: str, model: type[DeclarativeBase]) -> Any:
    return import_module(f"sqlalchemy.dialects.{dialect_name}").insert(model.__table__)


def _chunks(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    size = max(1, _MAX_PARAMETERS // len(rows[0])) if rows else 1
    for start in range(0, len(rows), size):
        yield [dict(row) for row in rows[start : start + size]]


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
    statement = _upsert_of(session.get_bind().dialect.name, model, tuple(update), tuple((rules or {}).items()), where)
    if len(rows) == 1:
        session.execute(statement, dict(rows[0]))
        return
    for chunk in _chunks(rows):
        session.execute(statement.values(chunk))


@lru_cache(maxsize=32)
def _upsert_of(
    dialect_name: str,
    model: type[DeclarativeBase],
    update: tuple[str, ...],
    rules: tuple[tuple[str, Rule], ...],
    where: Callable[[Any], ColumnElement[bool]] | None,
) -> Any:
    """Return the statement, made once: a task process writes two rows or three, and to make it takes as long as to write them."""
    statement = _insert(dialect_name, model)
    if not update:
        return statement.on_conflict_do_nothing()
    excluded, rule_of = statement.excluded, dict(rules)
    values = {column: rule_of[column](column, excluded) if column in rule_of else excluded[column] for column in update}
    primary_key = list(cast("Table", model.__table__).primary_key.columns)
    condition = where(excluded) if where else None
    return statement.on_conflict_do_update(index_elements=primary_key, set_=values, where=condition)
