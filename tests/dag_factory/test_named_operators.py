"""Rows that name an operator of another package: what is allowed, and what of its arguments is refused before a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.definitions._internal.contextmanager import DagContext

from dag_factory.factory import build_all
from dag_factory.specs import TaskOptions
from dag_factory.task_operator import _OTHER_NAME, _SECONDS
from dag_factory.task_types.operator import COLUMNS, OperatorConfig
from dag_factory.templates import to_airflow
from provider.airflow_internals.dags import serialized
from tests.dag_factory.definitions import Rows, store
from tests.dag_factory.named import TASK, made, told

HEAD = "from datetime import date, datetime, time, timedelta\nfrom airflow.sdk import BaseOperator\n"
STANDARD = "airflow.providers.standard"
BASH = f"{STANDARD}.operators.bash.BashOperator"
SENSOR = f"{STANDARD}.sensors.time_delta.TimeDeltaSensor"
GCS = "airflow.providers.google.cloud.operators.gcs.GCSDeleteObjectsOperator"


@pytest.fixture
def calendar(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", f"{STANDARD}.operators.bash.*, {STANDARD}.sensors.*, {GCS}")
    return rows.only("calendar")


def named(rows: Rows, operator: str, /, **arguments: Any) -> Rows:
    rows.task(TASK).update(task_type="operator", config={"operator": operator, "arguments": arguments})
    return rows


def test_arguments_reach_the_operator_as_its_signature_wants_them(calendar: Rows) -> None:
    calendar.task(TASK).update(retries=4)
    sensor = made(named(calendar, SENSOR, delta=90, max_wait=60, poke_interval=5, mode="reschedule", do_xcom_push=False))

    assert (sensor.delta, sensor.max_wait, sensor.poke_interval, sensor.mode) == (90, timedelta(minutes=1), 5, "reschedule")
    assert (sensor.do_xcom_push, sensor.retries, sensor.trigger_rule) == (False, 4, "none_failed")
    assert told(calendar) == []


def test_seconds_become_a_time_where_only_a_time_is_taken(calendar: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = f"{STANDARD}.operators.hitl.ApprovalOperator"
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", approval)

    for hour in (3600, "PT1H"):
        assert made(named(calendar, approval, subject="Go on?", response_timeout=hour)).response_timeout == timedelta(hours=1)


def test_a_time_where_numbers_are_taken_too(calendar: Rows) -> None:
    """A number is the operator's to understand: minutes, for this one."""
    assert made(named(calendar, SENSOR, delta="PT10M")).delta == timedelta(minutes=10)
    assert made(named(calendar, SENSOR, delta=10)).delta == 10


def test_templates_have_our_names(calendar: Rows) -> None:
    command = made(named(calendar, BASH, bash_command="echo {{ batch_id }}", env={"DAY": "{{ batch_date }}"}))

    assert command.bash_command == "echo {{ run_id }}"
    assert command.env == {"DAY": "{{ (dag_run.run_after | batch_date) }}"}
    assert told(calendar) == []


@pytest.mark.parametrize(
    ("operator", "arguments", "problem"),
    [
        (
            "airflow.providers.standard.operators.python.PythonOperator",
            {},
            "cannot be built: operator: rows may not use airflow.providers.standard.operators.python.PythonOperator; who looks "
            "after Airflow allows it in [accelerator] allowed_operators; correct its rows",
        ),
        # A module has what it imports: the place where a class is defined must be allowed too.
        (
            f"{STANDARD}.sensors.time_delta.BaseSensorOperator",
            {},
            "cannot be built: operator: rows may not use airflow.sdk.bases.sensor.BaseSensorOperator; who looks after Airflow",
        ),
        (f"{STANDARD}.sensors.time_delta.warnings", {}, "is not an operator; write the path of a class that is one"),
        (f"{STANDARD}.sensors.time_delta.No", {}, "is not an operator; write the path of a class that is one"),
        (f"{STANDARD}.sensors.nothing.No", {}, "cannot be imported here (No module named 'airflow.providers.standard.sensors.n"),
        ("BashOperator", {}, "config.operator: must be the path of a class, such as airflow.providers.X.operators.Y.ZOperator"),
        ("os.system;x", {}, "config.operator: must be the path of a class"),
        (BASH, {"bash_comand": "ls"}, "arguments.bash_comand: unknown key; did you mean bash_command? BashOperator takes: "),
        (BASH, {"bash_comand": "ls"}, "arguments.bash_command: missing; add it"),
        (
            BASH,
            {"bash_command": "ls", "retries": 3},
            "config.arguments: retries is an option of every task; write it bes",
        ),
        (BASH, {"bash_command": "ls", "pre_execute": "x"}, "arguments.pre_execute: unknown key"),
        (BASH, {"bash_command": "ls", "on_failure_callback": "x"}, "arguments.on_failure_callback: unknown key"),
        (BASH, {"bash_command": "ls", "append_env": "maybe"}, "arguments.append_env: must be a valid boolean"),
        (BASH, {"bash_command": "ls", "output_processor": "print"}, "arguments.output_processor: must be callable"),
        (BASH, {"bash_command": "ls", "output_encoding": "{{ batch_id }}"}, "arguments.output_encoding: BashOperator renders no"),
        (BASH, {"bash_command": "{{ ti.xcom_pull() }}"}, "config.arguments.bash_command: call is not allowed in a template"),
        (SENSOR, {"delta": "soon"}, "arguments.delta: must be a valid"),
        (SENSOR, {"delta": 1, "mode": "nap"}, "The mode must be one of ["),
        (GCS, {"bucket_name": "b"}, "cannot be built: ValueError: (Task dim_date) Either objects or prefix"),
        (
            GCS,
            {"bucket_name": 7, "prefix": "x"},
            "arguments.bucket_name: must be a valid string, as GCSDeleteObj",
        ),
    ],
)
def test_what_is_refused_names_the_row(calendar: Rows, operator: str, arguments: dict[str, Any], problem: str) -> None:
    (text,) = told(named(calendar, operator, **arguments))[:1]

    assert text.startswith(f"tasks row {TASK}: config")
    assert problem in text


