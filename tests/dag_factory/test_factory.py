"""From the tables, on both databases, to what Airflow finds in the DAG files."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.utils.file import iter_airflow_imports, might_contain_dag
from sqlalchemy import event, text

from dag_factory import building, factory, source
from dag_factory.task_types import OperatorCall, TaskConfig, TaskType
from dag_factory.task_types.registry import ENTRY_POINT_GROUP, TaskTypes, task_types
from provider.exceptions import DefinitionError
from provider.metadata.engine import dispose_engines, get_engine, write_session
from tests.dag_factory.built import ids, lines, spoil
from tests.dag_factory.definitions import DATAFORM, Rows, good_rows, store

DAGS = Path(__file__).parents[2] / "dags"


# The files that Airflow reads.


@pytest.fixture
def dag_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dags"
    folder.mkdir()
    for name in ("workflows.py", "definition_errors.py"):
        shutil.copy(DAGS / name, folder)
    return folder


def parsed(folder: Path) -> DagBag:
    """Let Airflow read the files twice, as the dag-processor does all the time: in whichever order they come."""
    DagBag(folder)
    return DagBag(folder)


def test_airflow_finds_the_dags(stored: Rows, dag_folder: Path) -> None:
    bag = parsed(dag_folder)

    assert bag.import_errors == {}
    assert sorted(bag.dags) == ["calendar", "daily_sales"]
    assert {Path(dag.fileloc).name for dag in bag.dags.values()} == {"workflows.py"}


def test_one_bad_workflow_is_an_import_error_and_nothing_else_changes(stored: Rows, dag_folder: Path) -> None:
    spoil(stored)
    bag = parsed(dag_folder)

    assert sorted(bag.dags) == ["calendar", "daily_sales"]
    assert bag.dags["daily_sales"].get_task("stg_orders").retries == 1
    (path, error), *others = bag.import_errors.items()
    assert (others, Path(path).name) == ([], "definition_errors.py")
    assert "1 problem in the workflow definitions." in error
    assert "- tasks row stg_orders: retries: must be greater than or equal to 0, not -1" in error


def test_a_workflow_id_cannot_replace_a_name_of_the_file(embedded_database: str, dag_folder: Path) -> None:
    rows = Rows([{"workflow_id": "__file__"}, {"workflow_id": "build_dags"}])
    for number, workflow in enumerate(rows.workflows):
        task = {"task_id": f"t{number}", "task_type": "dataform", "config": dict(DATAFORM)}
        rows.tasks.append({**task, "workflow_id": workflow["workflow_id"]})
    store(rows)
    bag = parsed(dag_folder)

    assert (bag.import_errors, sorted(bag.dags)) == ({}, ["__file__", "build_dags"])


def test_airflow_looks_into_the_files() -> None:
    for name in ("workflows.py", "definition_errors.py"):
        assert might_contain_dag(str(DAGS / name), safe_mode=True)


def test_the_dag_processor_imports_googles_modules_before_it_forks() -> None:
    assert set(iter_airflow_imports(str(DAGS / "definition_errors.py"))) == {
        "airflow.providers.google.cloud.operators.bigquery",
        "airflow.providers.google.cloud.transfers.gcs_to_bigquery",
        "airflow.providers.google.cloud.transfers.gcs_to_gcs",
    }
    assert list(iter_airflow_imports(str(DAGS / "workflows.py"))) == []


# Bad workflows.


def test_a_workflow_that_was_never_good_is_left_out(application_database: str, rows: Rows) -> None:
    spoil(rows)
    built = factory.build_all()

    assert ids(built) == ["calendar"]
    assert lines(built) == ["tasks row stg_orders: retries: must be greater than or equal to 0, not -1"]


def test_the_last_good_definition_holds_until_the_next_good_one(stored: Rows) -> None:
    spoil(stored)
    assert factory.build_all().dags["daily_sales"].get_task("stg_orders").retries == 1
    assert factory.build_all().dags["daily_sales"].get_task("stg_orders").retries == 1
    stored.task("stg_orders")["retries"] = 2
    store(stored)
    built = factory.build_all()

    assert (built.problems, built.dags["daily_sales"].get_task("stg_orders").retries) == ([], 2)


def test_a_cycle_costs_no_dag(stored: Rows) -> None:
    stored.depend("refresh_daily_sales", "load_orders")
    store(stored)
    built = factory.build_all()

    assert ids(built) == ["calendar", "daily_sales"]
    assert "archive_orders → refresh_daily_sales → load_orders → archive_orders" in lines(built)[0]


@pytest.mark.parametrize(
    ("table", "column", "key", "message"),
    [
        ("workflows", "tags", "daily_sales", "workflows row daily_sales: tags: must be a list, not '{broken'"),
        (
            "tasks",
            "config",
            "stg_orders",
            """tasks row stg_orders: config: must be an object such as {"key": "value"}, not '{broken'""",
        ),
    ],
)
def test_text_that_is_no_json_spoils_one_workflow(table: str, column: str, key: str, message: str, stored_embedded: Rows) -> None:
    name = "workflow_id" if table == "workflows" else "task_id"
    with write_session() as session:
        session.execute(text(f"UPDATE {table} SET {column} = '{{broken' WHERE {name} = :key"), {"key": key})
    built = factory.build_all()

    assert (ids(built), lines(built)) == (["calendar", "daily_sales"], [message])


class EchoConfig(TaskConfig):
    text: str


def echo(config: EchoConfig) -> OperatorCall:
    """Return operators that cannot be made, or not be stored."""
    from airflow.sdk import BaseOperator

    class Unstorable:
        def __str__(self) -> str:
            raise LookupError("no text")

    class EchoOperator(BaseOperator):
        template_fields = ("text",)

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.text: Any = {"large": 2**64, "nan": float("nan"), "cycle": ""}.get(config.text, Unstorable())
            if config.text == "refuse":
                raise ValueError("I do not\nlike it")
            if config.text == "cycle":
                self >> BaseOperator(task_id="second", dag=self.dag) >> self

    if config.text == "empty":
        return EmptyOperator, {}
    if config.text == "in_triggerer":
        return type("InTriggererOperator", (EchoOperator,), {"start_from_trigger": True}), {}
    return EchoOperator, {}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("refuse", "tasks row dim_date: config: cannot be built: ValueError: I do not like it"),
        ("unstorable", "tasks row dim_date: config: cannot be built: SerializationError: Failed to serialize DAG"),
        ("large", "tasks row dim_date: config: cannot be built: OverflowError: can't serialize ints"),
        ("nan", "tasks row dim_date: config: cannot be built: ValueError: Out of range float values are not JSON"),
        (
            "cycle",
            "workflows row calendar: cannot be built: ValueError: the operators form a cycle: dim_date → second → dim_date",
        ),
        (
            "empty",
            "workflows row calendar: cannot be built: TypeError: task dim_date: EmptyOperator, made by task type echo, is",
        ),
        (
            "in_triggerer",
            "workflows row calendar: cannot be built: TypeError: task dim_date: InTriggererOperator, made by task type echo",
        ),
    ],
)
def test_an_operator_that_fails_costs_its_workflow_only(
    value: str, reason: str, stored_embedded: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Types(TaskTypes):
        def is_built_in(self, name: str) -> bool:
            return name != "echo"

    own = TaskType("echo", EchoConfig, echo)
    built_in = task_types()
    types = Types(
        own,
        *(found for name in built_in if (found := built_in.get(name))),
    )
    monkeypatch.setattr(factory, "task_types", lambda: types)
    stored_embedded.task("dim_date").update(task_type="echo", config={"text": value})
    store(stored_embedded)
    built = factory.build_all()

    assert lines(built)[0].startswith(reason)
    assert {dag_id: type(dag.get_task("dim_date")).__name__ for dag_id, dag in built.dags.items() if dag_id == "calendar"} == {
        "calendar": "DataformWorkflowInvocationOperator"
    }
    assert "daily_sales" in built.dags


def test_only_what_is_new_or_changed_is_rehearsed(stored: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes twice as long as building, so ten thousand tasks that nobody touched must not pay it at each parse."""
    rehearsed: list[str] = []
    monkeypatch.setattr(building, "rehearse", lambda dag: rehearsed.append(dag.dag_id))
    factory.build_all()
    stored.task("dim_date")["retries"] = 7
    store(stored)
    factory.build_all()
    factory.build_all()

    assert rehearsed == ["calendar"]


