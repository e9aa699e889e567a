"""Faults of the application database: how each is produced and mended, and what the doctor has to say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import psycopg2  # type: ignore[import-untyped]  # it has no types

from provider.metadata.engine import create_engine
from provider.metadata.schema import HEAD, upgrade
from tests.integration.doctor_world.asking import BOTH, SECRET, Fault, Line, Produced, late, setting, settings
from tests.integration.doctor_world.place import CONNECTIONS, DATABASE, Environment, Installation

_ROWS = frozenset({"database connections", "clock of the database", "reconciler", "waiting requests", "alerts"})
_USABLE = r"Correct \[accelerator\] sql_alchemy_conn, and see that the database server is up and reached"
_UNREAD = Line(
    "connections of tasks",
    "unknown",
    "the stored tasks cannot be read, so nothing says which there are",
    r"See the checks database and schema\.",
)
_GRANT = r"Give the user of \[accelerator\] sql_alchemy_conn the right to read and write all its tables\."
_ROOM = r"Raise max_connections of the server"
#: Connections of which the doctor says that they are many, and too many: 80 and 95 % of those that are not for superusers alone.
_MANY, _TOO_MANY = 320, 378
_IN_USE = r"(37[89]|3[89]\d|400) of 397 in use|none is left: .* too many clients .*"


def _away(seen: str) -> tuple[Line, ...]:
    return (Line("database", "error", seen, _USABLE), _UNREAD)


def database_at(address: Callable[[Installation], str]) -> Produced:
    return settings(lambda place: {DATABASE: f"postgresql://bob:{SECRET}@{address(place)}/shop"})


@contextmanager
def stopped_database(place: Installation) -> Iterator[Environment]:
    place.postgres.stop()
    try:
        yield {}
    finally:
        place.postgres.start()


def empty_database(place: Installation) -> AbstractContextManager[Environment]:
    return nullcontext({DATABASE: place.postgres.create_database("empty")})


def token_elsewhere(place: Installation) -> AbstractContextManager[Environment]:
    """Another process leaves a token in one database, and this one looks into another."""
    place.world.accelerator("doctor", "--leave", "monday")
    url = place.postgres.create_database("another")
    engine = create_engine(url)
    upgrade(engine)
    engine.dispose()
    return nullcontext({DATABASE: url})


@contextmanager
def downgraded(place: Installation) -> Iterator[Environment]:
    place.world.accelerator("db", "downgrade", "--to", "0005", "--yes")
    try:
        yield {}
    finally:
        place.world.accelerator("db", "upgrade")


@contextmanager
def newer(place: Installation) -> Iterator[Environment]:
    """The mark of a version that is to come."""
    mark = "UPDATE accelerator_alembic_version SET version_num = '{}'"
    place.sql(mark.format("9000"))
    try:
        yield {}
    finally:
        place.sql(mark.format(HEAD))


def rights(granted: str) -> Produced:
    """A user of the database who may do no more than this."""

    @contextmanager
    def produced(place: Installation) -> Iterator[Environment]:
        place.sql("CREATE ROLE guest LOGIN", granted)
        try:
            yield {DATABASE: place.world.database_url.replace("postgres@", "guest@")}
        finally:
            place.sql("DROP OWNED BY guest", "DROP ROLE guest")

    return produced


def late_database(seconds: int) -> Produced:
    """A server whose clock is late, for a user who finds another function in front of the server's."""

    @contextmanager
    def produced(place: Installation) -> Iterator[Environment]:
        late = f"SELECT pg_catalog.clock_timestamp() - interval ''{seconds} s''"
        place.sql(
            "CREATE ROLE late LOGIN SUPERUSER",
            "ALTER ROLE late SET search_path = public, pg_catalog",
            f"CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS '{late}'",
        )
        try:
            yield {DATABASE: place.world.database_url.replace("postgres@", "late@")}
        finally:
            place.sql("DROP FUNCTION public.clock_timestamp()", "DROP ROLE late")

    return produced


def connections(most: int) -> Produced:
    """So many connections are open, or as many as the server takes; what others close meanwhile is taken as well."""

    @contextmanager
    def produced(place: Installation) -> Iterator[Environment]:
        with ExitStack() as stack:
            opened, refused = 0, ""

            def many() -> bool:
                nonlocal opened, refused
                try:
                    while opened < most:
                        connection = psycopg2.connect(host=str(place.postgres.folder), user="postgres", dbname="postgres")
                        stack.callback(connection.close)
                        opened += 1
                except psycopg2.OperationalError as error:
                    refused = str(error)
                return opened == most or (opened > _MANY and "too many clients" in refused)

            def go_on() -> None:
                while not over.wait(0.1):
                    many()

            place.wait("the connections of the fault before to close", many, lambda: f"{opened} are open; {refused}")
            over, others = threading.Event(), threading.Thread(target=go_on, daemon=True)
            others.start()
            try:
                yield {}
            finally:
                over.set()
                others.join()

    return produced


