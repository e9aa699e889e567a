"""What the reader of the REST API keeps, and what it asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.airflow_internals import audit_log
from provider.hooks.airflow_api import AirflowApi, AirflowApiSettings
from provider.hooks.remote_job import RemoteCallError
from provider.metadata import batches
from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows
from provider.reconciler import airflow_api as module
from provider.reconciler.airflow_api import ApiReader, api_source
from provider.reconciler.airflow_state import database_source
from tests.provider.hooks.airflow_api_server import Server
from tests.provider.reconciler.batch_rows import open_batch
from tests.provider.reconciler.conftest import AT, AirflowDatabase

KEY, OTHER = ("sales", "b1"), ("sales", "b2")
MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.usefixtures("embedded_database")


@pytest.fixture
def asked(airflow_api: AirflowApi, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the reader asks for: path and query of each request."""
    found: list[tuple[str, dict[str, Any]]] = []
    send = airflow_api._send

    def send_and_note(method: str, path: str, **content: Any) -> Any:
        found.append((path, content["params"]))
        return send(method, path, **content)

    monkeypatch.setattr(airflow_api, "_send", send_and_note)
    return found


@pytest.fixture
def reader(airflow_api: AirflowApi, asked: list[Any]) -> ApiReader:
    return ApiReader(airflow_api, {"sales"})


