"""
Random rows through the factory and into Airflow's own tables, as the dag-processor stores what it has parsed.

Only problems that name table, key and column come of them; nothing gets out that Airflow cannot store and read again; and the
healthy workflows beside them stay what they are, to the byte.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import sqlalchemy
import structlog
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.dag_processing.processor import DagFileParseRequest, DagFileParsingResult, _parse_file
from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk.execution_time.comms import _RequestFrame
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dag_factory import problem_file
from dag_factory.problems import Problem
from demo.postgres import PostgresServer
from provider.metadata import engine, schema
from provider.metadata.tables import Base
from provider.metadata.workflow_rows import Shard
from provider.plain_data import unstorable
from tests.dag_factory.definitions import good_rows, store
from tests.storms.fuzz_row_values import RandomRows, Row, StoredText
from tests.storms.outcome import Findings, Outcome, quiet

DAGS = Path(__file__).parents[2] / "dags"
BUNDLE = "dags-folder"
#: Hostile workflows of one parse.
WORKFLOWS = 40
LONGEST_PROBLEM = 1200
HEALTHY = tuple(row["workflow_id"] for row in good_rows().workflows)

COLUMNS = {name: table.columns.keys() for name, table in Base.metadata.tables.items()}
#: What a problem says of a row as a whole.
OF_THE_ROW = ("given more than once; keep one", "has no task; add a row to tasks", "dependencies form a cycle: ")
OF_A_LOSS = "which looks like another or an emptied database, so their last good definitions are used on."
ROW = re.compile(r"(workflows|tasks|task_dependencies) row (.+)")
NO_WORDS_OF_OURS = ("pydantic", "Input should", "Traceback", "ValidationError", "cannot be built", "\n", "\x00", "\x1b")

ENVIRONMENT = {
    # However slow the machine is, everything has its time.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "0",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "0",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
}


class AirflowTables:
    """
    Airflow's own tables, and what the dag-processor does with a parse.

    :param url: of an empty database.
    """

    def __init__(self, url: str) -> None:
        from airflow.models import import_all_models
        from airflow.models.base import Base as AirflowBase
        from airflow.models.dagbundle import DagBundleModel

        import_all_models()
        self._engine = sqlalchemy.create_engine(url)
        AirflowBase.metadata.create_all(self._engine)
        with Session(self._engine) as session, session.begin():
            session.add(DagBundleModel(name=BUNDLE))

    def close(self) -> None:
        self._engine.dispose()

    def store(self, result: DagFileParsingResult) -> tuple[dict[Any, str], dict[str, Any]]:
        """Store a parse; return Airflow's import errors, and DAG id → the DAG as Airflow reads it."""
        errors: dict[Any, str] = {}
        with Session(self._engine, autoflush=False, expire_on_commit=False) as session:
            update_dag_parsing_results_in_db(
                BUNDLE, None, result.serialized_dags, errors, 1.0, set(), session, files_parsed={(BUNDLE, "workflows.py")}
            )
            session.commit()
        with Session(self._engine) as session:
            ids = [dag.dag_id for dag in result.serialized_dags]
            return errors, {dag_id: SerializedDagModel.get_dag(dag_id, session=session) for dag_id in ids}


def parse(folder: Path) -> DagFileParsingResult:
    """Do what the child of the dag-processor does with the DAG file, and send its answer."""
    request = DagFileParseRequest(file=str(folder / "workflows.py"), bundle_path=folder, bundle_name=BUNDLE)
    result = _parse_file(request, structlog.get_logger())
    assert result is not None
    _RequestFrame(id=1, body=result.model_dump()).as_bytes()
    return result


def write(rows: Sequence[Row], client: sqlalchemy.Engine) -> int:
    """Write rows in place of those of the last time; return how many the database took."""
    written = 0
    sqlite = client.dialect.name == "sqlite"
    with client.connect() as connection:
        if sqlite:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        for table, key in (("task_dependencies", "child_id"), ("tasks", "workflow_id"), ("workflows", "workflow_id")):
            connection.execute(sqlalchemy.text(f"DELETE FROM {table} WHERE {key} NOT IN ({_healthy(table)})"))
        for row in rows:
            try:
                with nullcontext() if sqlite else connection.begin_nested():
                    connection.execute(_insert(row, client), {name: _bound(value) for name, value in row.values.items()})
            except (SQLAlchemyError, ValueError, OverflowError):
                continue
            written += 1
        connection.commit()
    return written


def _healthy(table: str) -> str:
    good = good_rows()
    names = [row["task_id"] for row in good.tasks] if table == "task_dependencies" else HEALTHY
    return ", ".join(f"'{name}'" for name in names)


def _insert(row: Row, bound: sqlalchemy.Engine) -> sqlalchemy.TextClause:
    columns = Base.metadata.tables[row.table].columns
    places = []
    for name in row.values:
        kind = columns[name].type.compile(bound.dialect)
        if bound.dialect.name == "sqlite":
            places.append(f"CAST(:{name} AS TEXT)" if isinstance(row.values[name], StoredText) else f":{name}")
        else:
            places.append(f"CAST(CAST(:{name} AS text) AS {kind})")
    return sqlalchemy.text(f"INSERT INTO {row.table} ({', '.join(row.values)}) VALUES ({', '.join(places)})")


