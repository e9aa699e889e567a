"""Good rows to break, a snapshot folder of the test's own, and a database that can be taken away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dag_factory import factory, settling
from tests.dag_factory.chains import chains
from tests.dag_factory.definitions import Rows, good_rows, store
from tests.provider.cli.conftest import accelerator

__all__ = ["accelerator"]


@pytest.fixture
def rows() -> Rows:
    return good_rows()


@pytest.fixture(autouse=True)
def snapshot_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot folder of the test's own, no wish for a certain DAG, and parses that count however soon they come."""
    monkeypatch.setattr(settling, "APART_SECONDS", 0.0)
    # A busy machine takes long to import Google's modules, which a DAG file does before anything else.
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", "300")
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT", "500")
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SNAPSHOT_DIR", str(tmp_path / "snapshot"))
    for variable in ("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "_AIRFLOW_PARSING_CONTEXT_TASK_ID"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "snapshot" / "definitions.json"


@pytest.fixture
def database_down(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def take_down() -> None:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://app:hunter2@127.0.0.1:1/accelerator")

    return take_down


@pytest.fixture
def stored(application_database: str, rows: Rows) -> Rows:
    """Good rows in the tables of each kind of database, built once, so that there is a snapshot."""
    store(rows)
    assert factory.build_all().problems == []
    return rows


@pytest.fixture
def stored_embedded(embedded_database: str, rows: Rows) -> Rows:
    store(rows)
    assert factory.build_all().problems == []
    return rows


@pytest.fixture
def five(application_database: str) -> Rows:
    rows = chains(5)
    store(rows)
    assert factory.build_all().problems == []
    return rows


WHOLE = {f"w{number}": (3, 2) for number in range(5)}
