"""Airflow that cannot be seen, by its API or by its database: one fault, told once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator

import psycopg2  # type: ignore[import-untyped]  # it has no types
import pytest
from sqlalchemy.exc import OperationalError

from provider.airflow_view.opening import open_view
from provider.airflow_view.view import DagState
from provider.doctor.airflow_state import airflow_checks
from provider.doctor.examination import State, examine
from provider.exceptions import AcceleratorError, ConfigurationError, UnseenError
from provider.hooks.remote_job import RemoteCallError
from tests.provider.doctor.well_airflow import API, RUNS, Airflow, examined, faults, lead


@pytest.fixture(autouse=True)
def _leader(embedded_database: str) -> None:
    lead()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set at the end, for threads that hang."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize(
    ("error", "state"), [(UnseenError("no way", "Make one."), State.UNKNOWN), (ConfigurationError("no host"), State.ERROR)]
)
def test_an_airflow_that_cannot_be_seen_is_told_once(error: Exception, state: State) -> None:
    def fail() -> Airflow:
        raise error

    found = {one.check: one for one in examine(airflow_checks(fail))}
    assert (found["airflow"].state, found["airflow"].seen) == (state, str(error))
    assert {found[name].state for name in ("scheduler", "triggerer", "dag-processor")} == {State.UNKNOWN}
    assert found["reconciler"].state is State.OK


@pytest.mark.parametrize("setting", ["", "airflow_api"])
def test_the_remedy_is_of_the_way_that_was_tried(airflow: Airflow, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Airflow:
        raise AcceleratorError("it does not answer")

    monkeypatch.setenv(API, setting)
    (found,) = (one for one in examine(airflow_checks(fail)) if one.check == "airflow")
    assert ("airflow_conn_id" in found.remedy, "[database] sql_alchemy_conn" in found.remedy) == (bool(setting), not setting)


@pytest.mark.parametrize("hangs", ["opened", "health", "dag"])
def test_an_airflow_that_hangs_is_told_once(
    airflow: Airflow, hangs: str, monkeypatch: pytest.MonkeyPatch, release: threading.Event
) -> None:
    def opened() -> Airflow:
        if hangs == "opened":
            release.wait()
        else:
            monkeypatch.setattr(airflow, hangs, lambda *_: release.wait())
        return airflow

    monkeypatch.setenv(API, "airflow_api")
    found = {one.check: one for one in examine(airflow_checks(opened, seconds=0.2))}
    assert [name for name, one in found.items() if one.state is State.ERROR] == ["airflow"]
    assert found["airflow"].seen == "no answer within 0.2 seconds"
    unseen = {"clock of the API server", "reconciler DAG"} if hangs == "dag" else {"scheduler", "triggerer", "dag-processor"}
    assert {found[name].state for name in unseen} == {State.UNKNOWN}


def test_an_api_that_tells_its_health_and_nothing_else(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the health needs no right."""

    def refuse(_: str) -> None:
        raise RemoteCallError("Airflow GET dags answered 403.")

    monkeypatch.setenv(API, "airflow_api")
    monkeypatch.setattr(airflow, "dag", refuse)
    found = examined(airflow)
    assert (found["airflow"].state, found["airflow"].seen) == (State.ERROR, "Airflow GET dags answered 403.")
    assert faults(airflow) == {
        "airflow": State.ERROR,
        "clock of the API server": State.UNKNOWN,
        "reconciler DAG": State.UNKNOWN,
    }


def test_one_that_alone_cannot_be_seen(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    def dag(dag_id: str) -> DagState:
        if dag_id == "accelerator_reconciler":
            raise RemoteCallError("Airflow GET dags/accelerator_reconciler answered 403.")
        return RUNS

    monkeypatch.setenv(API, "airflow_api")
    monkeypatch.setattr(airflow, "dag", dag)
    assert faults(airflow) == {"reconciler DAG": State.ERROR}
    assert "answered 403" in examined(airflow)["reconciler DAG"].seen


@pytest.mark.parametrize(
    ("cause", "raised", "says"),
    [
        (psycopg2.OperationalError("connection refused"), AcceleratorError, "^Airflow's database does not answer .Opera"),
        (
            sqlite3.OperationalError("no such table: dag"),
            UnseenError,
            "no Airflow database here .OperationalError: no such t",
        ),
    ],
)
def test_a_server_that_is_away_is_another_thing_than_no_database(
    cause: Exception, raised: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from provider.airflow_internals import database

    def away(**_: object) -> None:
        raise OperationalError("SELECT", {}, cause)

    monkeypatch.setattr(database, "create_session", away)
    with pytest.raises(raised, match=says):
        open_view()
