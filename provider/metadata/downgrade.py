"""
Takes the schema of the application database back, for an earlier version of this package, and says before what that loses.

Each migration in ``migrations/versions`` says what its downgrade loses (``losses``), and what has to be done before it
(``hindrances``). Imports SQLAlchemy and Alembic: import this module where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from provider.exceptions import SchemaOutOfDateError
from provider.metadata.schema import alembic_config, current_revision, one_at_a_time, refuse_newer
from provider.metadata.tables import Base

#: How long whoever writes rows is waited for, in seconds.
LOCK_SECONDS = 30.0


@dataclass(frozen=True)
class Downgrade:
    """
    The way from one schema back to an earlier one.

    :param found: revision that the database has, or had before.
    :param wanted: revision that it shall have.
    :param losses: what goes with it, line by line, with numbers of rows.
    """

    found: str
    wanted: str
    losses: tuple[str, ...]


def plan(connection: Connection, wanted: str) -> Downgrade:
    """
    Say what a downgrade would lose; nothing is changed.

    :param wanted: a revision, such as ``0002``.
    :raises SchemaOutOfDateError: there is no such way back, or something has to be done before.
    """
    found = current_revision(connection)
    refuse_newer(found)
    newest_first = list(ScriptDirectory.from_config(alembic_config()).walk_revisions())
    known = [script.revision for script in newest_first]
    if wanted not in known:
        raise SchemaOutOfDateError(f"there is no schema {wanted}; there are: {', '.join(reversed(known))}.")
    if found is None or wanted > found:
        raise SchemaOutOfDateError(
            f"the application database has schema {found or 'none'}, and {wanted} comes after it; `accelerator db upgrade` goes "
            "forward, to the newest."
        )
    steps = [script.module for script in newest_first if wanted < script.revision <= found]
    if hindrances := [text for step in steps for text in _told(step, "hindrances", connection)]:
        raise SchemaOutOfDateError(
            f"schema {wanted} cannot hold all that waits: {'; '.join(hindrances)}. Let them start, pause the DAG "
            "accelerator_dispatcher, then go back; nothing was changed."
        )
    return Downgrade(found, wanted, tuple(text for step in steps for text in _told(step, "losses", connection)))


def downgrade(engine: Engine, wanted: str) -> Downgrade:
    """
    Take the schema back in one transaction, in which nobody else can write; what was lost is returned.

    :param wanted: as in :func:`plan`, whose errors there are.
    """
    if engine.dialect.name == "sqlite":
        engine = engine.execution_options(accelerator_write=True)
    with engine.begin() as connection:
        one_at_a_time(connection)
        _keep_writers_out(connection)
        way = plan(connection, wanted)
        if way.found != wanted:
            command.downgrade(alembic_config(connection), wanted)
        return way


def _keep_writers_out(connection: Connection) -> None:
    """Let no row come between what is told and what is done. Whoever works is waited for, though not for ever."""
    tables = sorted(Base.metadata.tables.keys() & set(inspect(connection).get_table_names()))
    if connection.dialect.name == "postgresql" and tables:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:g}s'")
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)}")


def _told(step: Any, what: str, connection: Connection) -> list[str]:
    tell = getattr(step, what, None)
    return [] if tell is None else tell(connection)
