"""Reading the rows within a time limit, whatever state the application database is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from provider.metadata.database_url import without_passwords
from provider.metadata.definition_rows import (
    meant_since,
    read_definitions,
    read_makers,
    read_predecessors,
    read_shard,
    read_task_rows,
)
from provider.metadata.engine import read_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Meant, Shard
from provider.texts import first_line
from provider.threads import within

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

T = TypeVar("T")

#: Longest wait for the rows, in seconds. The engine's own limits end most hangs sooner; Airflow gives up on the whole file
#: after 30 s.
READ_SECONDS = 10.0


class DefinitionsUnavailableError(Exception):
    """The rows cannot be read; the message says why, without a secret."""


@dataclass(frozen=True)
class Read:
    """
    What is in the tables, as of one moment.

    :param rows: of all workflows of a shard.
    :param meant: what people meant since a version.
    :param predecessors: workflow id → what it comes after, of all shards.
    :param makers: URI of an asset → the workflows whose tasks make it.
    """

    rows: DefinitionRows
    meant: Meant
    predecessors: dict[str, list[str]]
    makers: dict[str, list[str]]


def read_rows(shard: Shard, since: int, *, seconds: float = READ_SECONDS) -> Read:
    """
    Read the rows of all workflows of a shard, what people meant since a version, and what comes after what.

    :param seconds: longest wait. A connection that hangs without an error is left to its thread.
    :raises DefinitionsUnavailableError: for every reason for which there are no rows.
    """

    def read(session: Session) -> Read:
        rows, meant = read_shard(session, shard), meant_since(session, since)
        return Read(rows, meant, read_predecessors(session), read_makers(session))

    return _read(read, seconds)


def read_workflow(workflow_id: str, *, seconds: float = READ_SECONDS) -> tuple[DefinitionRows, dict[str, list[str]]]:
    """Read the rows of one workflow, and what comes after what; the rest is as above."""
    return _read(lambda session: (read_definitions(session, [workflow_id]), read_predecessors(session)), seconds)


def read_task(workflow_id: str, task_id: str, *, seconds: float = READ_SECONDS) -> DefinitionRows:
    """Read the rows of a task and of what is next to it; the rest is as above."""
    return _read(lambda session: read_task_rows(session, workflow_id, task_id), seconds)


def read_meant(workflow_id: str, since: int, *, seconds: float = READ_SECONDS) -> Meant:
    """Read what people meant with one workflow since a version; the rest is as above."""
    return _read(lambda session: meant_since(session, since, workflow_id), seconds)


def _read(query: Callable[[Session], T], seconds: float) -> T:
    def read() -> T:
        with read_session() as session:
            if session.get_bind().dialect.name == "postgresql":
                # One view of all tables, also while somebody replaces a workflow.
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            return query(session)

    try:
        return within(seconds, read, "read-definitions")
    except Exception as error:
        raise DefinitionsUnavailableError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    # SQLAlchemy's own text repeats the statement; the driver's says what happened.
    said = without_passwords(str(getattr(error, "orig", None) or error))
    return first_line(said, 500) or type(error).__name__