def _bound(value: Any) -> Any:
    """Return a value as a client of SQL can send it."""
    if isinstance(value, StoredText):
        return value.stored
    if isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) >= 2**63):
        return str(value)
    return value


class Judge(Findings):
    """Looks at what came of a parse, and keeps what must not."""

    def problems(self, problems: Sequence[Problem]) -> None:
        """Each names a table, a key and a column, in our own words."""
        for problem in problems:
            text = str(problem)
            found = ROW.fullmatch(problem.row)
            if found is None and problem.row == "workflows" and OF_A_LOSS in problem.message:
                self.counts["losses that were held"] += 1
                continue
            if found is None:
                self.wrong("names no row", text)
                continue
            table = found[1]
            self.counts[f"problems of {table}"] += 1
            column = re.match(r"[a-z_]+", problem.message)
            if (
                table != "task_dependencies"
                and (column is None or column[0] not in COLUMNS[table])
                and not problem.message.startswith(OF_THE_ROW)
            ):
                self.wrong("names no column", text)
            if len(text) > LONGEST_PROBLEM or next(unstorable(text, max_depth=1), None):
                self.wrong("cannot be shown", repr(text))
            for word in NO_WORDS_OF_OURS:
                if word in text.replace("unknown key; did you mean", ""):
                    self.wrong(f"says {word!r}", text)

    def stored(self, parsed: dict[str, str], errors: dict[Any, str], read: dict[str, Any]) -> None:
        """Whatever gets out of the factory Airflow stores, and reads again."""
        for error in errors.values():
            self.wrong("cannot be stored", error[-600:])
        for dag_id in parsed:
            dag = read.get(dag_id)
            if dag is None or dag.dag_id != dag_id:
                self.wrong("was not stored", dag_id)

    def healthy(self, parsed: dict[str, str], first: dict[str, str]) -> None:
        for workflow_id in HEALTHY:
            if parsed.get(workflow_id) != first[workflow_id]:
                self.wrong("healthy workflow harmed", workflow_id)


def _dags(result: DagFileParsingResult) -> dict[str, str]:
    return {dag.dag_id: json.dumps(dag.data, sort_keys=True) for dag in result.serialized_dags}


@contextmanager
def _world(folder: Path, url: str) -> Iterator[Path]:
    """The application database at this address, with the healthy workflows in it, and a DAG file."""
    folder.mkdir(parents=True)
    shutil.copy(DAGS / "workflows.py", folder)
    variables = {"AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": url, "AIRFLOW__ACCELERATOR__SNAPSHOT_DIR": str(folder / "snapshot")}
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {**ENVIRONMENT, **variables}))
        stack.enter_context(quiet())
        fresh = engine.create_engine(url)
        schema.upgrade(fresh)
        fresh.dispose()
        stack.callback(engine.dispose_engines)
        store(good_rows())
        yield folder


def fuzz(rows: int, random: Random, folder: Path, url: str, tables: AirflowTables, judge: Judge) -> None:
    """
    Parse random rows, so many at least, in one application database.

    :param url: of the application database, empty.
    """
    maker = RandomRows(random)
    # One without our engine's care, as anybody's client of SQL: SQLite then minds no foreign keys, and takes any type.
    client = sqlalchemy.create_engine(url)
    with _world(folder, url) as dags:
        first = _dags(parse(dags))
        judge.healthy(first, first)
        until = judge.counts["rows"] + rows
        while judge.counts["rows"] < until:
            hostile = [row for number in range(WORKFLOWS) for row in maker.workflow(f"h{number}")]
            written = write(hostile, client)
            judge.counts["rows"] += written
            judge.counts["rows that the database refused"] += len(hostile) - written
            if random.random() < 0.5:  # else all that is not there any more is lost
                shutil.rmtree(dags / "snapshot", ignore_errors=True)
            try:
                result = parse(dags)
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                judge.wrong("parse", f"{type(error).__name__}: {error}")
                continue
            for text in (result.import_errors or {}).values():
                judge.wrong("import error", text[-600:])
            parsed = _dags(result)
            judge.counts["parses"] += 1
            judge.counts["hostile workflows that became DAGs"] += len(parsed) - len(HEALTHY)
            judge.problems(problem_file.load(Shard()))
            judge.healthy(parsed, first)
            judge.stored(parsed, *tables.store(result))
    client.dispose()


def run(rows: int, seed: int, folder: Path) -> Outcome:
    """Parse so many random rows, one half in each kind of database; Airflow's tables are on PostgreSQL, which is the stricter."""
    judge = Judge()
    with PostgresServer() as server:
        tables = AirflowTables(server.create_database("airflow"))
        for number, url in enumerate((f"sqlite:///{folder}/rows.db", server.create_database("rows"))):
            fuzz(rows // 2, Random(seed + number), folder / f"rows-{number}", url, tables, judge)
        tables.close()
    return judge.outcome(seed)
