"""Whole passes over Airflow's REST API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from provider.alerts.raising import Alerting
from provider.hooks.airflow_api import AirflowApi
from provider.reconciler import airflow_api as module
from provider.reconciler.passes import Reconciler
from tests.provider.alerts.alert_world import add_rule, alerts
from tests.provider.reconciler.batch_rows import batch, logs
from tests.provider.reconciler.conftest import AirflowDatabase, source_of

pytestmark = pytest.mark.usefixtures("embedded_database")


@pytest.fixture
def one(airflow_api: AirflowApi) -> Iterator[Reconciler]:
    """A reconciler that leads."""
    leader = Reconciler(source_of(airflow_api))
    yield leader
    leader.release()


@pytest.mark.parametrize("body", ["default backend - 404", '{"detail": "Not Found"}'])
def test_a_404_of_a_proxy_deletes_no_run(
    airflow_database: AirflowDatabase,
    airflow_api: AirflowApi,
    one: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
) -> None:
    airflow_database.run()
    airflow_database.run("b2")
    assert one.tick()
    airflow_database.delete_run("b2")
    monkeypatch.setattr(module, "_WHOLE_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        send, proxy = airflow_api._send, httpx.Response(404, text=body)
        of_run = "dags/sales/dagRuns/b1"
        patch.setattr(airflow_api, "_send", lambda method, path, **more: proxy if path == of_run else send(method, path, **more))
        assert one.tick()
        # The other run is looked at all the same.
        assert (batch().status, batch().end_cause, batch("b2").end_cause) == ("PROCESSING", None, "deleted")
    airflow_database.delete_run("b1")
    assert one.tick()
    assert batch().end_cause == "deleted"


def test_a_failed_batch_is_told_with_its_task_although_tasks_are_searched_later(
    airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

    add_rule("batches", "failure")
    one._alerting = Alerting(("mail", "topic"))
    end = datetime.now(UTC)
    begun = end - timedelta(minutes=2)
    airflow_database.run(run_after=begun, start_date=begun, created_at=begun)
    airflow_database.task("load", "running", end_date=None)
    assert one.tick()
    one._next_task_look = float("inf")
    airflow_database.set(TaskInstance, {"task_id": "load"}, state="failed", end_date=end)
    airflow_database.set(DagRun, {"run_id": "b1"}, state="failed", end_date=end)

    assert one.tick()
    assert (batch().status, logs()[("load", -1, 1)][0]) == ("ERROR", "ERROR")
    one._next_task_look = 0.0
    for _ in range(2):
        assert one.tick()
    assert ["load" in (alert.details["error"] or "") for alert in alerts()] == [True]
