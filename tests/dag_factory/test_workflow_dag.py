from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from dag_factory import workflow_dag
from dag_factory.schedules import missed_run
from dag_factory.specs import WorkflowOptions
from dag_factory.validation import validate
from provider.operators.task_batch import ScopeGuard
from tests.dag_factory.definitions import Rows, good_rows, template_context
from tests.dag_factory.stored_dag import build, stored


def test_a_dag_has_what_its_rows_say(rows: Rows) -> None:
    dag = build(rows)

    assert (dag.dag_id, dag.description, dag.tags) == ("daily_sales", "Sales of the day", {"sales", "daily"})
    assert (dag.max_active_runs, dag.catchup, dag.is_paused_upon_creation) == (4, False, False)
    assert not dag.timetable.can_be_scheduled
    assert {task_id: sorted(dag.get_task(task_id).downstream_task_ids) for task_id in dag.task_ids} == {
        "start_batch": ["load_orders"],
        "load_orders": ["archive_orders", "batch_watcher", "stg_orders"],
        "stg_orders": ["batch_watcher", "refresh_daily_sales"],
        "archive_orders": ["batch_watcher", "refresh_daily_sales"],
        "refresh_daily_sales": [],
        "batch_watcher": [],
    }
    stg, refresh, archive = (dag.get_task(name) for name in ("stg_orders", "refresh_daily_sales", "archive_orders"))
    assert (stg.retries, stg.retry_delay, stg.pool, stg.owner, stg.doc_md) == (
        1,
        timedelta(seconds=60),
        "sales",
        "sales",
        "Cleans the orders.",
    )
    assert (refresh.retries, refresh.priority_weight, refresh.execution_timeout) == (5, 7, None)
    assert archive.execution_timeout == timedelta(minutes=10)
    task: Any
    for task in dag.tasks:
        guard = task._pre_execute_hook
        if task.task_id == "start_batch":
            assert (task.edges, guard) == (validate(rows.definitions()).workflows["daily_sales"].children(), None)
        elif task.task_id == "batch_watcher":
            assert (task.trigger_rule, task.inherits_from_empty_operator, guard) == ("none_failed", True, None)
        else:
            assert task.trigger_rule == "none_failed"
            assert isinstance(guard, ScopeGuard)
            assert guard.on_parent_skip == ("run" if task.task_id == "archive_orders" else "skip")


def test_tasks_without_children_need_no_watcher(rows: Rows) -> None:
    """A run fails with its last tasks anyway; a clear of one of them alone then clears the failure."""
    rows.dependencies.clear()
    assert "batch_watcher" not in build(rows).task_ids


def test_what_airflow_stores_can_be_read_back(rows: Rows) -> None:
    dag = build(rows)
    read = DagSerialization.from_dict(stored(dag))

    assert sorted(read.task_ids) == sorted(dag.task_ids)
    assert read.get_task("stg_orders").retries == 1
    assert read.get_task("stg_orders").trigger_rule == "none_failed"
    assert list(read.params) == ["country", "from_day", "start_task_id", "scope"]


def test_a_schedule_runs_in_its_own_zone(rows: Rows) -> None:
    del rows.workflow("calendar")["start_date"]
    timetable = stored(build(rows, "calendar"))["dag"]["timetable"]

    assert timetable["__type"] == "airflow.timetables.trigger.CronTriggerTimetable"
    assert (timetable["__var"]["expression"], timetable["__var"]["timezone"]) == ("0 5 * * *", "Europe/Berlin")


@pytest.mark.parametrize(("said", "module"), [("True", "interval.CronDataInterval"), ("False", "trigger.CronTrigger")])
def test_airflows_setting_for_data_intervals_holds(rows: Rows, monkeypatch: pytest.MonkeyPatch, said: str, module: str) -> None:
    monkeypatch.setenv("AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS", said)
    workflow_dag._cron_has_data_intervals.cache_clear()
    try:
        timetable = stored(build(rows, "calendar"))["dag"]["timetable"]
    finally:
        workflow_dag._cron_has_data_intervals.cache_clear()
    assert timetable["__type"] == f"airflow.timetables.{module}Timetable"