def test_a_run_is_read_once_and_again_after_a_while(
    airflow_database: AirflowDatabase, reader: ApiReader, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow_database.run()
    first = reader.load_runs([KEY])[KEY]
    asked.clear()
    assert reader.load_runs([KEY])[KEY] is first
    assert asked == []

    airflow_database.task("load", "running")
    monkeypatch.setattr(module, "_WHOLE_SECONDS", -1.0)
    assert [attempt.task_id for attempt in reader.load_runs([KEY])[KEY].tries] == ["load", "start_batch"]


def test_so_many_runs_are_kept_those_that_were_read_last(
    airflow_database: AirflowDatabase, reader: ApiReader, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 1)
    airflow_database.run()
    airflow_database.run("b2")
    assert list(reader.load_runs([KEY, OTHER])) == [KEY, OTHER]
    asked.clear()
    reader.load_runs([OTHER])
    assert asked == []
    reader.load_runs([KEY])
    assert asked


def test_another_run_with_the_id_has_nothing_of_the_first(airflow_database: AirflowDatabase, reader: ApiReader) -> None:
    airflow_database.run(state="success", end_date=AT)
    airflow_database.task("load", "success")
    reader.load_runs([KEY])
    airflow_database.delete_run("b1")
    since = datetime.now(UTC)
    airflow_database.run(run_after=AT + MINUTE)

    assert reader.changed_runs(["sales"], since) == {KEY}
    run = reader.load_runs([KEY])[KEY]
    assert (run.state, run.run_after) == ("running", AT + MINUTE)
    assert [attempt.task_id for attempt in run.tries] == ["start_batch"]


def test_a_new_row_of_a_run_counts_at_once(airflow_database: AirflowDatabase, reader: ApiReader, asked: list[Any]) -> None:
    from airflow.models.dagrun import DagRun

    airflow_database.run()
    airflow_database.task("load", "success", end_date=AT)
    assert reader.load_runs([KEY])[KEY].state == "running"
    since = datetime.now(UTC)
    airflow_database.set(DagRun, {"run_id": "b1"}, state="success", end_date=AT + MINUTE)

    assert reader.changed_runs(["sales"], since) == {KEY}
    asked.clear()
    run = reader.load_runs([KEY])[KEY]
    assert (run.state, run.ended_at, len(run.tries)) == ("success", AT + MINUTE, 2)
    assert asked == []  # all of it was in the list


def test_a_run_that_has_ended_with_an_open_task_is_read_whole_once(
    airflow_database: AirflowDatabase, reader: ApiReader, asked: list[Any]
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

    airflow_database.run()
    airflow_database.task("load", "running", end_date=None)
    reader.load_runs([KEY])
    since = datetime.now(UTC)
    airflow_database.set(TaskInstance, {"task_id": "load"}, state="failed", end_date=AT + MINUTE)
    airflow_database.set(DagRun, {"run_id": "b1"}, state="failed", end_date=AT + MINUTE)

    assert reader.changed_runs(["sales"], since) == {KEY}
    run = reader.load_runs([KEY])[KEY]
    assert (run.state, {one.task_id: one.state for one in run.tries}["load"]) == ("failed", "failed")
    assert reader.changed_runs(["sales"], since) == {KEY}
    asked.clear()
    assert reader.load_runs([KEY])[KEY] is run
    assert asked == []


def test_an_open_run_that_nobody_said_was_deleted_is_missed(airflow_database: AirflowDatabase, reader: ApiReader) -> None:
    airflow_database.run()
    airflow_database.run("b2", state="success", end_date=AT)
    reader.load_runs([KEY, OTHER])
    airflow_database.delete_run("b1")

    assert reader.changed_runs(["sales"], datetime.now(UTC) + MINUTE) == {KEY}
    assert list(reader.load_runs([KEY, OTHER])) == [OTHER]
    assert reader.changed_runs(["sales"], datetime.now(UTC) + MINUTE) == set()


def test_airflow_names_what_it_has_not_found(airflow_database: AirflowDatabase, airflow_api: AirflowApi) -> None:
    airflow_database.run()
    of_run = "dags/sales/dagRuns/b1"
    nowhere = ["dags/no_dag", "dags/no_dag/dagRuns/b1", "dags/sales/dagRuns/b2", "dags/sales/tasks/load", "pools/none"]
    of_tasks = [f"{of_run}/taskInstances/load{below}" for below in ("", "/tries", "/dependencies", "/state-store/job")]
    assert [airflow_api.find(path) for path in (*nowhere, *of_tasks)] == [None] * 9
    assert (airflow_api.find(of_run) or {})["dag_run_id"] == "b1"
    with pytest.raises(RemoteCallError, match="answered 404 otherwise than Airflow does: .*API route not found"):
        airflow_api.find("no_such_path")


def test_an_open_run_is_one_that_is_queued_or_running(airflow_database: AirflowDatabase, reader: ApiReader) -> None:
    from airflow.models.dagrun import DagRun

    airflow_database.run(state="queued")
    airflow_database.run("b2")
    reader.load_runs([KEY, OTHER])
    airflow_database.set(DagRun, {"run_id": "b2"}, state="success", end_date=AT)

    # As no row says it: an end that a list of changes has not shown.
    assert reader.changed_runs(["sales"], datetime.now(UTC) + MINUTE) == {OTHER}


def test_open_runs_are_looked_at_now_and_then(
    airflow_database: AirflowDatabase, reader: ApiReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OPEN_RUNS_SECONDS", 600.0)
    later = datetime.now(UTC) + MINUTE
    airflow_database.run()
    reader.load_runs([KEY])
    assert reader.changed_runs(["sales"], later) == set()
    airflow_database.delete_run("b1")
    assert reader.changed_runs(["sales"], later) == set()


def test_what_a_person_did_makes_a_run_be_read_anew_once(airflow_database: AirflowDatabase, reader: ApiReader) -> None:
    airflow_database.run()
    reader.load_runs([KEY])
    since = datetime.now(UTC)
    airflow_database.acts("clear_dag_run", since + MINUTE)

    assert reader.runs_with_changed_tasks(["sales"], since) == {KEY}
    assert [act.did for act in reader.load_runs([KEY])[KEY].acts] == ["cleared"]
    assert reader.runs_with_changed_tasks(["sales"], since) == set()


def test_what_a_person_did_counts_again_where_the_list_broke_off(
    airflow_database: AirflowDatabase, reader: ApiReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow_database.run()
    since = datetime.now(UTC)
    airflow_database.acts("patch_task_instance", since + MINUTE, extra={"new_state": "skipped"})
    listed = reader._events

    def broken_off(**where: Any) -> Any:
        yield from listed(**where)
        raise ConnectionError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(reader, "_events", broken_off)
        with pytest.raises(ConnectionError):
            reader.runs_with_changed_tasks(["sales"], since)
    assert reader.runs_with_changed_tasks(["sales"], since) == {KEY}


def test_a_task_of_which_not_all_could_be_read_is_read_again(
    airflow_database: AirflowDatabase, reader: ApiReader, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has left in the task state store is not in the list that says that it ended."""
    from airflow.models.taskinstance import TaskInstance

    airflow_database.run()
    airflow_database.task("load", "running")
    reader.load_runs([KEY])
    since = datetime.now(UTC)
    airflow_database.set(TaskInstance, {"task_id": "load"}, state="failed", updated_at=since + MINUTE)
    with monkeypatch.context() as broken:
        broken.setattr(reader, "_read_store", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
        with pytest.raises(ConnectionError):
            reader.runs_with_changed_tasks(["sales"], since)
    asked.clear()
    reader.runs_with_changed_tasks(["sales"], since)
    reader.load_runs([KEY])
    assert any(path.endswith("/load/state-store") for path, _ in asked)


def test_tasks_that_change_at_once_are_all_seen(airflow_database: AirflowDatabase, reader: ApiReader, asked: list[Any]) -> None:
    from airflow.models.taskinstance import TaskInstance

    airflow_database.run()
    for task_id in ("load", "after"):
        airflow_database.task(task_id, "running")
    reader.load_runs([KEY])
    since = datetime.now(UTC)
    airflow_database.set(TaskInstance, {}, state="failed", updated_at=since + MINUTE)
    asked.clear()
    reader.runs_with_changed_tasks(["sales"], since)

    assert {attempt.state for attempt in reader.load_runs([KEY])[KEY].tries} == {"failed"}
    assert not any(path.endswith("/dagRuns/b1/taskInstances") for path, _ in asked)


def test_what_a_person_did_to_several_runs_makes_each_be_read_anew(airflow_database: AirflowDatabase, reader: ApiReader) -> None:
    airflow_database.run()
    airflow_database.run("b2")
    reader.load_runs([KEY, OTHER])
    since = datetime.now(UTC)
    runs = [{"dag_id": "sales", "dag_run_id": run_id, "state": "failed"} for run_id in ("b1", "b2")]
    several = {"actions": [{"action": "update", "entities": runs}]}
    airflow_database.acts("bulk_dag_runs", since + MINUTE, run_id=None, extra=several)

    assert reader.runs_with_changed_tasks(["sales"], since) == {KEY, OTHER}
    assert [act.state for act in reader.load_runs([OTHER])[OTHER].acts] == ["failed"]


def test_parents_are_the_latest_versions() -> None:
    server = Server()
    tasks = [("load", ["model", "check"]), ("model", ["check"]), ("check", [])]
    answer = {"tasks": [{"task_id": task_id, "downstream_task_ids": children} for task_id, children in tasks]}
    gone = {"detail": "Dag with id gone was not found"}
    server.answer = lambda path, _query: (200, answer) if path == "/api/v2/dags/sales/tasks" else (404, gone)
    reader = ApiReader(AirflowApi(AirflowApiSettings(server.address, secret="token")))
    try:
        assert reader.parents_of_run(KEY) == {"load": set(), "model": {"load"}, "check": {"load", "model"}}
        assert reader.parents_of_run(("gone", "b1")) == {}
    finally:
        server.close()


def test_rows_that_change_while_they_are_listed_are_read_by_cursor(
    airflow_database: AirflowDatabase, reader: ApiReader, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    airflow_database.run()
    reader.changed_runs(["sales"], datetime.now(UTC))
    reader.runs_with_changed_tasks(["sales"], AT)
    reader.load_runs([KEY])

    lists = [(path, where) for path, where in asked if path.endswith(("/dagRuns", "/taskInstances"))]
    assert {path for path, _ in lists} == {
        "dags/~/dagRuns",
        "dags/~/dagRuns/~/taskInstances",
        "dags/sales/dagRuns/b1/taskInstances",
    }
    assert all("cursor" in where for _, where in lists)


def test_of_the_audit_log_only_what_is_needed_is_asked_for(
    airflow_database: AirflowDatabase, reader: ApiReader, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    """It has an entry for each step of each task, and nobody else tells what people did."""
    airflow_database.run()
    reader.acts_on_runs("sales", ["b1"], AT)
    assert [(where.get("run_id"), where["included_events"]) for _, where in asked] == [
        ("b1", sorted(audit_log.PERSON_EVENTS)),
        (None, sorted(audit_log.WITHOUT_RUN)),
    ]
    assert {where["after"] for _, where in asked} == {AT.isoformat()}

    asked.clear()
    reader.load_runs([KEY])
    reader.runs_with_changed_tasks(["sales"], AT)
    logs = [where for path, where in asked if path == "eventLogs"]
    assert len(logs) == 3
    assert all(where["included_events"] and where["after"] for where in logs)
    # Page after page by offset: what comes meanwhile has to stand at the end.
    assert {where["order_by"] for where in logs} == {"event_log_id"}


def test_of_an_act_it_is_told_which_tasks_changed_later(airflow_database: AirflowDatabase, reader: ApiReader) -> None:
    airflow_database.run(state="failed", end_date=AT + 9 * MINUTE)
    for task_id, minutes in (("before", 4), ("after", 6)):
        airflow_database.task(task_id, "failed", end_date=AT + MINUTE, updated_at=AT + minutes * MINUTE)
    airflow_database.acts("patch_dag_run", AT + 5 * MINUTE, extra={"state": "failed"})

    tries = {attempt.task_id: attempt.updated_at for attempt in reader.load_runs([KEY])[KEY].tries}
    assert (tries["before"], tries["after"]) == (AT + MINUTE, AT + 5 * MINUTE)


def test_earlier_tries_are_read_once(
    airflow_database: AirflowDatabase, reader: ApiReader, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    from airflow.models.taskinstance import TaskInstance

    airflow_database.run()
    airflow_database.history("load", "failed", 1)
    airflow_database.task("load", "running", 2)
    reader.load_runs([KEY])
    since = datetime.now(UTC)
    airflow_database.set(TaskInstance, {"task_id": "load"}, state="success", end_date=AT)
    airflow_database.task("next", "running")
    asked.clear()

    assert reader.runs_with_changed_tasks(["sales"], since) == {KEY}
    assert not any(path.endswith("/tries") for path, _ in asked)
    tries = [(one.task_id, one.try_number, one.state) for one in reader.load_runs([KEY])[KEY].tries]
    assert tries[:2] == [("load", 1, "failed"), ("load", 2, "success")]


def test_what_a_task_keeps_is_read_in_one_call(
    airflow_database: AirflowDatabase, reader: ApiReader, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    airflow_database.run()
    airflow_database.task("load", "failed")
    reader.load_runs([KEY])
    assert [path for path, _ in asked if "/load/state-store" in path] == ["dags/sales/dagRuns/b1/taskInstances/load/state-store"]


def test_a_workflow_that_is_no_dag_has_no_runs() -> None:
    server = Server()
    server.answer = lambda path, _query: (404, {"detail": "no DAG"}) if "/no_dag/" in path else (200, {"dag_runs": []})
    reader = ApiReader(AirflowApi(AirflowApiSettings(server.address, secret="token")))
    assert reader.changed_runs(["a_dag", "no_dag"], AT) == set()
    assert [path for _, path, *_ in server.asked] == [
        "/api/v2/dags/a_dag/dagRuns",
        "/api/v2/dags/no_dag/dagRuns",
        "/api/v2/dags/~/dagRuns",
    ]
    server.close()


def test_the_api_is_asked_more_sparingly_than_the_database(airflow_api: AirflowApi) -> None:
    api, database = api_source(airflow_api, {"known"}), database_source()
    assert api.idle is not None
    # A search and the pause after it: the search has a fifth of the time.
    assert 1 / (1 + api.search_pause) == 0.2
    assert (api.sweep, api.swept < database.swept) == (3600.0, True)  # what is recent is looked at once an hour
    with api.open() as state:
        assert isinstance(state, ApiReader)
        assert state.workflow_ids() == ["known"]


def test_a_dag_is_a_workflow_by_the_tables_by_a_batch_or_by_what_was_seen(
    airflow_database: AirflowDatabase, airflow_api: AirflowApi
) -> None:
    from airflow.models.taskinstance import TaskInstance

    with write_session() as session:
        replace_workflows(session, DefinitionRows(workflows=[{"workflow_id": "in_tables"}]))
    open_batch("load")
    airflow_database.run(dag_id="by_hand")
    airflow_database.run(dag_id="none")
    airflow_database.set(TaskInstance, {"dag_id": "none"}, operator="EmptyOperator")
    reader = ApiReader(airflow_api)
    assert reader.workflow_ids() == ["in_tables", "sales"]

    reader.runs_with_changed_tasks([], AT)
    assert reader.workflow_ids() == ["by_hand", "in_tables", "sales"]
    assert ApiReader(airflow_api, {"known"}).workflow_ids() == ["in_tables", "known", "sales"]


def test_all_batches_are_asked_for_their_workflows_now_and_then(airflow_api: AirflowApi, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ApiReader(airflow_api, {"known"})
    assert reader.workflow_ids() == ["known"]

    open_batch("load")
    with monkeypatch.context() as patch:
        patch.setattr(batches, "workflow_ids", lambda _session: pytest.fail("read again"))
        assert reader.workflow_ids() == ["known"]
    reader._next_look_at_batches = 0.0
    assert reader.workflow_ids() == ["known", "sales"]