OF_THE_DATABASE = (
    Fault(
        "nobody listens where sql_alchemy_conn says",
        database_at(lambda place: place.closed),
        _away(r"OperationalError: connection to server at .* failed: Connection refused"),
        _ROWS | {"schema"},
    ),
    Fault(
        "the database server takes connections and says nothing",
        database_at(lambda place: place.silent),
        _away(r"OperationalError: connection to server at .* failed: timeout expired"),
        _ROWS | {"schema"},
    ),
    Fault(
        "sql_alchemy_conn has a password that is not quoted",
        setting(**{DATABASE: f"postgresql://bob:{SECRET}@#@db/shop"}),
        _away(r"\[accelerator\] sql_alchemy_conn cannot be read: .* write characters such as .*"),
        _ROWS | {"schema"},
    ),
    Fault(
        "the database server is stopped",
        stopped_database,
        _away(r"OperationalError: connection to server on socket .* failed: .*"),
        _ROWS | {"schema", "plugin"},
        BOTH,
    ),
    Fault(
        "a file of this machine, and an executor of several",
        setting(**{DATABASE: "sqlite:////nowhere/a.db", "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor"}),
        (
            Line(
                "database shared",
                "error",
                "an SQLite file, and CeleryExecutor runs tasks on several machines",
                r"Set \[accelerator\] sql_alchemy_conn to the PostgreSQL database that all machines share",
            ),
            Line(
                "snapshot folder",
                "warning",
                r".* it is this machine's, and CeleryExecutor runs tasks on several",
                r"Set \[accelerator\] snapshot_dir to a folder that",
            ),
            _UNREAD,
        ),
        _ROWS | {"database", "schema"},
    ),
    Fault(
        "a database without tables",
        empty_database,
        (Line("schema", "error", f"none; this version needs {HEAD}", r"Run `accelerator db upgrade`"), _UNREAD),
        _ROWS,
    ),
    Fault(
        "the schema of an earlier version",
        downgraded,
        (Line("schema", "error", f"0005; this version needs {HEAD}", r"Run `accelerator db upgrade`"), _UNREAD),
        _ROWS,
    ),
    Fault(
        "the schema of a later version",
        newer,
        (Line("schema", "error", f"9000; this version needs {HEAD}", r"Install the newer airflow-provider"), _UNREAD),
        _ROWS,
    ),
    Fault(
        "a user of the database who may read nothing",
        rights("SELECT 1"),
        (
            Line("schema", "error", rf"the application database refuses: permission denied for .*\. {_GRANT}", "."),
            _UNREAD,
        ),
        _ROWS,
    ),
    Fault(
        "a user of the database who may not read the tasks",
        rights("GRANT SELECT ON accelerator_alembic_version, batch_requests, leader_leases, alerts, alert_rules TO guest"),
        (
            Line(
                "connections of tasks",
                "error",
                rf"the application database refuses: permission denied for .*\. {_GRANT}",
                r"See the checks database and schema\.",
            ),
        ),
    ),
    Fault(
        "many connections of the database server are in use",
        connections(_MANY),
        (Line("database connections", "warning", r"3[2-6]\d of 397 in use", _ROOM),),
    ),
    Fault(
        "nearly all connections of the database server are in use",
        connections(_TOO_MANY),
        (Line("database connections", "error", _IN_USE, _ROOM),),
        _ROWS | {"database", "schema", "connections of tasks"},
    ),
    Fault(
        "all connections of the database server are in use",
        connections(CONNECTIONS),
        (Line("database connections", "error", _IN_USE, _ROOM),),
        _ROWS | {"database", "schema", "connections of tasks"},
    ),
    Fault(
        "the database server's clock is 10 s late",
        late_database(10),
        (late("clock of the database", "database server", "warning", r"(9|10)"),),
    ),
    Fault(
        "the database server's clock is a minute late",
        late_database(60),
        (late("clock of the database", "database server", "error", r"(59|60)"),),
    ),
    Fault(
        "this machine has another database than the others",
        token_elsewhere,
        (
            Line(
                "database seen by all",
                "error",
                "the token that another process has left is not there",
                r"Set \[accelerator\] sql_alchemy_conn to the PostgreSQL database that all machines share",
            ),
            Line("reconciler", "error", "none has ever led here, so .*", "Unpause the DAG accelerator_reconciler"),
        ),
        arguments=("--expect", "monday"),
    ),
)