def test_a_start_date_is_meant_in_the_workflows_zone(rows: Rows) -> None:
    dag = build(rows, "calendar")

    assert dag.start_date == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert str(dag.timezone) == "Europe/Berlin"


@pytest.mark.parametrize("start_date", [None, "2026-01-01", "2026-05-11T05:00:00", "2026-05-11T05:00:01", "2026-06-01"])
@pytest.mark.parametrize("schedule", ["0 5 * * *", "@hourly", "*/5 * * * *", "@quarterly"])
@pytest.mark.parametrize("now", ["2026-05-11T05:00:00+02:00", "2026-05-11T06:40:00+02:00", "2026-05-11T23:59:00+02:00"])
def test_what_starts_at_once_is_what_airflow_starts(
    start_date: str | None, schedule: str, now: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its timetable gives the next run of a DAG without any; what is due is started as soon as the DAG is known."""
    rows.workflow("calendar").update(schedule=schedule, start_date=start_date)
    moment = datetime.fromisoformat(now).astimezone(UTC)
    monkeypatch.setattr("airflow.timetables.trigger.utcnow", lambda: moment)
    read = DagSerialization.from_dict(stored(build(rows, "calendar")))
    first = read.next_dagrun_info(last_automated_run_info=None)
    assert first is not None
    assert first.run_after is not None
    start = WorkflowOptions(workflow_id="w", start_date=start_date, timezone="Europe/Berlin").starts_at

    due = first.run_after if first.run_after <= moment else None
    assert missed_run(schedule, "Europe/Berlin", start, moment) == due


def test_tasks_of_a_group_keep_their_ids(rows: Rows) -> None:
    for task_id, name in {"stg_orders": "clean", "archive_orders": "clean", "load_orders": "load"}.items():
        rows.task(task_id)["task_group"] = name
    before = {task_id: build(rows).get_task(task_id).downstream_task_ids for task_id in build(rows).task_ids}
    read = DagSerialization.from_dict(stored(build(rows)))

    groups = {name: sorted(group.children) for name, group in read.task_group.get_task_group_dict().items() if name}
    assert groups == {"clean": ["archive_orders", "stg_orders"], "load": ["load_orders"]}
    assert {task_id: read.get_task(task_id).downstream_task_ids for task_id in read.task_ids} == before
    assert [node.node_id for node in read.task_group.topological_sort()][:2] == ["start_batch", "load"]


def test_a_condition_is_the_guards_in_airflows_names(rows: Rows) -> None:
    rows.task("stg_orders")["run_if"] = "batch_date >= '2026-01-01'"
    task: Any = build(rows).get_task("stg_orders")
    hook = task._pre_execute_hook
    assert str(hook.run_if) == "batch_date >= '2026-01-01'"
    assert hook.run_if.expression == "(dag_run.run_after | batch_date) >= '2026-01-01'"


def test_a_workflows_own_text_stands_before_what_its_rows_say(rows: Rows) -> None:
    rows.workflow("daily_sales")["doc"] = "# Sales\nAsk *finance*."
    told = build(rows).doc_md
    assert told is not None
    assert told.startswith("Sales of the day\n\n# Sales\nAsk *finance*.\n\n**Starts**")


def test_a_workflow_that_is_switched_off_has_no_schedule(rows: Rows) -> None:
    rows.workflow("calendar")["enabled"] = False
    dag = build(rows, "calendar")

    assert not dag.timetable.can_be_scheduled
    assert sorted(dag.task_ids) == ["dim_date", "start_batch"]


def test_nothing_that_changes_no_work_changes_what_is_stored(rows: Rows) -> None:
    before = stored(build(rows))
    changed = good_rows()
    shuffle = random.Random(7).shuffle
    shuffle(changed.tasks)
    shuffle(changed.dependencies)
    changed.workflows.reverse()
    changed.tasks = [dict(reversed(row.items())) for row in changed.tasks]
    changed.task("stg_orders")["enabled"] = False

    assert stored(build(changed)) == before


@pytest.mark.slow
def test_what_is_stored_does_not_depend_on_the_process() -> None:
    program = (
        "from tests.dag_factory.definitions import good_rows; from tests.dag_factory.stored_dag import build, stored;"
        "from airflow.models.serialized_dag import SerializedDagModel as M;"
        "print('hash', M.hash(stored(build(good_rows()))))"
    )
    hashes = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
        hashes |= {line for line in done.stdout.splitlines() if line.startswith("hash ")}

    assert len(hashes) == 1


def test_params_are_stored_once(rows: Rows) -> None:
    dag = stored(build(rows))["dag"]

    assert [name for name, _ in dag["params"]] == ["country", "from_day", "start_task_id", "scope"]
    assert all(not task["__var"].get("params") for task in dag["tasks"])


@pytest.mark.parametrize(
    "conf", [{}, {"start_task_id": "stg_orders"}, {"start_task_id": ["stg_orders"], "scope": "task"}, {"from_day": "2026-01-01"}]
)
def test_runs_may_be_started_with(conf: dict[str, Any], rows: Rows) -> None:
    context = template_context(build(rows), "stg_orders", run_id="b", run_after=datetime(2026, 1, 1, tzinfo=UTC), conf=conf)

    assert context["params"] == {"country": "DE", "from_day": None, "start_task_id": None, "scope": None, **conf}


@pytest.mark.parametrize("conf", [{"scope": "all"}, {"start_task_id": 1}, {"country": "CH"}, {"from_day": "soon"}])
def test_runs_may_not_be_started_with(conf: dict[str, Any], rows: Rows) -> None:
    with pytest.raises(ValueError, match="Invalid input for param"):
        template_context(build(rows), "stg_orders", run_id="b", run_after=datetime(2026, 1, 1, tzinfo=UTC), conf=conf)


# 23:30 UTC is the next day in Berlin.


def test_edges_are_those_that_airflow_would_make(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = stored(build(rows))
    monkeypatch.setattr(
        "dag_factory.workflow_dag._connect", lambda parent, children: children and parent.set_downstream(list(children))
    )
    assert json.dumps(stored(build(rows))) == json.dumps(ours)


@pytest.mark.parametrize(
    ("only_task", "made"),
    [
        ("stg_orders", {"start_batch", "load_orders", "stg_orders", "refresh_daily_sales", "batch_watcher"}),
        ("load_orders", {"start_batch", "load_orders", "stg_orders", "archive_orders", "batch_watcher"}),
        ("refresh_daily_sales", {"start_batch", "archive_orders", "stg_orders", "refresh_daily_sales", "batch_watcher"}),
        ("start_batch", {"start_batch"}),
    ],
)
def test_a_task_process_makes_no_more_than_what_is_next_to_its_task(rows: Rows, only_task: str, made: set[str]) -> None:
    dag, whole = build(rows, only_task=only_task), build(rows)

    assert set(dag.task_ids) == made
    own, same = dag.get_task(only_task), whole.get_task(only_task)
    if only_task != "start_batch":  # which skips by ids alone
        assert own.upstream_task_ids == same.upstream_task_ids
        assert own.downstream_task_ids == same.downstream_task_ids
    assert type(own) is type(same)


def test_of_what_is_next_to_it_only_its_own_operator_is_more_than_a_name(rows: Rows) -> None:
    dag = build(rows, only_task="stg_orders")
    whole = build(rows)

    assert {task.task_id: type(task).__name__ for task in dag.tasks} == {
        "start_batch": "StartBatchOperator",
        "load_orders": "BaseOperator",
        "refresh_daily_sales": "BaseOperator",
        "stg_orders": "DataformWorkflowInvocationOperator",
        "batch_watcher": "EmptyOperator",
    }
    for made in dag.tasks:
        assert made.trigger_rule == whole.get_task(made.task_id).trigger_rule


@pytest.mark.slow
def test_a_task_process_imports_no_other_services_library() -> None:
    program = (
        "import sys; from tests.dag_factory.definitions import good_rows; from tests.dag_factory.stored_dag import build;"
        "build(good_rows(), only_task='stg_orders');"
        "print('heavy', [m for m in ('google.cloud.bigquery', 'google.cloud.storage', 'msal',"
        " 'airflow.providers.google.cloud.transfers.gcs_to_bigquery', 'provider.operators.bigquery',"
        " 'provider.operators.powerbi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "heavy []" in done.stdout
