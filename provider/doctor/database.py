# ruff: noqa: TID253 - queries of the application database; the command imports it when it runs
"""Checks of the application database itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from provider import settings
from provider.doctor.clocks import judged_skew
from provider.doctor.examination import Check, State, Verdict, ok
from provider.exceptions import AcceleratorError, ConfigurationError, SchemaOutOfDateError, UnseenError
from provider.metadata.database_url import address, parse_database_url
from provider.metadata.engine import create_engine, get_engine, is_outage, read_session
from provider.metadata.left_tokens import is_of_this_process, left_token
from provider.metadata.maintenance import configured_revisions
from provider.texts import first_line

#: Share of PostgreSQL's connections that may be in use.
_MANY, _TOO_MANY = 0.8, 0.95

SEE_DATABASE = "See the checks database and schema."
UPGRADE = "Run `accelerator db upgrade`, or the DAG accelerator_maintenance with the action db upgrade."
_MAKE_ROOM = "Raise max_connections of the server, or close what holds them (SELECT * FROM pg_stat_activity)."
_GRANT = "Give the user of [accelerator] sql_alchemy_conn the right to read and write all its tables."
#: What PostgreSQL and PgBouncer say where no connection is left; psycopg2 tells no SQLSTATE of a connect.
_FULL = ("too many clients", "connection slots are reserved", "too many connections", "no more connections allowed")
#: Both drivers name the class of the error so (SQLSTATE 42501).
_REFUSED = "InsufficientPrivilege"
_SHARE = "Set [accelerator] sql_alchemy_conn to the PostgreSQL database that all machines share."


def database_checks() -> list[Check]:
    """Return the checks."""
    reach = "Correct [accelerator] sql_alchemy_conn, and see that the database server is up and reached from this machine."
    return [
        Check("database", look_at_database, reach),
        Check("database shared", look_whether_shared, _SHARE),
        Check("schema", look_at_schema, UPGRADE),
        Check("database connections", look_at_connections, SEE_DATABASE),
        Check("clock of the database", look_at_clock, SEE_DATABASE),
    ]


def token_check(token: str) -> Check:
    """Return the check that a token, which another process has left, is there."""
    return Check("database seen by all", lambda: look_for_token(token), _SHARE)


class _FullError(UnseenError):
    """The server takes no more connections."""

    def __init__(self, said: str) -> None:
        super().__init__(f"the application database takes no more connections: {said}", "See the check database connections.")
        self.said = said


@contextmanager
def rows() -> Iterator[Session]:
    """Read rows; what keeps anybody from reading them is told by the checks of the database."""
    with _told_elsewhere():
        _look_at_version()
        with read_session() as session:
            yield session


@contextmanager
def _told_elsewhere() -> Iterator[None]:
    """
    Let a fault of the whole database be told by the check that is about it.

    :raises AcceleratorError: the database refuses what was asked for.
    """
    try:
        yield
    except (ConfigurationError, SchemaOutOfDateError):
        raise UnseenError("the application database cannot be used", SEE_DATABASE) from None
    except SQLAlchemyError as error:
        _raise_if_full(error)
        if is_outage(error):
            raise UnseenError("the application database does not answer", SEE_DATABASE) from None
        if _is_refused(error):
            raise AcceleratorError(f"the application database refuses: {_said(error)}. {_GRANT}") from None
        raise


def _look_at_version() -> None:
    """Do what opens the first session of a process; where even that is refused, the check of the schema tells."""
    try:
        get_engine()
    except SQLAlchemyError as error:
        if _is_refused(error):
            raise UnseenError("the application database may not be read", SEE_DATABASE) from None
        raise


def _is_refused(error: SQLAlchemyError) -> bool:
    return type(getattr(error, "orig", None)).__name__ == _REFUSED


def _raise_if_full(error: SQLAlchemyError) -> None:
    said = _said(error)
    if any(text in said for text in _FULL):
        raise _FullError(said) from None


def _said(error: SQLAlchemyError) -> str:
    """Return what the server said."""
    return first_line(getattr(error, "orig", None) or error)


def look_at_database() -> Verdict:
    """Look whether the database answers."""
    url = settings.get("sql_alchemy_conn")
    where = address(parse_database_url(url)).partition("://")[2].removeprefix("/")
    if settings.uses_embedded_database() and settings.spanning_executors():
        raise UnseenError(f"{where} was not opened", "See the check database shared.")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(select(1))
            version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
    except SQLAlchemyError as error:
        _raise_if_full(error)
        raise
    finally:
        engine.dispose()
    return ok(f"{engine.dialect.name} {version} at {where} answers")


def look_whether_shared() -> Verdict:
    """Look whether a file of one machine is used where tasks run on several."""
    spanning = ", ".join(settings.spanning_executors())
    if not settings.uses_embedded_database():
        return ok("a server, which all machines can reach")
    if spanning:
        return Verdict(State.ERROR, f"an SQLite file, and {spanning} runs tasks on several machines", _SHARE)
    return ok("an SQLite file, and tasks run on this machine alone")


def look_at_schema() -> Verdict:
    """Look whether the schema is the one of this version."""
    with _told_elsewhere():
        revisions = configured_revisions()
    if revisions.found == revisions.needed:
        return ok(f"{revisions.needed}, as this version needs")
    seen = f"{revisions.found or 'none'}; this version needs {revisions.needed}"
    if revisions.found is not None and revisions.found > revisions.needed:
        return Verdict(State.ERROR, seen, "Install the newer airflow-provider-cloud-accelerator on this machine too.")
    if settings.uses_embedded_database():
        return ok(f"{seen}; an SQLite file is upgraded at its next use")
    return Verdict(State.ERROR, seen, UPGRADE)


def look_at_connections() -> Verdict | None:
    """Look how many of PostgreSQL's connections are in use."""
    try:
        with rows() as session:
            if session.get_bind().dialect.name != "postgresql":
                return None
            used, most = session.execute(
                text(
                    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
                    "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
                )
            ).one()
    except _FullError as full:
        return Verdict(State.ERROR, f"none is left: {full.said}", _MAKE_ROOM)
    return judged_connections(used, most)


def judged_connections(used: int, most: int) -> Verdict:
    """Judge how many connections are in use."""
    seen = f"{used} of {most} in use"
    if used < _MANY * most:
        return ok(seen)
    return Verdict(State.WARNING if used < _TOO_MANY * most else State.ERROR, seen, _MAKE_ROOM)


def look_at_clock() -> Verdict | None:
    """Compare this machine's clock with that of the database server."""
    with rows() as session:
        if session.get_bind().dialect.name != "postgresql":
            return None
        session.execute(select(1))  # connect first
        began = time.monotonic()
        theirs: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        trip = time.monotonic() - began
    return judged_skew(theirs, datetime.now(UTC), trip, "the database server")


def look_for_token(token: str) -> Verdict:
    """Look whether the token is there that another process was to leave."""
    with rows() as session:
        found = left_token(session, token)
    if found is None:
        return Verdict(State.ERROR, "the token that another process has left is not there", _SHARE)
    seen = f"a token that process {found.pid} on {found.host} has left is there"
    if is_of_this_process(found):
        return Verdict(State.UNKNOWN, f"{seen}, and that is this process", "Look from another process.")
    return ok(seen)
