"""
Whether the record says what Airflow says, and why: SQL over Airflow's tables and a copy of ours, and nothing of our code.

The two databases are on two servers. So our rows are copied into temporary tables beside Airflow's, and what was done to the
runs into a third one; then PostgreSQL compares. PostgreSQL alone, and psycopg.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import psycopg
from psycopg.rows import TupleRow

from tests.storms.record_sql import COPIED, DIFFERENCES, DISTURBED, SETUP, TABLE, TOLD, UNEXPLAINED_ENDS, VIEWS


class TellingRow(NamedTuple):
    """
    What the newest try of a task, or one before it, or the batch is to say; see :class:`tests.storms.record_cases.Told`.

    :param cause: regular expression, and so are ``text`` and ``state``.
    """

    label: str
    dag_id: str
    run_id: str
    task_id: str | None
    map_index: int
    before: int
    state: str | None
    status: str
    cause: str
    person: str | None
    text: str | None


class Counted(NamedTuple):
    """
    A line of the table.

    :param rows: rows that were compared with what was done.
    :param disturbed: of these, those to which what was killed has done something else than was intended.
    """

    label: str
    runs: int
    rows: int
    disturbed: int
    differences: int


class Verdict:
    """
    The comparison, made anew by :meth:`read`.

    :param airflow: libpq's address of Airflow's database, ``application`` of the application database.
    :param workflows: beginning of the names of the DAGs that are compared.
    """

    def __init__(self, airflow: str, application: str, workflows: str = "record_") -> None:
        self._airflow = airflow
        self._application = application
        self._workflows = f"{workflows}%"
        self._connection = self._connected()

    def _connected(self) -> psycopg.Connection[TupleRow]:
        connection = psycopg.connect(self._airflow, autocommit=True)
        for statement in (*SETUP, *VIEWS):
            connection.execute(statement.replace("{workflows}", self._workflows))
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def read(self, told: Iterable[TellingRow], deleted: Collection[tuple[str, str]] = ()) -> None:
        """
        Copy our rows, and what was done.

        :param deleted: runs that people have deleted for good.
        """
        try:
            self._connection.execute("SELECT 1")
        except psycopg.OperationalError:  # the server was away meanwhile
            self._connection = self._connected()
        with psycopg.connect(self._application) as ours:
            for table, columns in COPIED.items():
                self._connection.execute(f"TRUNCATE {table}")
                source = f"COPY (SELECT {columns} FROM {table.removeprefix('our_')}) TO STDOUT"
                target = f"COPY {table} ({columns}) FROM STDIN"
                with ours.cursor().copy(source) as reading, self._connection.cursor().copy(target) as writing:
                    for data in reading:
                        writing.write(data)
        self._fill("told", told, len(TellingRow._fields))
        self._fill("deleted", deleted, 2)

    def differences(self) -> list[str]:
        """Return a line for each row of one side that the other has otherwise, or not."""
        return [f"{row[0]} {row[1]} {row[2]}: {row[3]}" for row in self._ask(DIFFERENCES)]

    def untrue(self) -> list[str]:
        """Return a line for each row that does not say what was done."""
        found = [f"{row[0]}: {row[1]} {row[2]}: {row[3]}" for row in self._ask(TOLD) if row[4]]
        return found + [f"{row[0]} {row[1]} {row[2]}: {row[3]}" for row in self._ask(UNEXPLAINED_ENDS)]

    def disturbed(self) -> list[str]:
        """Return a line for each row to which what was killed has done something else than was intended."""
        return [f"{row[0]}: {row[1]} {row[2]}: Airflow says {row[3]}, intended {row[4]}" for row in self._ask(DISTURBED)]

    def table(self) -> list[Counted]:
        """Return the counts by case."""
        return [Counted(*row) for row in self._ask(TABLE)]

    def rare(self, least: int) -> list[str]:
        """
        Return a line for each case that came to the intended end too seldom to say anything about it.

        :param least: how often is often enough.
        """
        rows = self.table()
        return [
            f"{row.label}: {row.rows} rows, and only {row.rows - row.disturbed} undisturbed"
            for row in rows
            if row.rows - row.disturbed < least
        ]

    def sizes(self) -> tuple[int, int]:
        """Return how many batches and how many tries were compared."""
        (row,) = self._ask("SELECT (SELECT count(*) FROM our_task_batches), (SELECT count(*) FROM our_task_logs)")
        return int(row[0]), int(row[1])

    def _ask(self, statement: str) -> Sequence[TupleRow]:
        return self._connection.execute(statement.replace("{workflows}", self._workflows)).fetchall()

    def _fill(self, table: str, rows: Iterable[Sequence[Any]], width: int) -> None:
        self._connection.execute(f"TRUNCATE {table}")
        with self._connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * width)})", list(rows))
