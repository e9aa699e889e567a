"""
Engines and transactions of the application database.

One engine per process and URL; a forked child (Airflow forks for every task) starts with one of its own.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, ExceptionContext, event
from sqlalchemy.orm import Session

from provider import settings
from provider.metadata.database_url import UrlMask, parse_database_url
from provider.metadata.schema import ensure_schema

__all__ = ["read_session"]

#: How long PostgreSQL may take to connect or to give a lock. Short: where it answers at all, it answers at once.
TIMEOUT_SECONDS = 3.0

#: How long to wait for the one writer of SQLite. A transaction takes about 10 ms, but waiting processes stand in no queue: of
#: forty that started at once on two cores some waited for more than 3 s, and a task that gives up then fails for nothing.
#: Whoever must not wait, such as a listener, limits itself.
SQLITE_BUSY_SECONDS = 30.0

#: How many connections a process keeps that keeps any, and how many it has at most.
KEPT_CONNECTIONS = 2
MOST_CONNECTIONS = 5

_engines: dict[str, Engine] = {}
_keeps_connections = False


def get_engine(url: str | None = None) -> Engine:
    """
    Return this process's engine; SQLite databases are created and upgraded on the way.

    :param url: SQLAlchemy URL; by default ``[accelerator] sql_alchemy_conn``.
    :raises ConfigurationError: the URL cannot be parsed, names an unsupported database, or its driver is not installed; or it is
        an SQLite file where tasks run on several machines.
    :raises SchemaOutOfDateError: the schema is not the one this version needs.
    """
    url = url or settings.get("sql_alchemy_conn")
    if url not in _engines:
        engine = create_engine(url, pooled=KEPT_CONNECTIONS if _keeps_connections else 1)
        try:
            ensure_schema(engine)
        except BaseException:
            engine.dispose()
            raise
        _engines[url] = engine
    return _engines[url]


def is_outage(error: BaseException) -> bool:
    """Tell whether a database could not be reached or did not answer in time, so that the same may work later."""
    away = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, sqlalchemy.exc.TimeoutError, OSError)
    return isinstance(error, away)


def create_engine(url: str, *, pooled: int = 0) -> Engine:
    """
    Create an engine without looking at its schema.

    :param pooled: so many connections of PostgreSQL stay open when they are given back; 0 for none.
    :raises ConfigurationError: see :func:`get_engine`. The message never holds a part of the URL.
    """
    parsed = parse_database_url(url)
    if parsed.get_backend_name() == "sqlite":
        settings.refuse_embedded_database_across_machines()
        _create_file(parsed.database)
        engine = sqlalchemy.create_engine(parsed, connect_args={"timeout": SQLITE_BUSY_SECONDS}, hide_parameters=True)
        _make_transactions_explicit(engine)
        return engine
    pool: dict[str, Any] = {"poolclass": sqlalchemy.NullPool}
    if pooled:
        pool = {"pool_size": pooled, "max_overflow": MOST_CONNECTIONS - pooled, "pool_pre_ping": pooled > 1}
    engine = sqlalchemy.create_engine(
        parsed,
        **pool,
        hide_parameters=True,
        use_native_hstore=False,  # we have no such column, and each new process would look its type up
        connect_args={
            "connect_timeout": int(TIMEOUT_SECONDS),
            # A peer that vanishes without a word is noticed by both sides in less than a minute, and its locks are gone.
            **{"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000},
            # A process that is stopped in the middle of a transaction keeps nobody waiting for longer than 20 s.
            "options": f"-c lock_timeout={int(TIMEOUT_SECONDS * 1000)} -c idle_in_transaction_session_timeout=20000 "
            "-c timezone=UTC",
        },
    )
    _mask_errors(engine, parsed)
    _wrap_refused_texts(engine)
    return engine


def _create_file(path: str | None) -> None:
    """Create the file of an SQLite database, readable for its group at most; SQLite gives its other files the same mode."""
    if not path or path == ":memory:" or path.startswith("file:"):
        return
    file = Path(path).expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))


@contextmanager
def read_session(url: str | None = None) -> Iterator[Session]:
    """Yield a session for reading; it is rolled back at the end."""
    engine = get_engine(url)
    with _released(engine), Session(engine, expire_on_commit=False) as session:
        yield session


@contextmanager
def write_session(url: str | None = None) -> Iterator[Session]:
    """
    Yield a session in one transaction: committed at the end, rolled back on an exception.

    On SQLite the write lock is taken at the start, since a transaction that reads first and writes later fails at once,
    whatever the busy timeout, when somebody else wrote in between.
    """
    engine = get_engine(url)
    writing = engine.execution_options(accelerator_write=True)
    with _released(engine), Session(writing, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def _released(engine: Engine) -> Iterator[None]:
    """Close the connection at the end, unless this process keeps some. The look at the schema has used the same one."""
    try:
        yield
    finally:
        if not _keeps_connections and engine.dialect.name == "postgresql":
            engine.dispose()


def keep_connections() -> None:
    """
    Let this process keep connections open between its sessions: one that lives long and comes often, such as a triggerer.

    All others, tasks above all, have a connection only while they use it. There may be thousands of them.
    """
    global _keeps_connections
    if not _keeps_connections:
        dispose_engines()
        _keeps_connections = True


def dispose_engines() -> None:
    """Close every pooled connection of this process; the next session opens new ones."""
    for engine in _engines.values():
        engine.dispose()
    _engines.clear()


def _mask_errors(engine: Engine, url: URL) -> None:
    """Take the URL's secrets out of every error of this engine, wherever it will be printed, with its causes."""
    mask = UrlMask(url)

    @event.listens_for(engine, "handle_error")
    def handle_error(context: ExceptionContext) -> None:
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None:
                error.args = tuple(mask(part) if isinstance(part, str) else part for part in error.args)


def _wrap_refused_texts(engine: Engine) -> None:
    """Let psycopg2 refuse a text with NUL as the server does, and as psycopg 3 does: by an error of SQLAlchemy."""

    @event.listens_for(engine, "handle_error")
    def handle_error(context: ExceptionContext) -> BaseException | None:
        error = context.original_exception
        if context.sqlalchemy_exception is None and isinstance(error, ValueError) and "NUL" in str(error):
            return sqlalchemy.exc.DataError(context.statement, None, error, hide_parameters=True)
        return None


def _make_transactions_explicit(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: object) -> None:
        # The driver would open transactions by its own rules; we send BEGIN ourselves.
        connection.isolation_level = None
        connection.text_factory = _text
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            _execute_patiently(connection, f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("accelerator_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _text(stored: bytes) -> str:
    """Return a text; one that is not UTF-8, which SQLite stores, must not hide all that is read with it."""
    try:  # the other way takes longer, and a parse reads thousands
        return stored.decode()
    except UnicodeDecodeError:
        return stored.decode("utf-8", "surrogateescape")


def _execute_patiently(connection: sqlite3.Connection, statement: str) -> None:
    """
    Execute what SQLite refuses at once, whatever its busy timeout, while another process opens the same file first or last.

    .. seealso:: https://www.sqlite.org/wal.html#sometimes_queries_return_sqlite_busy_in_wal_mode
    """
    deadline = time.monotonic() + SQLITE_BUSY_SECONDS
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _forget_inherited_engines() -> None:
    global _keeps_connections
    _keeps_connections = False
    for engine in _engines.values():
        engine.dispose(close=False)
    _engines.clear()


os.register_at_fork(after_in_child=_forget_inherited_engines)
