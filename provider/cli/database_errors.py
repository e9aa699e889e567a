"""Errors of the application database, in one line. Imported where SQLAlchemy is there already, see :mod:`provider.cli.errors`."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

from provider import settings
from provider.metadata.database_url import address, parse_database_url, without_passwords
from provider.texts import one_line

SETTING = "[accelerator] sql_alchemy_conn (AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN)"

#: Longest reason that is passed on from a driver.
_LONGEST_REASON = 1000


def describe_database_error(error: Exception) -> str | None:
    """Return the line to show for an error of SQLAlchemy; None for any other."""
    if not isinstance(error, SQLAlchemyError):
        return None
    # SQLAlchemy's own text repeats the statement; the driver's says what happened, and may end with a question.
    said = without_passwords(str(error.orig if isinstance(error, DBAPIError) else error))
    reason = one_line(said, _LONGEST_REASON).rstrip(".?")
    where = f"the application database {address(parse_database_url(settings.get('sql_alchemy_conn')))}"
    if isinstance(error, IntegrityError):
        return f"{where} was changed by somebody else at the same time; nothing was stored. Try again. ({reason})"
    if isinstance(error, OperationalError) and ("locked" in reason or "lock timeout" in reason or "deadlock" in reason):
        return f"{where} is locked by another process; nothing was stored. Try again. ({reason})"
    if isinstance(error, OperationalError):
        return f"{where} cannot be used: {reason}. Check {SETTING} and that the database server is up."
    return f"{where} refused: {reason}. Check {SETTING}, and `accelerator db current`."
