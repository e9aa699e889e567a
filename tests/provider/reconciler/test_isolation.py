"""A run that cannot be read or written keeps no other run back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from provider.reconciler import passes
from provider.reconciler.airflow_api import ApiReader
from provider.reconciler.airflow_database import DatabaseReader
from provider.reconciler.passes import Reconciler
from tests.provider.reconciler.batch_rows import batch
from tests.provider.reconciler.conftest import AirflowDatabase

pytestmark = pytest.mark.usefixtures("application_database")


def broken_for(run_id: str, real: Any) -> Any:
    """Return a function that fails where it is asked about this run."""

    def call(first: Any, *args: Any) -> Any:
        if run_id in str(args[0] if isinstance(first, DatabaseReader | ApiReader) else first):
            raise ValueError("a DAG that nobody can read")
        return real(first, *args)

    return call


def test_one_unreadable_dag_keeps_no_other_workflow_back(
    airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for reader in (DatabaseReader, ApiReader):
        monkeypatch.setattr(reader, "parents_of_run", broken_for("bad", reader.parents_of_run))
    for run_id in ("a", "bad", "z"):
        airflow_database.run(run_id)
        airflow_database.task("t", "upstream_failed", run_id=run_id)
    one.tick()
    one.tick()
    assert (batch("a").status, batch("z").status) == ("PROCESSING", "PROCESSING")
    with pytest.raises(AssertionError):
        batch("bad")
    assert caplog.text.count("The record of run bad of sales cannot be kept; the others go on.") == 1


def test_one_run_that_cannot_be_loaded_keeps_no_other_back_and_is_not_taken_for_deleted(
    airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run_id in ("a", "bad"):
        airflow_database.run(run_id)
    one.tick()
    with monkeypatch.context() as patch:
        patch.setattr(passes, "load", broken_for("bad", passes.load))
        airflow_database.run("z")
        one.tick()
    assert (batch("bad").status, batch("z").status) == ("PROCESSING", "PROCESSING")
    airflow_database.delete_run("bad")
    one.tick()
    assert batch("bad").status == "ERROR"


def test_an_outage_is_no_fault_of_a_run(
    airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("connection refused"))

    airflow_database.run("a")
    monkeypatch.setattr(passes, "load", away)
    with pytest.raises(OperationalError):
        one.tick()
