"""What people do to the application database: shared by ``accelerator db`` and the DAG ``accelerator_maintenance``."""

from __future__ import annotations

from dataclasses import dataclass

from provider import settings
from provider.metadata.engine import create_engine
from provider.metadata.schema import HEAD, current_revision, refuse_newer, upgrade


@dataclass(frozen=True)
class SchemaRevisions:
    """
    Schema revisions of the application database; None is an empty database.

    :param found: what the database has, or had before an upgrade.
    :param needed: what this version needs.
    """

    found: str | None
    needed: str


def configured_revisions() -> SchemaRevisions:
    """
    Look at the configured application database without changing its schema.

    :raises ConfigurationError: ``[accelerator] sql_alchemy_conn`` cannot work.
    :raises sqlalchemy.exc.OperationalError: the database cannot be reached.
    """
    engine = create_engine(settings.get("sql_alchemy_conn"))
    try:
        return SchemaRevisions(current_revision(engine), HEAD)
    finally:
        engine.dispose()


def upgrade_configured() -> SchemaRevisions:
    """
    Upgrade the configured application database; a no-op where it has the schema already. Errors as above.

    :return: with the revision found before the upgrade.
    :raises SchemaOutOfDateError: the schema is one that only a newer version knows.
    """
    engine = create_engine(settings.get("sql_alchemy_conn"))
    try:
        found = current_revision(engine)
        refuse_newer(found)
        upgrade(engine)
        return SchemaRevisions(found, HEAD)
    finally:
        engine.dispose()
