"""The advisory locks that are taken in PostgreSQL: numbers that mean something to this package alone, each for one purpose."""

from __future__ import annotations

from enum import Enum, unique
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@unique
class AdvisoryLock(Enum):
    """A lock's number. Two purposes with one number would wait for each other for ever."""

    #: Whoever upgrades the schema.
    SCHEMA = 727_061_994

    #: A dispatcher that claims requests; held for one short transaction.
    CLAIM = 727_061_996

    #: Whoever changes definitions by a command; held for one short transaction.
    DEFINITIONS = 727_061_997

    #: Who gives a workflow another id, and, shared by any number, who stores messages for workflows.
    NAMES = 727_061_998


def hold(session: Session, lock: AdvisoryLock, *, shared: bool = False) -> None:
    """
    Hold a lock until the caller's transaction ends. On SQLite a transaction that writes is alone anyway.

    :param shared: beside any number of others who share it.
    """
    from sqlalchemy import func, select

    if session.get_bind().dialect.name == "postgresql":
        take = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        session.execute(select(take(lock.value)))