def test_nothing_is_imported_that_is_not_allowed(calendar: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "unwanted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "rows may not use unwanted.Operator" in told(named(calendar, "unwanted.Operator"))[0]


def test_without_a_setting_nothing_is_allowed(calendar: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS")

    assert "rows may not use" in told(named(calendar, BASH, bash_command="ls"))[0]


def test_an_operator_that_needs_no_worker_is_refused(calendar: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = f"{STANDARD}.operators.empty.EmptyOperator"
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", empty)

    assert "is an EmptyOperator, so Airflow would run it whether or not" in told(named(calendar, empty))[0]


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (BASH, {"bash_command": "any.sh", "env": {"SCRIPT": "/opt/run.sh"}}),
        (
            "airflow.providers.common.sql.operators.sql.SQLExecuteQueryOperator",
            {"sql": "any.sql", "parameters": "{{ batch_id }}"},
        ),
        ("airflow.providers.google.cloud.operators.cloud_build.CloudBuildCreateBuildOperator", {"build": "FOLDER/any.json"}),
        (
            "airflow.providers.google.cloud.operators.bigquery.BigQueryInsertJobOperator",
            {"configuration": "{{ batch_id }}.json", "location": "EU"},
        ),
    ],
)
def test_a_text_is_no_file(
    calendar: Rows, operator: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow would read it at each parse, lose the whole DAG file where it is none, and render it unchecked."""
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", "airflow.*")
    for name in ("any.sh", "any.sql", "any.json"):
        (tmp_path / name).write_text('{"secret": "{{ conn.prod.password }}"}')
    arguments = {
        name: value.replace("FOLDER", str(tmp_path)) if isinstance(value, str) else value for name, value in arguments.items()
    }

    assert told(named(calendar, operator, **arguments)) == []
    dag = made(calendar).dag
    dag.template_searchpath = [str(tmp_path)]
    DagBag(dag_folder=str(tmp_path)).bag_dag(dag)
    assert "password" not in str(serialized(dag))
    assert {name: getattr(dag.get_task(TASK), name) for name in arguments} == to_airflow(arguments)


@pytest.fixture
def own(calendar: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes a module with an operator ``Own``, and returns what is said of a row that names it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", "own_operators.*")

    def write(text: str, /, **arguments: Any) -> list[str]:
        (tmp_path / "own_operators.py").write_text(f"from __future__ import annotations\n{HEAD}{dedent(text)}")
        return told(named(calendar, "own_operators.Own", **arguments))

    yield write
    sys.modules.pop("own_operators", None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("raise SystemExit('no')", "cannot be built: SystemExit: no; correct its rows"),
        (
            "class Own(BaseOperator):\n    def __init__(self, **kwargs):\n        raise SystemExit(3)",
            "cannot be built: SystemExit: 3",
        ),
        ("raise RuntimeError('no')", "cannot be built: RuntimeError: no"),
        (
            "class Own(BaseOperator):\n    end_from_trigger = True",
            "Own sets end_from_trigger, so its end would be told to",
        ),
        ("class Own(BaseOperator):\n    ignore_downstream_trigger_rules = True", "so it could skip batch_watcher too"),
        ("class Own(BaseOperator):\n    def prepare_template(self):\n        raise OSError", ""),
    ],
)
def test_code_of_others_costs_its_workflow_alone(own: Any, text: str, problem: str) -> None:
    found = own(text)
    assert (problem in found[0]) if problem else (found == [])


def test_what_is_imported_adds_no_dag_to_the_file(own: Any) -> None:
    text = """
        from airflow.sdk import DAG
        with DAG("unwanted"):
            pass
        class Own(BaseOperator):
            pass
    """
    before = set(DagContext.autoregistered_dags)
    assert own(text) == []
    assert DagContext.autoregistered_dags == before


TYPED = """
    class Own(BaseOperator):
        def __init__(
            self, *, flag: bool = False, count: int = 0, share: float = 0.0, text: str = "", pause: timedelta | float = 0,
            at: datetime | None = None, day: date | None = None, hour: time | None = None, either: datetime | time | None = None,
            **kwargs,
        ):
            super().__init__(**kwargs)
            self.given = dict(locals())
"""


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("pause", 5, 5.0),
        ("pause", "PT10M", timedelta(minutes=10)),
        ("share", 1, 1.0),
        ("at", "2026-03-16T10:00:00", datetime(2026, 3, 16, 10)),
        ("day", "2026-03-16", date(2026, 3, 16)),
        ("hour", "10:00", time(10)),
        ("either", "10:00", time(10)),
        ("flag", True, True),
        ("flag", "yes", None),
        ("flag", 1, None),
        ("count", "5", None),
        ("count", True, None),
        ("text", 5, None),
        ("pause", "10:00", None),
        ("pause", True, None),
        ("at", 20260316, None),
        ("at", "5", None),
        ("day", "20260316", None),
    ],
)
def test_only_what_json_has_no_type_for_is_converted(own: Any, calendar: Rows, name: str, value: object, found: object) -> None:
    problems = own(TYPED, **{name: value})
    if found is None:
        assert f"arguments.{name}: " in problems[0]
        return
    assert problems == []
    given = made(calendar).given[name]
    assert (given, type(given)) == (found, type(found))


def test_a_task_that_chooses_does_not_skip_the_watcher(calendar: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = f"{STANDARD}.operators.hitl.ApprovalOperator"
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", approval)
    named(calendar, approval, subject="Go on?")
    for task_id in ("left", "right", "end"):
        calendar.tasks.append({"task_id": task_id, "workflow_id": "calendar", "task_type": "external"})
    for parent, child in ((TASK, "left"), (TASK, "right"), ("left", "end")):
        calendar.depend(parent, child)
    dag = made(calendar).dag

    assert dag.get_task(TASK).downstream_task_ids == {"left", "right"}
    assert dag.get_task("batch_watcher").upstream_task_ids == {"left", "right"}


def test_nobody_comes_after_a_batch_whose_end_is_a_choice(
    calendar: Rows, monkeypatch: pytest.MonkeyPatch, embedded_database: str, snapshot_file: Path
) -> None:
    """It would skip the watcher, or the watcher would not wait for it: the success of the batch can be told by nobody."""
    approval = f"{STANDARD}.operators.hitl.ApprovalOperator"
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", approval)
    named(calendar, approval, subject="Go on?")
    calendar.tasks.append({"task_id": "before", "workflow_id": "calendar", "task_type": "external"})
    calendar.depend("before", TASK)
    calendar.workflows.append({"workflow_id": "late", "after": ["calendar"]})
    calendar.tasks.append({"task_id": "late_task", "workflow_id": "late", "task_type": "external"})
    store(calendar)
    built = build_all()

    assert sorted(built.dags) == ["calendar", "late"]
    assert built.dags["calendar"].get_task("batch_watcher").outlets == []
    assert list(map(str, built.problems)) == [
        f"tasks row {TASK}: task_type: no workflow can come after this one (column after) while ApprovalOperator skips what is "
        "behind it; put a task behind it"
    ]


def test_every_option_of_a_task_is_refused_among_the_arguments() -> None:
    """And each is said by the name of its column."""
    theirs = {name: {**_OTHER_NAME, **_SECONDS}.get(name, name) for name in TaskOptions.model_fields}
    assert set(theirs.values()) <= set(COLUMNS)
    assert {COLUMNS[name]: name for name in theirs.values()} == theirs


def test_more_arguments_than_any_operator_has() -> None:
    with pytest.raises(ValueError, match="at most 100 items"):
        OperatorConfig(operator=BASH, arguments={f"a{number}": 1 for number in range(101)})
