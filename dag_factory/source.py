"""Reading the rows within a time limit, whatever state the application database is in."""

from __future__ import annotations

import threading

from provider import settings
from provider.metadata.definitions import DefinitionRows, read_definitions
from provider.metadata.engine import read_session

READ_SECONDS = 10.0
"""Longest wait for the rows. The engine's own limits end most hangs sooner; Airflow gives up on the whole file after 30 s."""


class DefinitionsUnavailableError(Exception):
    """The rows cannot be read; the message says why, without a secret."""


def read_rows(workflow_id: str | None = None, *, seconds: float = READ_SECONDS) -> DefinitionRows:
    """
    Read the rows of all workflows, or of one.

    :param seconds: longest wait. A connection that hangs without an error is left to its thread.
    :raises DefinitionsUnavailableError: for every reason for which there are no rows.
    """
    rows: list[DefinitionRows] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            settings.refuse_embedded_database_across_machines()
            with read_session() as session:
                if session.get_bind().dialect.name == "postgresql":
                    # One view of the three tables, also while somebody replaces a workflow.
                    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                rows.append(read_definitions(session, workflow_id))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failures.append(error)

    # Not an executor: Python would wait for its thread at exit, hang or not.
    reader = threading.Thread(target=read, name="read-definitions", daemon=True)
    reader.start()
    reader.join(seconds)
    if failures:
        raise DefinitionsUnavailableError(_reason(failures[0])) from failures[0]
    if not rows:
        raise DefinitionsUnavailableError(f"no answer within {seconds:g} seconds")
    return rows[0]


def _reason(error: BaseException) -> str:
    text = str(getattr(error, "orig", None) or error).strip().partition("\n")[0] or type(error).__name__
    return _without_password(text)[:500]


def _without_password(text: str) -> str:
    """Take the database's password out of a driver's message."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from provider.exceptions import ConfigurationError

    try:
        url = settings.get("sql_alchemy_conn")
    except ConfigurationError:
        return text
    try:
        password = make_url(url).password
    except ArgumentError:
        return text.replace(url, "***")
    return text.replace(password, "***") if password else text
