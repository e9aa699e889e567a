"""An Airflow of some checkout with nothing but a database, in which task instances wait, and a triggerer."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psutil

from benchmarks.checkout import Checkout
from benchmarks.deferrals import Stored
from demo.airflow_services import AirflowServices

_STOPPED_SECONDS = 60.0


class LoneTriggerer:
    """
    One ``airflow triggerer``, and task instances for it that no worker has ever run.

    :param checkout: whose code it runs.
    :param folder: for its home; must not exist.
    :param database: URL of an empty one.
    :param capacity: the most triggers that it takes on.
    :param environment: of all its processes, beside what every Airflow of this kind has.
    """

    def __init__(
        self, checkout: Checkout, folder: Path, database: str, capacity: int, environment: Mapping[str, str | None]
    ) -> None:
        self.database = database
        self._checkout = checkout
        variables: dict[str, str | None] = {
            **environment,
            **checkout.environment(folder),
            # Everybody reads what has been compiled, however new an environment is.
            "PYTHONDONTWRITEBYTECODE": None,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
            "AIRFLOW__TRIGGERER__CAPACITY": str(capacity),
        }
        # Its own commands are those of this checkout, so that only its environment and its end are used here.
        self._airflow = AirflowServices(folder / "airflow", folder / "airflow" / "dags", variables, components=())

    def prepare(self, dag_file: Path) -> None:
        """
        Create the database, and let Airflow read a copy of a DAG file.

        :raises RuntimeError: a command failed.
        """
        self.python("-m", "airflow", "db", "migrate")
        self._airflow.dags_folder.mkdir()
        shutil.copy(dag_file, self._airflow.dags_folder)
        self.python("-m", "airflow", "dags", "reserialize")

    def defer(self, dag_id: str, tasks: Mapping[str, Sequence[Stored]], connections: Mapping[str, str]) -> None:
        """
        Leave a run in the database whose task instances wait; a triggerer takes them on at once.

        :param tasks: task id → the trigger of each map index.
        :param connections: connection id → JSON; they are added to Airflow's.
        :raises RuntimeError: a task has another number of task instances.
        """
        order = {"dag_id": dag_id, "connections": connections, "tasks": tasks}
        self.python("-m", "benchmarks.deferred_tasks", said=json.dumps(order))

    def environment(self) -> dict[str, str]:
        """Return the environment of all its processes."""
        return self._airflow.environment()

    def stop(self) -> None:
        """End every process of this Airflow."""
        self._airflow.stop()

    @contextmanager
    def running(self, command: Sequence[str], log: Path) -> Iterator[psutil.Popen]:
        """
        Run a triggerer.

        :param command: what Python is given, such as ``-m airflow triggerer``.
        :param log: for what it prints.
        """
        options: dict[str, Any] = {"env": self.environment(), "cwd": self._airflow.home}
        with log.open("wb") as output:
            line = [str(self._checkout.python), *command]
            process = psutil.Popen(line, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOPPED_SECONDS)
            finally:
                self.stop()

    def python(self, *arguments: str, said: str | None = None) -> str:
        """
        Run a command of the checkout to its end, and return what it prints.

        :param said: on its standard input.
        :raises RuntimeError: it failed.
        """
        ended = subprocess.run(  # noqa: S603 - of this package's own making
            [str(self._checkout.python), *arguments],
            input=said,
            env=self.environment(),
            cwd=self._airflow.home,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"[-6000:])
        return ended.stdout

    def query(self, statement: LiteralString, *parameters: int) -> int:
        """Return the only number that a question to Airflow's database is answered with."""
        import psycopg

        with psycopg.connect(self.database.replace("+psycopg2", "")) as connection:
            row = connection.execute(statement, parameters).fetchone()
        assert row is not None
        return int(row[0])
