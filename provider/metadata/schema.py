"""The schema's version: checked cheaply on the first use in a process, upgraded by Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from provider.exceptions import SchemaOutOfDateError
from provider.metadata.advisory_locks import AdvisoryLock

if TYPE_CHECKING:
    from alembic.config import Config

#: The newest revision in ``migrations/versions``; written here so that Alembic is imported only to upgrade.
HEAD = "0009"


#: Dialect → what gives the table of the version, or nothing.
_HAS_VERSION = {
    "postgresql": "SELECT to_regclass('accelerator_alembic_version')",
    "sqlite": "SELECT name FROM sqlite_master WHERE name = 'accelerator_alembic_version'",
}


def current_revision(connectable: Engine | Connection) -> str | None:
    """Return the revision of the database, or None for an empty one."""
    if isinstance(connectable, Engine):
        with connectable.connect() as connection:
            return current_revision(connection)
    # Each task process asks this, and SQLAlchemy's inspector takes longer than all that follows.
    if connectable.exec_driver_sql(_HAS_VERSION[connectable.dialect.name]).scalar() is None:
        return None
    revision: str | None = connectable.exec_driver_sql("SELECT version_num FROM accelerator_alembic_version").scalar()
    return revision


def ensure_schema(engine: Engine) -> None:
    """
    Make sure that the database has the schema of this version.

    :raises SchemaOutOfDateError: on PostgreSQL, where an upgrade is a decision of people; on SQLite it is upgraded at once.
    """
    found = current_revision(engine)
    if found == HEAD:
        return
    refuse_newer(found)
    if engine.dialect.name == "sqlite":
        upgrade(engine)
        return
    raise SchemaOutOfDateError(
        f"the application database has schema {found or 'none'}, this version needs {HEAD}; run `accelerator db upgrade`, or run "
        "the DAG accelerator_maintenance where there is no shell."
    )


def refuse_newer(found: str | None) -> None:
    """
    Refuse a schema that only a newer version of this package knows.

    :raises SchemaOutOfDateError: always for such a schema; nothing can be done with it from here.
    """
    if found is not None and found > HEAD:
        raise SchemaOutOfDateError(
            f"the application database has schema {found}, newer than {HEAD} which this version knows; install the newer "
            "airflow-provider-cloud-accelerator on this machine too. To go back to this version, run "
            f"`accelerator db downgrade --to {HEAD}` with the newer one first."
        )


def upgrade(engine: Engine) -> None:
    """Upgrade the database to :data:`HEAD`; safe when several processes do it at once, and a no-op when it is there."""
    from alembic import command

    if engine.dialect.name == "sqlite":
        engine = engine.execution_options(accelerator_write=True)
    with engine.begin() as connection:
        one_at_a_time(connection)
        if current_revision(connection) == HEAD:
            return  # somebody else did it while this process waited for the lock
        command.upgrade(alembic_config(connection), "head")


def one_at_a_time(connection: Connection) -> None:
    """Wait until nobody else changes the schema, and keep others waiting until this transaction ends."""
    if connection.dialect.name != "postgresql":
        return  # on SQLite there is one writer
    # The others' upgrade may take longer than any other lock; what it does for that long is worth the wait.
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({AdvisoryLock.SCHEMA.value})")


def alembic_config(connection: Connection | None = None) -> Config:
    """
    Return Alembic's configuration; everything is set here, there is no ini file.

    :param connection: what migrations run on, in its transaction.
    """
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
