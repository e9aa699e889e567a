"""What both readers say of the same rows of Airflow: its database, and its REST API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from provider.airflow_internals.audit_log import PersonAct, SchedulerEnd
from provider.reconciler import airflow_database as airflow_database_module
from provider.reconciler.airflow_api import ApiReader
from provider.reconciler.airflow_state import AirflowState, LeftText, RemoteJobState, RunState, TryReport, TryState, read_airflow
from tests.provider.reconciler.conftest import AT, AirflowDatabase

KEY = ("sales", "b1")
MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["database", "api"])
def reader(request: pytest.FixtureRequest, embedded_database: str, airflow_database: AirflowDatabase) -> Iterator[AirflowState]:
    with ExitStack() as stack:
        if request.param == "database":
            yield stack.enter_context(read_airflow())
        else:
            yield stack.enter_context(ApiReader(request.getfixturevalue("airflow_api"), {"sales"}).opened())


def loaded(reader: AirflowState) -> RunState:
    """Return the one run that there is."""
    (run,) = reader.load_runs([KEY, ("sales", "gone")]).values()
    return run


def tries(run: RunState) -> list[tuple[Any, ...]]:
    """Return all tries but that of start_batch."""
    return [
        (attempt.task_id, attempt.map_index, attempt.try_number, attempt.state, attempt.live, attempt.max_tries)
        for attempt in run.tries
        if attempt.task_id != "start_batch"
    ]


def log(airflow: AirflowDatabase, event: str, at: Any = AT, **values: Any) -> None:
    """Add an entry of the audit log that a task's process or the scheduler has made."""
    from airflow.models.log import Log

    key = {"dag_id": "sales", "run_id": "b1", "task_id": "load", "map_index": -1, "try_number": 1}
    airflow.insert(Log, event=event, dttm=at, **{**key, **values})


def keep(airflow: AirflowDatabase, key: str, value: Any, **values: Any) -> None:
    """Leave something in the task state store, as a task does."""
    from airflow.models.task_state_store import TaskStateStoreModel

    where = {"dag_id": "sales", "run_id": "b1", "task_id": "load", "map_index": -1, "dag_run_id": 1, **values}
    airflow.insert(TaskStateStoreModel, **where, key=key, value=json.dumps(value), updated_at=AT)


