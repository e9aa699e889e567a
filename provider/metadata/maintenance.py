"""What people do to the application database: shared by ``accelerator db`` and the DAG ``accelerator_maintenance``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provider import settings
from provider.metadata.engine import create_engine
from provider.metadata.schema import HEAD, current_revision, refuse_newer, upgrade

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from provider.metadata.downgrade import Downgrade


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
    with _configured_engine() as engine:
        return SchemaRevisions(current_revision(engine), HEAD)


def upgrade_configured() -> SchemaRevisions:
    """
    Upgrade the configured application database; a no-op where it has the schema already. Errors as above.

    :return: with the revision found before the upgrade.
    :raises SchemaOutOfDateError: the schema is one that only a newer version knows.
    """
    with _configured_engine() as engine:
        found = current_revision(engine)
        refuse_newer(found)
        upgrade(engine)
        return SchemaRevisions(found, HEAD)


def downgrade_configured(wanted: str, *, agreed: bool) -> Downgrade:
    """
    Take the configured application database back to an earlier schema. Errors as above.

    :param wanted: a revision, such as ``0002``.
    :param agreed: that all is lost which is lost with it; without, it is only told, and nothing is changed.
    :raises SchemaOutOfDateError: there is no such way back, or something has to be done before.
    """
    from provider.metadata import downgrade

    with _configured_engine() as engine:
        if agreed:
            return downgrade.downgrade(engine, wanted)
        with engine.connect() as connection:
            return downgrade.plan(connection, wanted)


@contextmanager
def _configured_engine() -> Iterator[Engine]:
    engine = create_engine(settings.get("sql_alchemy_conn"))
    try:
        yield engine
    finally:
        engine.dispose()
