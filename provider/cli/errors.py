"""What a person is told about an error: one line that names the cause and the next step, without secrets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from provider.exceptions import AcceleratorError

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

SETTING = "[accelerator] sql_alchemy_conn (AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN)"


def describe(error: Exception) -> str | None:
    """
    Return the line to show for an error.

    :return: None for an error that is a defect of this package, whose traceback is needed.
    """
    if isinstance(error, AcceleratorError):
        return _one_line(str(error))
    # Only who has imported SQLAlchemy can have raised one of its errors; importing it here would be for nothing.
    if "sqlalchemy.exc" in sys.modules:
        from sqlalchemy.exc import SQLAlchemyError

        if isinstance(error, SQLAlchemyError):
            return _describe_database_error(error)
    return None


def _describe_database_error(error: SQLAlchemyError) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

    from provider import settings
    from provider.metadata.engine import without_passwords

    url = make_url(settings.get("sql_alchemy_conn"))
    # SQLAlchemy's own text repeats the statement; the driver's says what happened.
    reason = without_passwords(_one_line(str(error.orig if isinstance(error, DBAPIError) else error)))
    where = f"the application database {_address(url)}"
    if isinstance(error, IntegrityError):
        return f"{where} was changed by somebody else at the same time; nothing was stored. Try again. ({reason})"
    if isinstance(error, OperationalError) and ("locked" in reason or "lock timeout" in reason or "deadlock" in reason):
        return f"{where} is locked by another process; nothing was stored. Try again. ({reason})"
    if isinstance(error, OperationalError):
        return f"{where} cannot be used: {reason}. Check {SETTING} and that the database server is up."
    return f"{where} refused: {reason}. Check {SETTING}, and `accelerator db current`."


def _address(url: URL) -> str:
    """Return what tells a person which database it is; user, password and query, which may hold secrets, stay out."""
    host = f"{url.host}:{url.port}" if url.host and url.port else url.host or ""
    return f"{url.get_backend_name()}://{host}/{url.database or ''}"


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".?") if "\n" in text else text
