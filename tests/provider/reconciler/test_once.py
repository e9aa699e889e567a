"""Reconciling once, and looking without writing, with both readers."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta

import pytest

from provider.cli import reconcile_commands
from provider.exceptions import AcceleratorError, ConfigurationError
from provider.metadata.leader_lock import LeaderLock
from provider.reconciler import once, sources
from provider.reconciler.airflow_state import Source, database_source
from provider.reconciler.once import disagreements, reconcile_once
from tests.provider.reconciler.batch_rows import batch, statuses
from tests.provider.reconciler.conftest import AirflowDatabase, source_of

pytestmark = pytest.mark.usefixtures("application_database")

A_WEEK_AGO = datetime.now(UTC) - timedelta(days=7)


@pytest.fixture(params=["database", "api"])
def source(request: pytest.FixtureRequest, airflow_database: AirflowDatabase, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(once, "_SETTLING_SECONDS", 0.0)
    if request.param == "database":
        return database_source()
    return source_of(request.getfixturevalue("airflow_api"))


def test_what_differs_is_told_and_then_mended(airflow_database: AirflowDatabase, source: Source) -> None:
    airflow_database.run(state="failed", end_date=datetime.now(UTC))
    airflow_database.task("a", "failed")

    found = disagreements(source, A_WEEK_AGO)
    assert [(one.task_id, one.what, one.recorded, one.airflow) for one in found] == [
        (None, "missing", None, "ERROR"),
        ("a", "missing", None, "ERROR"),
        ("start_batch", "missing", None, "SUCCESS"),
    ]
    with pytest.raises(AssertionError):
        batch()  # looking writes nothing

    assert reconcile_once(source, A_WEEK_AGO)
    assert (batch().status, statuses()) == ("ERROR", {("a", -1, 1): "ERROR"})
    assert disagreements(source, A_WEEK_AGO) == []


def test_each_kind_of_difference_is_named(airflow_database: AirflowDatabase, source: Source) -> None:
    from airflow.models.taskinstance import TaskInstance

    airflow_database.run()
    airflow_database.task("a", "running")
    assert reconcile_once(source, A_WEEK_AGO)
    airflow_database.set(TaskInstance, {"task_id": "a"}, state="success", end_date=datetime.now(UTC))
    (changed,) = disagreements(source, A_WEEK_AGO)
    assert (changed.task_id, changed.recorded, changed.airflow) == ("a", "PROCESSING", "SUCCESS")
    assert {"status", "airflow_state", "ended_at"} <= set(changed.what.split(", "))
    airflow_database.delete_run("b1")
    assert [(one.task_id, one.what) for one in disagreements(source, A_WEEK_AGO)] == [(None, "unknown to Airflow")]


def test_another_reconciler_that_leads_is_left_to_its_work(
    airflow_database: AirflowDatabase, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow_database.run()
    monkeypatch.setattr(once, "LEASE_SECONDS", -2.0)
    other = LeaderLock()
    assert other.acquire()
    assert not reconcile_once(source, A_WEEK_AGO)
    other.release()
    assert reconcile_once(source, A_WEEK_AGO)


def command(**options: object) -> argparse.Namespace:
    return argparse.Namespace(**{"since": None, "check": False, "watch": False, "reader": "auto", "output": "table", **options})


def test_the_command(
    airflow_database: AirflowDatabase,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(reconcile_commands, "choose_source", lambda _reader: (source, "what the test has"))
    airflow_database.run(state="success", end_date=datetime.now(UTC))
    capsys.readouterr()
    assert reconcile_commands.reconcile(command(check=True, output="json")) == 1
    told = capsys.readouterr().out
    found = json.loads(told[told.index("[\n") :])  # the API server of this process logs to the same place
    assert [one["task_id"] for one in found] == [None, "start_batch"]
    assert reconcile_commands.reconcile(command(check=True)) == 1
    assert "start_batch" in capsys.readouterr().out
    assert reconcile_commands.reconcile(command()) == 0
    assert "are equal to Airflow's state" in capsys.readouterr().out
    assert reconcile_commands.reconcile(command(check=True)) == 0
    assert "No differences" in capsys.readouterr().out
    with pytest.raises(AcceleratorError, match="give one of them"):
        reconcile_commands.reconcile(command(check=True, watch=True))


class TestChoice:
    def test_airflows_database_where_it_is_reached(self, airflow_database: AirflowDatabase) -> None:
        assert sources.choose_source("auto")[1] == "Airflow's database"

    def test_else_the_api(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def away() -> None:
            raise ConnectionError("no such host")

        monkeypatch.setattr(sources, "_look_into_database", away)
        with pytest.raises(ConfigurationError, match="no such host.*--reader api"):
            sources.choose_source("database")
        with pytest.raises(ConfigurationError, match=r"no Airflow connection airflow_api.*no such host"):
            sources.choose_source("auto")
        connection = {"conn_type": "airflow_api", "host": "https://airflow.example.com", "password": "t"}
        monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))
        assert sources.choose_source("auto")[1] == "Airflow's REST API (connection airflow_api)"
