"""The advisory locks that are taken in PostgreSQL: numbers that mean something to this package alone, each for one purpose."""

from __future__ import annotations

from enum import Enum, unique


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
