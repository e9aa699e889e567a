"""A real ``airflow dag-processor`` alone, with the DAG files of the factory, and what it leaves in Airflow's database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psutil

from demo.airflow_services import AirflowServices
from demo.databases import Databases
from provider.cli.dag_file_commands import dag_files

if TYPE_CHECKING:
    from demo.postgres import PostgresServer
    from provider.metadata.rows import DefinitionRows

#: DAG files that are not about definitions.
_OTHERS = frozenset({"dispatcher.py", "maintenance.py"})


@dataclass(frozen=True)
class KnownDag:
    """
    A DAG as Airflow's list of DAGs has it.

    :param file: its DAG file.
    :param parsed: when it was last in a parse; greater is later.
    """

    dag_id: str
    is_stale: bool
    file: str
    parsed: str


class DagProcessor:
    """
    Context manager around a dag-processor that is started by :meth:`start`, after the tables got their rows.

    :param folder: gets everything; never shared with anything else.
    :param postgres: server that gets both databases; None for SQLite files.
    :param shards: over so many DAG files the workflows are spread.
    :param environment: additional environment; a value of None leaves Airflow's own default.
    """

    def __init__(
        self,
        folder: Path,
        postgres: PostgresServer | None,
        *,
        shards: int = 1,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self.folder = folder
        self.files = {name: content for name, content in dag_files(shards).items() if name not in _OTHERS}
        self._postgres = postgres
        self._environment = dict(environment or {})
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            home = self.folder / "airflow"
            home.mkdir(parents=True)
            if self._postgres is None:
                databases = Databases.in_home(home)
            else:
                databases = Databases.on_postgres(self.folder.name, self._postgres)
            self.database_url = databases.application
            _make_tables(self.database_url)
            dags = self.folder / "dags"
            dags.mkdir()
            for name, content in self.files.items():
                (dags / name).write_bytes(content)
            self.airflow = AirflowServices(home, dags, {**databases.environment, **self._environment}, components=())
            stack.callback(self.airflow.stop)
            self.airflow.migrate()
            self._airflow_url = databases.airflow
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def store(self, rows: DefinitionRows) -> None:
        """Put workflows into the tables, or replace them there."""
        from provider.metadata.definitions import replace_workflows
        from provider.metadata.engine import write_session

        with write_session(self.database_url) as session:
            replace_workflows(session, rows)

    def start(self) -> None:
        """Start the dag-processor."""
        self.airflow.start_component("dag-processor")

    def process(self) -> psutil.Process:
        """Return the dag-processor, whose children parse."""
        return psutil.Process(self.airflow.process("dag-processor").pid)

    def dags(self) -> list[KnownDag]:
        """Return all DAGs that Airflow has ever had."""
        rows = self._rows("SELECT dag_id, is_stale, relative_fileloc, last_parsed_time FROM dag")
        return [KnownDag(dag_id, bool(is_stale), str(file), str(parsed)) for dag_id, is_stale, file, parsed in rows]

    def parses(self) -> dict[str, str]:
        """Return DAG file → when the last parse that brought DAGs was stored; greater is later."""
        rows = self._rows("SELECT relative_fileloc, max(last_parsed_time) FROM dag GROUP BY relative_fileloc")
        return {str(file): str(parsed) for file, parsed in rows}

    def longest_parse(self) -> float:
        """Return how long the longest of the last parses of each DAG file took, in seconds."""
        ((seconds,),) = self._rows("SELECT max(last_parse_duration) FROM dag WHERE NOT is_stale")
        return float(seconds)

    def import_errors(self) -> dict[str, str]:
        """Return DAG file → its error on Airflow's list of import errors."""
        return {str(file): str(text) for file, text in self._rows("SELECT filename, stacktrace FROM import_error")}

    def hashes(self) -> set[tuple[str, str]]:
        """Return each DAG with what Airflow tells its definitions apart by."""
        return {(str(dag_id), str(found)) for dag_id, found in self._rows("SELECT dag_id, dag_hash FROM serialized_dag")}

    def wait_for(self, ready: Callable[[], Any], seconds: float, what: str) -> None:
        """Wait; the failure tells the import errors and the ends of the logs."""
        self.airflow.wait_for(ready, seconds, what, explain=lambda: str(self.import_errors()))

    def wait_until_stored(self, seconds: float) -> set[str]:
        """
        Wait until another parse of each DAG file that has DAGs is stored; the next one may have begun before now.

        :return: DAGs that one of these parses did not bring.
        """
        before = {dag.dag_id: dag for dag in self.dags() if not dag.is_stale}
        files = self.parses()
        self.wait_for(lambda: all(now > files[file] for file, now in self.parses().items() if file in files), seconds, "a parse")
        after = {dag.dag_id: dag.parsed for dag in self.dags()}
        return {dag_id for dag_id, dag in before.items() if after.get(dag_id, "") <= dag.parsed}

    def _rows(self, statement: str) -> list[Any]:
        from sqlalchemy import NullPool, create_engine, text

        # No connection stays open: on SQLite a reader would keep the dag-processor from writing.
        engine = create_engine(self._airflow_url, poolclass=NullPool, connect_args={} if self._postgres else {"timeout": 60})
        with engine.connect() as connection:
            return list(connection.execute(text(statement)))


def _make_tables(url: str) -> None:
    from provider.metadata.engine import create_engine
    from provider.metadata.schema import upgrade

    engine = create_engine(url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()
