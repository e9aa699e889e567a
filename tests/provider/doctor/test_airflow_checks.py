"""Each fault of Airflow's processes, of our DAGs in it and of the record in turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from provider import messages
from provider.airflow_view.by_api import ApiView
from provider.airflow_view.by_database import DatabaseView
from provider.airflow_view.opening import open_view
from provider.airflow_view.view import TASK_INSTANCE, DagState, NextTry, Waiting
from provider.doctor import airflow_state
from provider.doctor.examination import State
from provider.exceptions import UnseenError
from provider.metadata import inbox
from provider.metadata.engine import write_session
from provider.metadata.leader_lock import LeaderLock
from provider.metadata.tables import BatchRequest, LeaderLease, utc_now
from tests.provider.alerts.alert_world import NOW, add_alert, add_rule
from tests.provider.doctor.well_airflow import API, COMPONENTS, Airflow, examined, faults, lead
from tests.provider.reconciler.api_world import AnyDag

PUBSUB = "AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS"


@pytest.mark.usefixtures("application_database")
class TestAllWell:
    def test_where_the_scheduler_hosts_the_reconciler(self, airflow: Airflow) -> None:
        lead()
        found = examined(airflow)
        assert {one.state for one in found.values()} == {State.OK}
        assert list(found) == [
            "airflow",
            *("scheduler", "triggerer", "dag-processor"),
            "plugin",
            "reconciler",
            "waiting requests",
        ]

    def test_where_a_dag_is_the_reconciler(self, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(API, "airflow_api")
        monkeypatch.setenv(PUBSUB, "projects/p/subscriptions/sub")
        lead()
        found = examined(airflow)
        assert {one.state for one in found.values()} == {State.OK}
        assert {"clock of the API server", "reconciler DAG", "dispatcher DAG"} <= found.keys()


@pytest.mark.usefixtures("application_database")
class TestAlerts:
    @pytest.fixture(autouse=True)
    def _allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__NOTIFIERS", "mail")

    def test_all_are_sent(self, airflow: Airflow) -> None:
        add_rule("good")
        found = examined(airflow)
        assert (found["alerts"].state, found["alerts DAG"].state) == (State.OK, State.OK)
        assert found["alerts"].seen == "1 rule, and no alert that could not be sent"

    def test_a_rule_that_cannot_be_used(self, airflow: Airflow) -> None:
        add_rule("bad", notifier="slack")
        found = examined(airflow)["alerts"]
        assert (found.state, found.seen) == (State.WARNING, "1 rule cannot be used, such as bad")

    def test_without_a_notifier_rules_tell_nobody(self, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AIRFLOW__ACCELERATOR__NOTIFIERS")
        assert "alerts" not in examined(airflow)
        add_rule("good")
        assert examined(airflow)["alerts"].state is State.WARNING

    @pytest.mark.parametrize(
        ("values", "seen"),
        [
            ({"state": "failed"}, "given up: 1 alert; waiting for 0:15:00 or longer: 0 alerts"),
            ({"state": "waiting"}, "given up: 0 alerts; waiting for 0:15:00 or longer: 1 alert"),
        ],
    )
    def test_alerts_that_nobody_got(self, airflow: Airflow, values: dict[str, Any], seen: str) -> None:
        add_rule("good")
        old = NOW - timedelta(hours=1)
        add_alert("e", rule_id="good", happened_at=old, created_at=old, due_at=old, **values)
        found = examined(airflow)["alerts"]
        assert (found.state, found.seen) == (State.WARNING, seen)


@pytest.mark.usefixtures("embedded_database")
class TestProcesses:
    @pytest.fixture(autouse=True)
    def _leader(self, embedded_database: str) -> None:
        lead()

    @pytest.mark.parametrize("name", COMPONENTS)
    def test_one_that_is_dead(self, airflow: Airflow, name: str) -> None:
        airflow.state[name]["status"] = "unhealthy"
        found = examined(airflow)[name.replace("_", "-")]
        assert faults(airflow) == {name.replace("_", "-"): State.ERROR}
        assert found.seen == "not alive, last heartbeat 2026-03-16T04:00:00Z"
        assert f"`airflow {name.replace('_', '-')}`" in found.remedy

    def test_one_that_has_never_run(self, airflow: Airflow) -> None:
        airflow.state["triggerer"] = {"status": None, "latest_triggerer_heartbeat": None}
        assert faults(airflow) == {"triggerer": State.ERROR}
        assert examined(airflow)["triggerer"].seen == "none has ever run"

    def test_one_of_which_nothing_is_told(self, airflow: Airflow) -> None:
        del airflow.state["dag_processor"]
        assert faults(airflow) == {"dag-processor": State.UNKNOWN}

    def test_a_database_that_is_away_is_one_error(self, airflow: Airflow) -> None:
        airflow.state["metadatabase"]["status"] = "unhealthy"
        assert faults(airflow) == {"airflow": State.ERROR, **{name.replace("_", "-"): State.UNKNOWN for name in COMPONENTS}}

    def test_a_clock_that_is_wrong(self, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(API, "airflow_api")
        airflow.ahead = timedelta(seconds=10)
        assert faults(airflow) == {"clock of the API server": State.WARNING}
        airflow.ahead = timedelta(seconds=-60)
        assert faults(airflow) == {"clock of the API server": State.ERROR}


@pytest.mark.usefixtures("embedded_database")
class TestDags:
    @pytest.fixture(autouse=True)
    def _set(self, embedded_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(API, "airflow_api")
        monkeypatch.setenv(PUBSUB, "projects/p/subscriptions/sub")
        lead()

    @pytest.mark.parametrize("name", ["dispatcher", "reconciler"])
    @pytest.mark.parametrize(
        ("dag", "state", "remedy"),
        [
            (None, State.ERROR, "accelerator init"),
            (DagState(paused=False, stale=True, running=0), State.ERROR, "accelerator init"),
            (DagState(paused=True, stale=False, running=1), State.ERROR, "Unpause the DAG"),
            (DagState(paused=False, stale=False, running=0), State.WARNING, "Look at the last run"),
        ],
    )
    def test_one_that_does_not_run(self, airflow: Airflow, name: str, dag: DagState | None, state: State, remedy: str) -> None:
        airflow.dags = {key: value for key, value in airflow.dags.items() if name not in key}
        if dag is not None:
            airflow.dags[f"accelerator_{name}"] = dag
        assert faults(airflow) == {f"{name} DAG": state}
        assert remedy in examined(airflow)[f"{name} DAG"].remedy

    def test_none_is_asked_for_where_none_is_made(self, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(API, "")
        monkeypatch.setenv(PUBSUB, "")
        airflow.dags = {}
        assert faults(airflow) == {}


def change_lease(**values: Any) -> None:
    with write_session() as session:
        session.execute(update(LeaderLease).values(values))


@pytest.mark.usefixtures("application_database")
class TestRecord:
    def test_no_reconciler_has_ever_led(self, airflow: Airflow) -> None:
        assert faults(airflow) == {"plugin": State.UNKNOWN, "reconciler": State.ERROR}
        assert examined(airflow)["reconciler"].remedy.startswith("Start the scheduler")

    def test_the_leader_is_silent(self, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(API, "airflow_api")
        lead()
        change_lease(seen_at=utc_now() - timedelta(minutes=2))
        found = examined(airflow)["reconciler"]
        assert faults(airflow) == {"reconciler": State.ERROR}
        assert "is silent for 0:02:0" in found.seen
        assert found.remedy.startswith("Unpause the DAG accelerator_reconciler")

    def test_the_lead_was_given_up(self, airflow: Airflow) -> None:
        lock = LeaderLock()
        lock.acquire()
        lock.release()
        assert faults(airflow)["reconciler"] is State.ERROR
        assert examined(airflow)["reconciler"].seen == "none leads; the record is not complete yet"

    @pytest.mark.parametrize(
        ("behind", "state"),
        [(None, State.WARNING), (timedelta(minutes=2), State.WARNING), (timedelta(minutes=11), State.ERROR)],
    )
    def test_the_record_is_old(self, airflow: Airflow, behind: timedelta | None, state: State) -> None:
        lead()
        change_lease(current_at=None if behind is None else utc_now() - behind)
        assert faults(airflow) == {"reconciler": state}

    def test_a_request_waits_for_long(self, airflow: Airflow) -> None:
        lead()
        with write_session() as session:
            message = messages.read(b'{"task_id": "a", "batch_id": "b1"}', {}, "1", None)
            inbox.receive(session, "projects/p/subscriptions/sub", [message])
            session.execute(update(BatchRequest).values(state="received"))
        assert faults(airflow) == {}
        with write_session() as session:
            session.execute(update(BatchRequest).values(received_at=utc_now() - timedelta(hours=2)))
        assert faults(airflow) == {"waiting requests": State.WARNING}
        assert "has waited 2:00:0" in examined(airflow)["waiting requests"].seen

    def test_the_plugin_is_not_installed(self, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
        lead()
        monkeypatch.setattr(airflow_state, "_PLUGIN", "another:Plugin")
        assert faults(airflow) == {"plugin": State.ERROR}


class TestViews:
    """The two ways to see Airflow, on its own tables and its own API server."""

    def test_both_see_the_same(self, airflow_database: Any, airflow_api: Any) -> None:
        from airflow.models.dag import DagModel

        for dag_id in ("idle", "runs", "paused"):
            airflow_database.run(dag_id=dag_id, state="running" if dag_id == "runs" else "success")
        with airflow_database.engine.begin() as connection:
            table = DagModel.__table__
            connection.execute(table.update().values(is_paused=table.c.dag_id == "paused", is_stale=False))
        views = ApiView(airflow_api, "airflow_api"), DatabaseView()
        for view in views:
            assert [view.dag(dag_id) for dag_id in ("idle", "runs", "paused", "none")] == [
                DagState(paused=False, stale=False, running=0),
                DagState(paused=False, stale=False, running=1),
                DagState(paused=True, stale=False, running=0),
                None,
            ], view.told
            health = view.health()
            assert health["metadatabase"]["status"] == "healthy"
            assert [health[name]["status"] for name in COMPONENTS] == ["unhealthy", None, None]

    def test_both_see_the_same_tasks_and_pools(self, airflow_database: Any, airflow_api: Any) -> None:
        from airflow.models.pool import Pool

        airflow_database.run(run_id="b1")
        airflow_database.run(run_id="b2", state="queued")
        airflow_database.task("a", "running", pool="small")
        airflow_database.task("b", "scheduled", pool="small")
        airflow_database.task("c", "deferred", pool="small")
        airflow_database.insert(Pool, pool="small", slots=1, include_deferred=False)
        for view in (ApiView(airflow_api, "airflow_api"), DatabaseView()):
            assert [(view.run("sales", name) or {}).get("state") for name in ("b1", "b2", "b3")] == ["running", "queued", None]
            assert view.active_runs("sales") == ["b1"]
            found = {one["task_id"]: one for one in view.task_instances("sales", "b1") if one["task_id"] != "start_batch"}
            assert {name: (one["state"], one["pool"], one["dag_run_id"]) for name, one in found.items()} == {
                "a": ("running", "small", "b1"),
                "b": ("scheduled", "small", "b1"),
                "c": ("deferred", "small", "b1"),
            }, view.told
            assert all(set(TASK_INSTANCE) <= one.keys() for one in found.values())
            pool = view.pool("small")
            assert pool is not None
            assert (pool["slots"], pool["occupied_slots"], pool["include_deferred"]) == (1, 1, False)
            assert view.pool("none") is None
            assert [one["task_id"] for one in view.occupants("small", deferred=False)] == ["a"]
            assert sorted(one["task_id"] for one in view.occupants("small", deferred=True)) == ["a", "c"]
            assert [one["task_id"] for one in view.occupants(None, deferred=False)] == ["a"]
            asked: dict[str, Any] = {"dag_id": "sales", "run_id": "b1", "task_id": "c"}
            assert [one["task_id"] for one in view.occupants(None, deferred=True, **asked)] == ["c"]
            assert not view.occupants(None, deferred=True, **asked | {"run_id": "b2"})
            assert len(view.occupants(None, deferred=True, most=1)) == 1
            assert found["a"]["pool_slots"] == 1

    def test_both_see_the_task_in_the_run_before(self, airflow_database: Any, airflow_api: Any) -> None:
        def at(hour: int) -> dict[str, Any]:
            return {"logical_date": datetime(2026, 3, 16, hour, tzinfo=UTC)}

        airflow_database.run(run_id="s1", run_type="scheduled", **at(1))
        airflow_database.run(run_id="m2", run_type="manual", **at(2))
        airflow_database.run(run_id="s3", run_type="scheduled", **at(3))
        airflow_database.run(run_id="b4", run_type="backfill", **at(4))
        airflow_database.run(run_id="m5", run_type="manual")
        airflow_database.run(run_id="s1", dag_id="other", run_type="scheduled", **at(2))
        airflow_database.task("a", "failed", run_id="s1")
        airflow_database.task("a", None, run_id="m2", map_index=0)
        airflow_database.task("a", "success", run_id="m2", map_index=1)
        airflow_database.task("b", "success", run_id="s1")
        airflow_database.task("c", None, run_id="s3")

        def seen(run_id: str, task_id: str, *, scheduled: bool = False) -> tuple[str, set[str | None]] | None:
            found = view.task_before("sales", run_id, task_id, scheduled=scheduled)
            return None if found is None else (found.run_id, set(found.states))

        for view in (ApiView(airflow_api, "airflow_api"), DatabaseView()):
            assert seen("s3", "a") == ("m2", {None, "success"}), view.told
            assert seen("s3", "a", scheduled=True) == ("s1", {"failed"})
            assert seen("s3", "b") == ("m2", set()), "it was there before"
            assert seen("s3", "c") is None, "it is there for the first time"
            assert [seen(run_id, "a") for run_id in ("s1", "b4", "m5", "none")] == [None] * 4

    def test_both_see_import_errors(self, airflow_database: Any, airflow_api: Any) -> None:
        from airflow.models.dag import DagModel
        from airflow.models.errors import ParseImportError

        for dag_id in ("good", "bad"):
            airflow_database.run(dag_id=dag_id)
            with airflow_database.engine.begin() as connection:
                table = DagModel.__table__
                connection.execute(table.update().where(table.c.dag_id == dag_id).values(relative_fileloc=f"{dag_id}.py"))
        for number, (name, bundle) in enumerate([("bad.py", "b"), ("bad.py", "other"), ("third.py", "b")]):
            error = {"filename": name, "bundle_name": bundle, "stacktrace": f"{bundle} is wrong"}
            airflow_database.insert(ParseImportError, id=number, timestamp=datetime.now(UTC), **error)
        for view in (ApiView(airflow_api, "airflow_api"), DatabaseView()):
            told = {
                dag_id: [(one["filename"], one["stack_trace"]) for one in view.import_errors(dag_id)]
                for dag_id in ("good", "bad")
            }
            assert told == {"good": [], "bad": [("bad.py", "b is wrong")]}, view.told
            # Of a DAG that was never seen, any file may be the one. The API hides an error of another bundle's file of that name.
            assert {"bad.py", "third.py"} == {one["filename"] for one in view.import_errors("none")}

    @pytest.mark.parametrize(("backoff", "minutes", "exact"), [(0, 10, True), (2, 10, False)])
    def test_both_see_when_a_retry_is_due(
        self, airflow_database: Any, airflow_api: Any, monkeypatch: pytest.MonkeyPatch, backoff: float, minutes: int, exact: bool
    ) -> None:
        from airflow.models.dagbag import DBDagBag
        from airflow.providers.standard.operators.empty import EmptyOperator
        from airflow.sdk import DAG
        from airflow.serialization.serialized_objects import DagSerialization

        with DAG("sales", schedule=None) as dag:
            EmptyOperator(task_id="a", retry_delay=timedelta(minutes=minutes), retry_exponential_backoff=backoff)
        stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        monkeypatch.setattr(DBDagBag, "get_dag_for_run", lambda *_, **__: stored)
        monkeypatch.setattr(AnyDag, "get_latest_version_of_dag", lambda *_, **__: stored)
        failed = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
        airflow_database.run(run_id="b1")
        airflow_database.task("a", "up_for_retry", end_date=failed)
        by_api, by_database = (view.next_try("sales", "b1", "a", -1) for view in (ApiView(airflow_api, "c"), DatabaseView()))
        assert by_api == NextTry(failed + timedelta(minutes=minutes), exact)
        assert by_database is not None
        # Airflow draws lots for a pause that grows.
        assert by_database == NextTry(by_api.at, exact=True) if exact else by_database.at > by_api.at
        assert DatabaseView().next_try("sales", "b1", "none", -1) is None
        assert ApiView(airflow_api, "c").next_try("sales", "b1", "none", -1) is None

    def test_its_database_knows_since_when_a_task_puts_itself_off(self, airflow_database: Any, airflow_api: Any) -> None:
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.taskreschedule import TaskReschedule

        airflow_database.run(run_id="b1")
        airflow_database.task("a", "up_for_reschedule")
        at = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
        with airflow_database.engine.connect() as connection:
            table = TaskInstance.__table__
            ti_id = connection.execute(table.select().where(table.c.task_id == "a")).one().id
        for number in range(2):
            begun = at + timedelta(minutes=number)
            times = {"start_date": begun, "end_date": begun, "reschedule_date": begun + timedelta(seconds=15)}
            airflow_database.insert(TaskReschedule, ti_id=ti_id, duration=0, **times)
        assert DatabaseView().waiting("sales", "b1", "a", -1) == Waiting(at, at + timedelta(seconds=75))
        assert DatabaseView().waiting("sales", "b1", "start_batch", -1) is None
        assert ApiView(airflow_api, "airflow_api").waiting("sales", "b1", "a", -1) is None

    def test_the_api_is_taken_where_it_is_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(API, "doctors_api")
        monkeypatch.setenv(
            "AIRFLOW_CONN_DOCTORS_API", '{"conn_type": "airflow_api", "host": "https://a.example", "password": "t"}'
        )
        assert open_view().told == "by its REST API (connection doctors_api)"

    def test_neither_is_at_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from provider.airflow_internals import database

        def blocked(**_: object) -> None:
            raise RuntimeError("no database in a task")

        monkeypatch.setattr(database, "create_session", blocked)
        with pytest.raises(UnseenError, match="no Airflow database here .RuntimeError: no database in a task"):
            open_view()
