"""
Engines and transactions of the application database.

One engine per process and URL; a forked child (Airflow forks for every task) starts with a pool of its own.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.orm import Session

from provider import settings
from provider.exceptions import ConfigurationError
from provider.metadata.schema import ensure_schema

__all__ = ["read_session"]

#: How long PostgreSQL may take to connect or to give a lock. Short: where it answers at all, it answers at once.
TIMEOUT_SECONDS = 3.0

#: How long to wait for the one writer of SQLite. A transaction takes about 10 ms, but waiting processes stand in no queue: of
#: forty that started at once on two cores some waited for more than 3 s, and a task that gives up then fails for nothing.
#: Whoever must not wait, such as a listener, limits itself.
SQLITE_BUSY_SECONDS = 30.0

_engines: dict[str, Engine] = {}


def get_engine(url: str | None = None) -> Engine:
    """
    Return this process's engine; SQLite databases are created and upgraded on the way.

    :param url: SQLAlchemy URL; by default ``[accelerator] sql_alchemy_conn``.
    :raises ConfigurationError: the URL cannot be parsed, names an unsupported database, or its driver is not installed.
    :raises SchemaOutOfDateError: the schema is not the one this version needs.
    """
    url = url or settings.get("sql_alchemy_conn")
    if url not in _engines:
        engine = create_engine(url)
        try:
            ensure_schema(engine)
        except BaseException:
            engine.dispose()
            raise
        _engines[url] = engine
    return _engines[url]


def create_engine(url: str) -> Engine:
    """
    Create an engine without looking at its schema.

    :raises ConfigurationError: see :func:`get_engine`. The message never holds the URL's password.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).expanduser().parent.mkdir(parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine(
            parsed, poolclass=sqlalchemy.NullPool, connect_args={"timeout": SQLITE_BUSY_SECONDS}, hide_parameters=True
        )
        _make_transactions_explicit(engine)
        return engine
    return sqlalchemy.create_engine(
        parsed,
        pool_size=2,
        max_overflow=8,
        pool_pre_ping=True,
        pool_timeout=TIMEOUT_SECONDS,
        hide_parameters=True,
        connect_args={
            "connect_timeout": int(TIMEOUT_SECONDS),
            # A peer that vanishes without a word is noticed by both sides in less than a minute, and its locks are gone.
            **{"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000},
            "options": f"-c lock_timeout={int(TIMEOUT_SECONDS * 1000)} -c idle_in_transaction_session_timeout=60000 "
            "-c timezone=UTC",
        },
    )


@contextmanager
def read_session(url: str | None = None) -> Iterator[Session]:
    """Yield a session for reading; it is rolled back at the end."""
    with Session(get_engine(url), expire_on_commit=False) as session:
        yield session


@contextmanager
def write_session(url: str | None = None) -> Iterator[Session]:
    """
    Yield a session in one transaction: committed at the end, rolled back on an exception.

    On SQLite the write lock is taken at the start, since a transaction that reads first and writes later fails at once,
    whatever the busy timeout, when somebody else wrote in between.
    """
    engine = get_engine(url).execution_options(accelerator_write=True)
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def dispose_engines() -> None:
    """Close every pooled connection of this process; the next session opens new ones."""
    for engine in _engines.values():
        engine.dispose()
    _engines.clear()


def without_passwords(text: str) -> str:
    """Take the configured database's passwords out of a driver's message."""
    try:
        configured = settings.get("sql_alchemy_conn")
    except ConfigurationError:
        return text
    try:
        url = sqlalchemy.make_url(configured)
    except sqlalchemy.exc.ArgumentError:
        return text.replace(configured, "***") if configured else text
    # libpq also takes a password from the query: ?password=…, ?sslpassword=….
    for secret in (url.password, *(value for name, value in url.query.items() if "password" in name.lower())):
        if secret:
            text = text.replace(str(secret), "***")
    return text


def _parse(url: str) -> URL:
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise ConfigurationError(
            "[accelerator] sql_alchemy_conn is not a SQLAlchemy URL; it looks like postgresql://user:password@host/database."
        ) from error
    backend = parsed.get_backend_name()
    if backend in ("postgres", "postgresql") and parsed.drivername in ("postgres", "postgresql"):
        # The bare name means another driver in each SQLAlchemy generation.
        driver = "psycopg" if importlib.util.find_spec("psycopg") else "psycopg2"
        parsed = parsed.set(drivername=f"postgresql+{driver}")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError(
            f"[accelerator] sql_alchemy_conn names {backend}; supported are postgresql and, on one machine, sqlite."
        )
    driver = parsed.drivername.partition("+")[2]
    if driver and importlib.util.find_spec(driver) is None:
        raise ConfigurationError(
            f"[accelerator] sql_alchemy_conn needs the driver {driver}: pip install "
            "'airflow-provider-cloud-accelerator[postgres]'."
        )
    return parsed


def _make_transactions_explicit(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: object) -> None:
        # The driver would open transactions by its own rules; we send BEGIN ourselves.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("accelerator_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _forget_inherited_engines() -> None:
    for engine in _engines.values():
        engine.dispose(close=False)
    _engines.clear()


os.register_at_fork(after_in_child=_forget_inherited_engines)