def test_a_run_has_nothing_of_the_run_with_its_id_of_another_dag(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    end = AT + 9 * MINUTE
    airflow_database.run(state="failed", end_date=end, triggered_by="UI", conf={"country": "DE"})
    airflow_database.task("load", "failed")
    airflow_database.run(dag_id="other", run_after=AT + MINUTE, start_date=None)
    airflow_database.task("load", "running", dag_id="other")
    run = loaded(reader)

    assert (run.key, run.state, run.run_type, run.triggered_by) == (KEY, "failed", "manual", "ui")
    assert (run.conf, run.run_after, run.started_at, run.ended_at) == ({"country": "DE"}, AT, AT, end)
    assert tries(run) == [("load", -1, 1, "failed", True, 0)]
    assert (run.acts, run.scheduler_ends, run.jobs, run.texts) == ((), {}, {}, {})


def test_the_tries_are_those_of_the_past_and_the_task_instances(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    airflow_database.run()
    for number in (1, 2):
        airflow_database.history("load", "failed", number, max_tries=2)
    airflow_database.task("load", "running", 3, max_tries=3)
    airflow_database.task("mapped", None, 0, map_index=1)
    airflow_database.task("mapped", "success", map_index=0)

    assert sorted(tries(loaded(reader))) == [
        ("load", -1, 1, "failed", False, 2),
        ("load", -1, 2, "failed", False, 2),
        ("load", -1, 3, "running", True, 3),
        ("mapped", 0, 1, "success", True, 0),
        ("mapped", 1, 0, None, True, 0),
    ]


def test_what_tasks_keep_under_keys_of_their_own_is_nothing_of_ours(
    airflow_database: AirflowDatabase, reader: AirflowState
) -> None:
    airflow_database.run()
    airflow_database.task("load", "failed")
    airflow_database.task("stage", "failed")
    text = {"try": 1, "type": "E", "message": "of the task", "cause": "remote"}
    keep(airflow_database, "notes", {**text, "message": "a note"})
    assert (loaded(reader).texts, loaded(reader).jobs) == ({}, {})


def test_what_tasks_keep_is_of_their_own_map_index(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    airflow_database.run()
    airflow_database.task("load", "failed", map_index=0)
    airflow_database.task("load", "failed", map_index=1)
    keep(airflow_database, "remote_job", {"job": {"id": "j"}, "outcome": "running", "chain": 2}, map_index=0)
    keep(airflow_database, "accelerator_error", {"try": 1, "message": "no rows"}, map_index=1)
    run = loaded(reader)

    assert run.jobs == {("load", 0): RemoteJobState({}, {"id": "j"}, None, True, 2, None)}
    assert run.texts == {("load", 1): LeftText(1, None, "no rows", None)}


def test_what_is_no_json_hides_nothing_else(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    from airflow.models.task_state_store import TaskStateStoreModel

    airflow_database.run()
    airflow_database.task("load", "failed")
    for key in ("notes", "accelerator_error", "remote_job"):
        keep(airflow_database, key, {"try": 1, "message": "no rows", "job": {"id": "j"}, "outcome": "running"})
    for key in ("notes", "accelerator_error"):
        airflow_database.set(TaskStateStoreModel, {"key": key}, value="{no JSON")
    run = loaded(reader)

    assert (list(run.jobs), run.texts) == ([("load", -1)], {})


def people_act(airflow: AirflowDatabase) -> None:
    """Let people do something to the run, to one of another DAG, and to several at once; the rows are in no order."""
    airflow.acts("patch_dag_run", AT + 3 * MINUTE, extra={"state": "failed"})
    airflow.acts("clear_dag_run", AT + 1 * MINUTE, owner="bob")
    airflow.acts("clear_dag_run", AT + 1 * MINUTE, owner="cid")
    airflow.acts("clear_dag_run", AT + 4 * MINUTE, dag_id="other")
    airflow.acts("clear_dag_run", AT + 4 * MINUTE, run_id="b2")
    run = {"dag_id": "sales", "dag_run_id": "b1", "state": "success"}
    several = {"actions": [{"action": "update", "entities": [run, {**run, "dag_run_id": "b2"}]}]}
    airflow.acts("bulk_dag_runs", AT + 2 * MINUTE, run_id=None, extra=several)
    airflow.acts("trigger_dag_run", AT + 5 * MINUTE)


ACTS = (
    PersonAct(AT + MINUTE, "bob", "cleared", *KEY),
    PersonAct(AT + MINUTE, "cid", "cleared", *KEY),
    PersonAct(AT + 2 * MINUTE, "ann", "marked", *KEY, state="success"),
    PersonAct(AT + 3 * MINUTE, "ann", "marked", *KEY, state="failed"),
)


def test_what_people_did_to_a_run_is_in_the_order_of_time(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    airflow_database.run()
    people_act(airflow_database)

    assert loaded(reader).acts == ACTS


def test_what_people_did_to_runs_of_several_dags_is_in_the_database_alone(
    airflow_database: AirflowDatabase, reader: AirflowState
) -> None:
    """The REST API shows nobody an entry of all DAGs."""
    airflow_database.run()
    run = {"dag_id": "sales", "dag_run_id": "b1", "state": "failed"}
    several = {"actions": [{"action": "update", "entities": [run]}]}
    airflow_database.acts("bulk_dag_runs", AT + MINUTE, run_id=None, dag_id="~", extra=several)
    seen = () if isinstance(reader, ApiReader) else (PersonAct(AT + MINUTE, "ann", "marked", *KEY, state="failed"),)

    assert loaded(reader).acts == seen


def test_what_people_did_to_deleted_runs_is_known(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    airflow_database.run(run_id="b2")
    people_act(airflow_database)
    airflow_database.acts("delete_dag_run", AT + 6 * MINUTE, owner="dan")
    deleted = PersonAct(AT + 6 * MINUTE, "dan", "deleted", *KEY)

    assert reader.load_runs([KEY]) == {}
    assert reader.acts_on_runs("sales", ["b1"], AT) == {"b1": (*ACTS, deleted)}
    assert reader.acts_on_runs("sales", ["b1"], AT + 5 * MINUTE) == {"b1": (deleted,)}
    assert reader.acts_on_runs("sales", ["gone"], AT) == {}


def test_what_the_scheduler_ended_says_why(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    airflow_database.run()
    log(airflow_database, "heartbeat timeout", AT + MINUTE, extra="no sign of life")
    log(airflow_database, "heartbeat timeout", AT + MINUTE, dag_id="other", try_number=2)
    log(airflow_database, "running", AT + MINUTE, try_number=3)

    assert loaded(reader).scheduler_ends == {("load", -1, 1): SchedulerEnd("heartbeat", "no sign of life")}


OTHER: list[dict[str, Any]] = [
    {"dag_id": "other"},
    {"run_id": "b2"},
    {"task_id": "stage"},
    {"map_index": 1},
    {"try_number": 2},
]


@pytest.mark.parametrize("map_index", [-1, None])
def test_the_last_report_of_a_try_is_its_own(
    airflow_database: AirflowDatabase, reader: AirflowState, map_index: int | None
) -> None:
    airflow_database.run()
    attempt = TryState("load", -1, 1, "failed", AT, AT, AT, live=True)
    for other in OTHER:
        log(airflow_database, "success", AT + 3 * MINUTE, **other)
    assert reader.last_report(KEY, attempt) is None
    log(airflow_database, "failed", AT + MINUTE, map_index=map_index)
    log(airflow_database, "success", AT, map_index=map_index)
    log(airflow_database, "running", AT + 2 * MINUTE, map_index=map_index)

    assert reader.last_report(KEY, attempt) == TryReport(AT + MINUTE, "failed")


def test_a_report_without_a_map_index_is_of_no_mapped_task(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    airflow_database.run()
    attempt = TryState("load", 0, 1, "failed", AT, AT, AT, live=True)
    log(airflow_database, "failed", AT + MINUTE, map_index=None)
    assert reader.last_report(KEY, attempt) is None
    log(airflow_database, "success", AT, map_index=0)
    assert reader.last_report(KEY, attempt) == TryReport(AT, "success")


def test_of_a_dag_that_is_gone_nothing_is_known(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    assert reader.parents_of_run(KEY) == {}
    assert reader.operator_of_task(KEY, "load") is None


# What changed.


def test_runs_that_changed_since_are_found_in_the_dags_that_are_asked_for(
    airflow_database: AirflowDatabase, reader: AirflowState
) -> None:
    for run_id, minutes in (("b1", 1), ("b2", 2), ("b3", 3)):
        airflow_database.run(run_id, updated_at=AT + minutes * MINUTE)
    airflow_database.run(dag_id="other", updated_at=AT + 3 * MINUTE)

    assert reader.changed_runs(["sales", "gone"], AT + 2 * MINUTE) == {("sales", "b2"), ("sales", "b3")}
    assert reader.changed_runs(["sales"], AT + 4 * MINUTE) == set()
    assert reader.changed_runs([], AT) == set()


def test_runs_whose_tasks_changed_since_are_found(airflow_database: AirflowDatabase, reader: AirflowState) -> None:
    from airflow.models.taskinstance import TaskInstance

    for dag_id, run_id in (("sales", "b1"), ("sales", "b2"), ("other", "b1")):
        airflow_database.run(run_id, dag_id=dag_id, updated_at=AT)
        airflow_database.set(TaskInstance, {"task_id": "start_batch"}, updated_at=AT, operator="EmptyOperator")
    for minutes, run_id in ((1, "b1"), (2, "b2")):
        airflow_database.task("load", "running", run_id=run_id, updated_at=AT + minutes * MINUTE)
    airflow_database.task("load", "running", dag_id="other", updated_at=AT + 3 * MINUTE)

    assert reader.runs_with_changed_tasks(["sales"], AT + 2 * MINUTE) == {("sales", "b2")}
    assert reader.runs_with_changed_tasks(["sales", "other"], AT + 2 * MINUTE) == {("sales", "b2"), ("other", "b1")}
    assert reader.runs_with_changed_tasks(["sales"], AT + 4 * MINUTE) == set()


def test_a_dag_is_a_workflow_that_has_ever_begun_a_batch(airflow_database: AirflowDatabase) -> None:
    """In the database; by the REST API the workflows are those of the tables, and those that were seen."""
    from airflow.models.taskinstance import TaskInstance

    airflow_database.run()
    airflow_database.run(dag_id="by_hand")
    airflow_database.run(dag_id="other")
    airflow_database.set(TaskInstance, {"dag_id": "other"}, operator="EmptyOperator")
    airflow_database.run(dag_id="renamed")
    airflow_database.set(TaskInstance, {"dag_id": "renamed"}, task_id="begin")
    with read_airflow() as state:
        assert sorted(state.workflow_ids()) == ["by_hand", "sales"]


def test_many_dags_and_runs_are_asked_for_in_parts(airflow_database: AirflowDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_database_module, "_IN_LIST", 1)
    for dag_id, run_id in (("sales", "b1"), ("sales", "b2"), ("other", "b1")):
        airflow_database.run(run_id, dag_id=dag_id)
    every = {("sales", "b1"), ("sales", "b2"), ("other", "b1")}
    with read_airflow() as state:
        assert state.changed_runs(["sales", "other"], AT) == every
        assert state.runs_with_changed_tasks(["sales", "other"], AT) == every
        assert {key: run.key for key, run in state.load_runs([*every, ("sales", "gone")]).items()} == {key: key for key in every}


def test_a_run_of_which_little_is_known_is_read_all_the_same(airflow_database: AirflowDatabase) -> None:
    airflow_database.run(state=None, created_at=None, conf=["no", "mapping"])
    airflow_database.history("load", "failed", 1, max_tries=None, updated_at=AT + MINUTE)
    airflow_database.acts("clear_dag_run", AT - MINUTE)
    airflow_database.acts("clear_dag_run", AT)
    with read_airflow() as state:
        run = loaded(state)
    assert (run.state, run.created_at, run.conf, run.triggered_by) == (None, AT, {}, None)
    assert tries(run) == [("load", -1, 1, "failed", False, 0)]
    assert run.tries[0].updated_at == AT + MINUTE
    assert [act.at for act in run.acts] == [AT]


def test_runs_that_changed_long_ago_are_those_of_workflows_alone(reader: AirflowState, airflow_database: AirflowDatabase) -> None:
    """A workflow in the tables need not be a DAG, and the DAGs of others may have more runs than anybody wants to read."""
    long_ago = AT - 2 * MINUTE
    airflow_database.run(updated_at=AT)
    airflow_database.run("other", dag_id="of_others", updated_at=AT)
    airflow_database.run("older", updated_at=long_ago - MINUTE)
    assert reader.changed_runs(["sales", "no_dag_yet"], long_ago) == {("sales", "b1")}
