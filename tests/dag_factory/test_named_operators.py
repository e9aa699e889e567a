"""Rows that name an operator of another package: what is allowed, and what of its arguments is refused before a run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dag_factory.rehearsal import rehearse_foreign
from dag_factory.task_types.operator import COLUMNS, OperatorConfig
from dag_factory.task_types.registry import task_types
from dag_factory.validation import validate
from dag_factory.workflow_dag import _OTHER_NAME, _SAME_NAME, _SECONDS, build_dag
from tests.dag_factory.definitions import Rows

STANDARD = "airflow.providers.standard"
BASH = f"{STANDARD}.operators.bash.BashOperator"
SENSOR = f"{STANDARD}.sensors.time_delta.TimeDeltaSensor"
GCS = "airflow.providers.google.cloud.operators.gcs.GCSDeleteObjectsOperator"
TASK = "dim_date"


@pytest.fixture
def calendar(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", f"{STANDARD}.operators.bash.*, {STANDARD}.sensors.*, {GCS}")
    return rows.only("calendar")


def named(rows: Rows, operator: str, /, **arguments: Any) -> Rows:
    rows.task(TASK).update(task_type="operator", config={"operator": operator, "arguments": arguments})
    return rows


def told(rows: Rows) -> list[str]:
    """Return what commands and the parse say."""
    validated = validate(rows.definitions())
    return [str(one) for one in validated.problems or rehearse_foreign(validated.workflows.values())]


def made(rows: Rows) -> Any:
    return build_dag(validate(rows.definitions()).workflows["calendar"], task_types()).get_task(TASK)


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


def test_every_option_of_a_task_is_refused_among_the_arguments() -> None:
    """And each is said by the name of its column."""
    theirs = {**dict.fromkeys(_SAME_NAME), **dict.fromkeys(_OTHER_NAME.values()), **dict.fromkeys(_SECONDS.values())}
    assert set(theirs) <= set(COLUMNS)
    ours = {**{name: name for name in _SAME_NAME}, **_OTHER_NAME, **_SECONDS}
    assert {COLUMNS[theirs]: theirs for theirs in theirs} == ours


def test_more_arguments_than_any_operator_has() -> None:
    with pytest.raises(ValueError, match="at most 100 items"):
        OperatorConfig(operator=BASH, arguments={f"a{number}": 1 for number in range(101)})
