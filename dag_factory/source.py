"""Reading the rows within a time limit, whatever state the application database is in."""

from __future__ import annotations

from provider import settings
from provider.metadata.database_url import without_passwords
from provider.metadata.definitions import read_definitions
from provider.metadata.engine import read_session
from provider.metadata.rows import DefinitionRows
from provider.texts import first_line
from provider.threads import within

#: Longest wait for the rows, in seconds. The engine's own limits end most hangs sooner; Airflow gives up on the whole file
#: after 30 s.
READ_SECONDS = 10.0


class DefinitionsUnavailableError(Exception):
    """The rows cannot be read; the message says why, without a secret."""


def read_rows(workflow_id: str | None = None, *, seconds: float = READ_SECONDS) -> DefinitionRows:
    """
    Read the rows of all workflows, or of one.

    :param seconds: longest wait. A connection that hangs without an error is left to its thread.
    :raises DefinitionsUnavailableError: for every reason for which there are no rows.
    """

    def read() -> DefinitionRows:
        settings.refuse_embedded_database_across_machines()
        with read_session() as session:
            if session.get_bind().dialect.name == "postgresql":
                # One view of the three tables, also while somebody replaces a workflow.
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            return read_definitions(session, workflow_id)

    try:
        return within(seconds, read, "read-definitions")
    except Exception as error:
        raise DefinitionsUnavailableError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    # SQLAlchemy's own text repeats the statement; the driver's says what happened.
    said = without_passwords(str(getattr(error, "orig", None) or error))
    return first_line(said, 500) or type(error).__name__