PACKAGE = {
    "greet_tasks/__init__.py": "",
    "greet_tasks/types.py": (
        "from dag_factory.task_types import TaskConfig, TaskType, Templated, operator_arguments\n\n\n"
        "class GreetConfig(TaskConfig):\n"
        "    who: Templated[str]\n\n\n"
        "def operator(config):\n"
        "    from greet_tasks.operators import GreetOperator\n\n"
        "    return GreetOperator, operator_arguments(config)\n\n\n"
        "TASK_TYPE = TaskType('greet', GreetConfig, operator)\n"
    ),
    "greet_tasks/operators.py": (
        "from airflow.sdk import BaseOperator\n\n\n"
        "class GreetOperator(BaseOperator):\n"
        "    template_fields = ('who',)\n\n"
        "    def __init__(self, *, who, **kwargs):\n"
        "        super().__init__(**kwargs)\n"
        "        self.who = who\n"
    ),
    # What an installer makes of the package's metadata.
    "greet_tasks-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greet-tasks\nVersion: 1.0\n",
    "greet_tasks-1.0.dist-info/entry_points.txt": f"[{ENTRY_POINT_GROUP}]\ngreet = greet_tasks.types:TASK_TYPE\n",
}


def test_an_installed_package_adds_a_task_to_a_dag(
    stored_embedded: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in PACKAGE.items():
        file = tmp_path / "site-packages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    stored_embedded.task("dim_date").update(task_type="greet", config={"who": "{{ batch_id }}"}, retries=5)
    store(stored_embedded)
    built = factory.build_all()

    task: Any = built.dags["calendar"].get_task("dim_date")
    assert (lines(built), type(task).__name__, task.who, task.retries) == ([], "GreetOperator", "{{ run_id }}", 5)
    assert task.upstream_task_ids == {"start_batch"}


# A database that is away.


def test_a_dead_database_costs_no_dag(
    stored: Rows, dag_folder: Path, snapshot_file: Path, database_down: Callable[[], None]
) -> None:
    before = snapshot_file.read_bytes()
    database_down()
    bag = parsed(dag_folder)

    assert sorted(bag.dags) == ["calendar", "daily_sales"]
    (error,) = bag.import_errors.values()
    assert "- application database: the workflow tables cannot be read: " in error
    assert f"DAGs are built from the last good definitions in {snapshot_file.parent}" in error
    assert "hunter2" not in error
    assert snapshot_file.read_bytes() == before


def test_a_dead_database_without_a_snapshot_is_reported(database_down: Callable[[], None]) -> None:
    database_down()
    built = factory.build_all()

    assert built.dags == {}
    assert "so there are no DAGs" in lines(built)[0]


def test_the_report_of_a_dead_database_is_the_same_each_time(stored_embedded: Rows, database_down: Callable[[], None]) -> None:
    database_down()

    assert lines(factory.build_all()) == lines(factory.build_all())


def test_a_server_that_never_answers_is_given_up(stored_embedded: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://app:hunter2@127.0.0.1:{server.getsockname()[1]}/accelerator"
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", url)
        built = factory.build_all()

    assert ids(built) == ["calendar", "daily_sales"]
    assert "timeout" in lines(built)[0]


def test_a_query_that_never_ends_is_given_up(stored_embedded: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(source, "read_shard", lambda *_: never.wait())
    with pytest.raises(source.DefinitionsUnavailableError, match=r"no answer within 0\.05 seconds"):
        source.read_rows(factory.WHOLE, 0, seconds=0.05)
    never.set()


def test_an_embedded_database_across_machines_is_refused_and_costs_no_dag(
    stored_embedded: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    dispose_engines()  # as in a process that has opened none yet

    assert ids(factory.build_all()) == ["calendar", "daily_sales"]
    with pytest.raises(DefinitionError, match=r"\[core\] executor = CeleryExecutor runs tasks on several machines"):
        factory.raise_definition_errors()


def test_the_three_tables_are_read_as_of_one_moment(stored: Rows) -> None:
    """A workflow that is replaced between two SELECTs is seen as it was."""
    engine = get_engine()
    done: list[bool] = []

    def replace(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "FROM workflows" in statement and not done:
            done.append(True)
            changed = good_rows().only("calendar")
            changed.tasks[0]["task_id"] = "dim_day"
            store(changed)

    event.listen(engine, "after_cursor_execute", replace)
    built = factory.build_all()
    event.remove(engine, "after_cursor_execute", replace)

    assert (done, built.problems) == ([True], [])
    assert sorted(built.dags["calendar"].task_ids) == ["dim_date", "start_batch"]
    factory.build_all()
    assert sorted(factory.build_all().dags["calendar"].task_ids) == ["dim_day", "start_batch"]
