from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError

from provider.batch_ids import TEMPORARY_RUN_PREFIX
from provider.metadata import batches
from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import dispose_engines, read_session, write_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import TaskBatch, TaskLog
from provider.operators.condition import Condition
from provider.operators.task_batch import OUTAGE_PAUSE, ScopeGuard, StartBatchOperator
from tests.provider.run_conf_cases import EDGES, WRONG_WISHES

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
AWAY = "postgresql://nobody@/nothing?host=/nonexistent"


class TestOutage:
    def test_start_batch_waits_without_a_worker_and_says_for_what(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", AWAY)
        for first_wait in (None, datetime.now(UTC) - timedelta(hours=11)):
            before = datetime.now(UTC)
            with caplog.at_level("WARNING"), pytest.raises(AirflowRescheduleException) as put_off:
                start(first_wait=first_wait)
            assert before + OUTAGE_PAUSE <= put_off.value.reschedule_date <= datetime.now(UTC) + OUTAGE_PAUSE
            assert "Waiting for the application database since" in caplog.text

    def test_it_does_not_wait_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", AWAY)
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__OUTAGE_WAIT_HOURS", "0.5")
        with pytest.raises(AirflowException, match="could not be written to the application database") as outage:
            start(first_wait=datetime.now(UTC) - timedelta(minutes=31))
        assert not isinstance(outage.value, AirflowRescheduleException)

    @pytest.mark.parametrize("revision", ["0002", "9999"])
    def test_it_waits_while_people_upgrade_or_go_back(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, revision: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", postgres_url)
        with write_session() as session:
            session.execute(text(f"UPDATE accelerator_alembic_version SET version_num = '{revision}'"))
        dispose_engines()
        with caplog.at_level("WARNING"), pytest.raises(AirflowRescheduleException):
            start()
        assert f"the application database has schema {revision}" in caplog.text
        with pytest.raises(AirflowException, match="could not be written to the application database: the application database"):
            start(first_wait=datetime.now(UTC) - timedelta(hours=13))

    @pytest.mark.usefixtures("application_database")
    def test_what_waiting_cannot_mend_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken_query(*_: Any, **__: Any) -> None:
            raise ProgrammingError("SELECT scope", {}, Exception("no such column"))

        monkeypatch.setattr(batches, "open_batch", broken_query)
        with pytest.raises(AirflowException, match="could not be written to the application database") as broken:
            start()
        assert not isinstance(broken.value, AirflowRescheduleException)


class FakeTaskInstance:
    """What a RuntimeTaskInstance offers to an operator, without a supervisor."""

    def __init__(self, task_id: str = "refresh", xcoms: dict[str, Any] | None = None, **attributes: Any) -> None:
        self.task_id, self.dag_id, self.run_id = task_id, "daily_sales", "b1"
        self.xcoms = {} if xcoms is None else xcoms
        self.task = SimpleNamespace(upstream_task_ids={"start_batch", *(p for p, c in EDGES.items() if task_id in c)})
        self.states: dict[str, str] = {}
        self.asked = 0
        self.first_wait: datetime | None = None
        vars(self).update(attributes)

    def get_first_reschedule_date(self, _context: Any) -> datetime | None:
        return self.first_wait

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == ("start_batch", -1)
        self.asked += 1
        return self.xcoms.get(key)

    def get_task_states(self, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, dict[str, str]]:
        assert (dag_id, run_ids) == ("daily_sales", [self.run_id])
        known = tuple(f"{task_id}_" for task_id in task_ids)
        found = {name: state for name, state in self.states.items() if name in task_ids or name.startswith(known)}
        return {self.run_id: found} if found else {}


def dag_run(conf: dict[str, Any] | None = None, **attributes: Any) -> SimpleNamespace:
    given = {"run_id": "b1", "conf": conf, "run_type": "manual", "triggering_user_name": "eve", "run_after": AT}
    return SimpleNamespace(**{**given, **attributes})


def start(
    conf: dict[str, Any] | None = None, params: dict[str, Any] | None = None, first_wait: datetime | None = None, **run: Any
) -> tuple[FakeTaskInstance, set[Any]]:
    """Execute start_batch; return its task instance and what it skipped."""
    with DAG("daily_sales", schedule=None):
        operator = StartBatchOperator(task_id="start_batch", edges=EDGES)
    ti = FakeTaskInstance("start_batch", first_wait=first_wait)
    context: Any = {"dag_run": dag_run(conf, **run), "params": params or {}, "ti": ti}
    try:
        StartBatchOperator.execute.__wrapped__(operator, context)  # type: ignore[attr-defined]
    except DownstreamTasksSkipped as skip:
        return ti, set(skip.tasks)
    return ti, set()


def define(**enabled: bool) -> None:
    tasks = [{"task_id": name, "workflow_id": "daily_sales", "task_type": "noop", "enabled": on} for name, on in enabled.items()]
    with write_session() as session:
        replace_workflows(session, DefinitionRows([{"workflow_id": "daily_sales"}], tasks, []))


def logs() -> dict[str, str]:
    with read_session() as session:
        return {log.task_id: log.status for log in session.query(TaskLog)}


@pytest.mark.usefixtures("application_database")
class TestStartBatch:
    @pytest.mark.parametrize("run_type", ["operator_triggered", "manual"])
    def test_a_whole_run_skips_nothing_and_opens_every_task(self, run_type: str) -> None:
        """Of a message: started by the dispatcher's task, or by Airflow's REST API."""
        origin = {"request_id": 1, "message_id": "m1", "workflow_id": "daily_sales", "batch_id": "b1"}
        ti, skipped = start({"_accelerator": origin, "country": "DE"}, {"country": "DE"}, run_type=run_type)
        assert skipped == set()
        assert ti.xcoms == {"scope": {"task_ids": None, "disabled": []}}
        assert logs() == dict.fromkeys(EDGES, "NEW")
        with read_session() as session:
            batch = session.get(TaskBatch, ("daily_sales", "b1"))
            assert batch is not None
            assert (batch.source, batch.message_id, batch.params, batch.scope) == ("message", "m1", {"country": "DE"}, "workflow")

    def test_what_is_out_of_scope_is_skipped_and_has_no_row(self) -> None:
        ti, skipped = start({"start_task_id": ["refresh"]})
        assert skipped == {"stg_orders", "stg_customers", "archive"}
        assert ti.xcoms["scope"]["task_ids"] == ["mail", "refresh"]
        assert logs() == {"mail": "NEW", "refresh": "NEW"}

    def test_a_disabled_task_is_skipped_and_a_task_that_no_table_knows_is_enabled(self) -> None:
        define(archive=False, mail=True, elsewhere=False)
        ti, skipped = start()
        assert skipped == {"archive"}
        assert ti.xcoms["scope"] == {"task_ids": None, "disabled": ["archive"]}
        assert logs() == {**dict.fromkeys(EDGES, "NEW"), "archive": "SKIPPED"}

    def test_a_repeat_keeps_the_stored_scope(self) -> None:
        start({"start_task_id": "mail"})
        assert start({"start_task_id": "archive"})[0].xcoms["scope"]["task_ids"] == ["mail"]

    def test_another_run_with_the_id_of_a_deleted_one_has_its_own_scope_and_rows(self) -> None:
        start({"start_task_id": "mail", "country": "DE"}, {"country": "DE"})
        again = start({"start_task_id": "archive"}, {"country": "AT"}, run_after=AT + timedelta(hours=1))
        assert again[0].xcoms["scope"]["task_ids"] == ["archive"]
        assert logs() == {"archive": "NEW"}
        with read_session() as session:
            batch = session.get(TaskBatch, ("daily_sales", "b1"))
            assert batch is not None
            assert (batch.scope_task_ids, batch.params) == (["archive"], {"country": "AT"})

    def test_params_of_the_form_count_where_conf_is_silent(self) -> None:
        assert start(None, {"start_task_id": ["mail"], "scope": None, "country": "DE"})[0].xcoms["scope"]["task_ids"] == ["mail"]
        with read_session() as session:
            batch = session.get(TaskBatch, ("daily_sales", "b1"))
            assert batch is not None
            assert (batch.params, batch.source, batch.message_id) == ({"country": "DE"}, "manual", None)

    def test_secrets_in_params_are_not_stored(self) -> None:
        start(None, {"api_password": "hunter2", "nested": {"token": "abc", "n": 1}})
        with read_session() as session:
            batch = session.get(TaskBatch, ("daily_sales", "b1"))
            assert batch is not None
            assert batch.params == {"api_password": "***", "nested": {"token": "***", "n": 1}}

    @pytest.mark.parametrize(("wish", "text"), WRONG_WISHES)
    def test_a_wrong_wish_fails_for_good(self, wish: dict[str, Any], text: str) -> None:
        with pytest.raises(AirflowFailException, match=text):
            start(wish)
        assert logs() == {}

    @pytest.mark.parametrize("value", ["x", 1, ["m"], {}, {"message_id": 7}, {"message_id": ""}, {"message_id": "m" * 251}])
    def test_a_forged_request_is_refused(self, value: Any) -> None:
        value = {**value, "workflow_id": "daily_sales", "batch_id": "b1"} if isinstance(value, dict) else value
        with pytest.raises(AirflowFailException, match="belongs to the dispatcher"):
            start({"_accelerator": value})
        assert logs() == {}

    @pytest.mark.parametrize("place", [{"batch_id": "b0"}, {"workflow_id": "monthly_sales"}, {"batch_id": None}])
    def test_the_request_of_another_run_is_refused(self, place: dict[str, Any]) -> None:
        """A person starts a run with the conf of one that a message started."""
        copied = {"request_id": 1, "message_id": "m1", "completed_task_id": "stg_orders", "workflow_id": "daily_sales"}
        with pytest.raises(AirflowFailException, match="belongs to the dispatcher"):
            start({"_accelerator": {**copied, "batch_id": "b1", **place}})
        assert logs() == {}

    def test_dags_test_is_recognised(self) -> None:
        start(triggering_user_name="dag_test")
        with read_session() as session:
            batch = session.get(TaskBatch, ("daily_sales", "b1"))
            assert batch is not None
            assert batch.source == "test"

    def test_tasks_test_leaves_no_batch_behind(self) -> None:
        ti, _skipped = start(run_id="__airflow_temporary_run_2026-01-01__")
        assert ti.xcoms["scope"] == {"task_ids": None, "disabled": []}
        assert logs() == {}
        with read_session() as session:
            assert session.scalar(select(func.count()).select_from(TaskBatch)) == 0


def test_an_unreachable_database_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://me:hunter2@127.0.0.1:1/x")
    with pytest.raises(AirflowException, match="sql_alchemy_conn, then clear start_batch") as failed:
        start(first_wait=AT)
    assert not isinstance(failed.value, AirflowFailException)
    assert "hunter2" not in str(failed.value)


@pytest.mark.usefixtures("embedded_database")
def test_an_sqlite_file_is_refused_where_tasks_run_on_several_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    with pytest.raises(AirflowFailException, match="sql_alchemy_conn"):
        start()


@pytest.mark.usefixtures("embedded_database")
def test_instances_of_literal_maps_are_skipped_by_index() -> None:
    with DAG("daily_sales", schedule=None):
        operator = StartBatchOperator(task_id="start_batch", edges={"a": [], "b": [], "c": []})
        PythonOperator(task_id="a", python_callable=print)
        PythonOperator.partial(task_id="b", python_callable=print).expand(op_args=[["x"], ["y"]])
        PythonOperator.partial(task_id="c", python_callable=print).expand_kwargs([{"op_args": ["x"]}])
    context: Any = {"dag_run": dag_run({"start_task_id": "a"}), "params": {}, "ti": FakeTaskInstance("start_batch")}
    with pytest.raises(DownstreamTasksSkipped) as skip:
        StartBatchOperator.execute.__wrapped__(operator, context)  # type: ignore[attr-defined]
    assert skip.value.tasks == ["b", ("b", 0), ("b", 1), "c", ("c", 0)]


class TestScopeGuard:
    WHOLE: ClassVar[dict[str, Any]] = {"scope": {"task_ids": None, "disabled": []}}

    def test_a_task_that_somebody_tests_runs(self) -> None:
        """``airflow tasks test`` runs it alone, without ``start_batch``."""
        ti = FakeTaskInstance(run_id=f"{TEMPORARY_RUN_PREFIX}2026-01-01__")
        ScopeGuard()({"ti": ti})  # type: ignore[typeddict-item]

    def test_a_task_in_scope_runs(self) -> None:
        ti = FakeTaskInstance(xcoms=self.WHOLE, states={"stg_orders": "success", "stg_customers": "success"})
        ScopeGuard()({"ti": ti})  # type: ignore[typeddict-item]

    @pytest.mark.parametrize(
        ("scope", "reason"),
        [
            ({"task_ids": ["mail"], "disabled": []}, "out of scope of this batch"),
            ({"task_ids": ["refresh"], "disabled": ["refresh"]}, "the task is disabled"),
        ],
    )
    @pytest.mark.parametrize("on_parent_skip", ["skip", "run"])
    def test_a_task_that_does_not_belong_to_the_batch_skips_itself(self, scope: Any, reason: str, on_parent_skip: Any) -> None:
        ti = FakeTaskInstance(xcoms={"scope": scope})
        with pytest.raises(AirflowSkipException, match=reason):
            ScopeGuard(on_parent_skip)({"ti": ti})  # type: ignore[typeddict-item]
        assert ti.task.skip_reason == reason

    @pytest.mark.parametrize("states", [{"stg_orders": "skipped"}, {"stg_orders_0": "success", "stg_orders_1": "skipped"}])
    def test_a_skipped_parent_skips_its_child(self, states: dict[str, str]) -> None:
        ti = FakeTaskInstance(xcoms=self.WHOLE, states={**states, "stg_customers": "success"})
        with pytest.raises(AirflowSkipException, match="parent skipped: stg_orders$"):
            ScopeGuard()({"ti": ti})  # type: ignore[typeddict-item]

    def test_unless_the_task_wants_to_run_anyway(self) -> None:
        ti = FakeTaskInstance(xcoms=self.WHOLE, states={"stg_orders": "skipped", "stg_customers": "skipped"})
        ScopeGuard("run")({"ti": ti})  # type: ignore[typeddict-item]

    def test_a_condition_that_does_not_hold_skips_the_task_after_its_parents_were_looked_at(self) -> None:
        guard = ScopeGuard("skip", Condition("params.days > 3", "params.days > 3"))
        ti = FakeTaskInstance(xcoms=self.WHOLE, states={"stg_orders": "success", "stg_customers": "success"})
        dag: Any = DAG("daily_sales", schedule=None)
        guard({"ti": ti, "dag": dag, "params": {"days": 4}})  # type: ignore[typeddict-item]
        for days, says in ((3, "run_if does not hold: params.days > 3"), ("none", None)):
            with pytest.raises(AirflowSkipException if says else AirflowFailException, match=says):
                guard({"ti": ti, "dag": dag, "params": {"days": days}})  # type: ignore[typeddict-item]
        behind = FakeTaskInstance(xcoms=self.WHOLE, states={"stg_orders": "skipped", "stg_customers": "success"})
        with pytest.raises(AirflowSkipException, match="parent skipped"):
            guard({"ti": behind, "dag": dag, "params": {"days": "none"}})  # type: ignore[typeddict-item]

    def test_a_parent_that_is_out_of_scope_does_not_count(self) -> None:
        scope = {"scope": {"task_ids": ["stg_customers", "refresh"], "disabled": []}}
        ti = FakeTaskInstance(xcoms=scope, states={"stg_orders": "skipped", "stg_customers": "success"})
        ScopeGuard()({"ti": ti})  # type: ignore[typeddict-item]

    def test_a_task_that_comes_back_from_a_deferral_is_not_asked_again(self) -> None:
        ti = FakeTaskInstance(_ti_context_from_server=SimpleNamespace(next_method="execute_complete"))
        ScopeGuard()({"ti": ti})  # type: ignore[typeddict-item]
        assert ti.asked == 0

    @pytest.mark.usefixtures("application_database")
    def test_while_start_batch_runs_again_the_scope_is_read_where_it_is_stored(self) -> None:
        """Cleared with it, a task whose parents were not may be as fast, and start_batch's XCom is gone then."""
        define(mail=True, refresh=False)
        start({"start_task_id": ["stg_orders", "mail"], "scope": "task"})
        ScopeGuard()({"ti": FakeTaskInstance("mail"), "dag_run": dag_run()})  # type: ignore[typeddict-item]
        with pytest.raises(AirflowSkipException, match="out of scope"):
            ScopeGuard()({"ti": FakeTaskInstance("archive"), "dag_run": dag_run()})  # type: ignore[typeddict-item]
        start({"start_task_id": "stg_orders"}, run_id="b2")
        with pytest.raises(AirflowSkipException, match="the task is disabled"):
            ScopeGuard()({"ti": FakeTaskInstance("refresh", run_id="b2"), "dag_run": dag_run()})  # type: ignore[typeddict-item]

    def test_and_where_that_cannot_be_read_a_retry_may_help(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://nobody@/nothing?host=/nonexistent")
        with pytest.raises(AirflowException, match="scope of batch b1 of daily_sales could not be read") as outage:
            ScopeGuard()({"ti": FakeTaskInstance(), "dag_run": dag_run()})  # type: ignore[typeddict-item]
        assert not isinstance(outage.value, AirflowFailException)

    @pytest.mark.usefixtures("application_database")
    def test_without_a_stored_scope_it_says_what_to_clear(self) -> None:
        with pytest.raises(AirflowFailException, match="Clear the task start_batch"):
            ScopeGuard()({"ti": FakeTaskInstance(), "dag_run": dag_run()})  # type: ignore[typeddict-item]
