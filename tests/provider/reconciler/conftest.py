"""Airflow's own database for the tests of the reconciler: its real tables, empty, and short ways to fill them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from provider.reconciler import airflow_api as airflow_api_reader
from provider.reconciler.airflow_api import ApiReader, api_source
from provider.reconciler.airflow_database import DatabaseReader
from provider.reconciler.passes import Reconciler
from tests.provider.reconciler.api_world import api_behind, api_server, serve_tables_of

if TYPE_CHECKING:
    from provider.hooks.airflow_api import AirflowApi
    from provider.reconciler.airflow_state import Source

HERE = "tests/provider/reconciler/"
AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)


class AirflowDatabase:
    """Writes what Airflow would have committed."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.engine = engine
        self._next_id = 0

    def insert(self, model: Any, **values: Any) -> None:
        with Session(self.engine) as session, session.begin():
            session.execute(sqlalchemy.insert(model.__table__).values(values))

    def run(self, run_id: str = "b1", state: str | None = "running", dag_id: str = "sales", **values: Any) -> None:
        """Add a run of a workflow, with its ``start_batch``."""
        from airflow.models.dag import DagModel
        from airflow.models.dagrun import DagRun

        with Session(self.engine) as session:
            known = session.scalar(sqlalchemy.select(DagModel.dag_id).where(DagModel.dag_id == dag_id))
        if known is None:
            from airflow.models.dagbundle import DagBundleModel

            with Session(self.engine) as session, session.begin():
                session.merge(DagBundleModel(name="b"))
            counts = {"max_active_tasks": 16, "max_consecutive_failed_dag_runs": 0, "has_task_concurrency_limits": False}
            self.insert(DagModel, dag_id=dag_id, bundle_name="b", fileloc="x.py", **counts)
        defaults = {"run_type": "manual", "run_after": AT, "created_at": AT, "start_date": AT, "updated_at": datetime.now(UTC)}
        row = {**defaults, "conf": {}, "span_status": "x", "clear_number": 0, **values}
        self.insert(DagRun, dag_id=dag_id, run_id=run_id, state=state, **row)
        self.task("start_batch", "success", run_id=run_id, dag_id=dag_id, operator="StartBatchOperator")

    def task(self, task_id: str, state: str | None, try_number: int = 1, **values: Any) -> None:
        from airflow.models.taskinstance import TaskInstance

        self.insert(TaskInstance, **self._task(task_id, state, try_number, values), id=self._id())

    def history(self, task_id: str, state: str | None, try_number: int, **values: Any) -> None:
        from airflow.models.taskinstancehistory import TaskInstanceHistory

        row = self._task(task_id, state, try_number, values)
        self.insert(TaskInstanceHistory, **row, task_instance_id=self._id(), task_display_name=task_id)

    def set(self, model: Any, where: dict[str, Any], **values: Any) -> None:
        """Change rows, stamped as Airflow stamps them."""
        table = model.__table__
        values.setdefault("updated_at", datetime.now(UTC))
        with self.engine.begin() as connection:
            connection.execute(table.update().where(*(table.c[key] == value for key, value in where.items())).values(values))

    def acts(self, event: str, at: datetime, owner: str = "ann", run_id: str | None = "b1", **values: Any) -> None:
        """Add what the API server logs of a person's request; *extra* is its body."""
        from airflow.models.log import Log

        row = {"dag_id": "sales", "extra": json.dumps(values.pop("extra", {})), **values}
        self.insert(Log, run_id=run_id, event=event, dttm=at, owner=owner, **row)

    def delete_run(self, run_id: str) -> None:
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance

        with self.engine.begin() as connection:
            for model in (TaskInstance, DagRun):
                connection.execute(sqlalchemy.delete(model.__table__).where(model.__table__.c.run_id == run_id))

    def _id(self) -> UUID:
        self._next_id += 1
        return UUID(int=self._next_id)

    def _task(self, task_id: str, state: str | None, try_number: int, values: dict[str, Any]) -> dict[str, Any]:
        ended = state in ("success", "failed", "skipped", "upstream_failed", "up_for_retry", "removed")
        defaults: dict[str, Any] = {
            "dag_id": "sales",
            "run_id": "b1",
            "map_index": -1,
            "operator": "PythonOperator",
            "start_date": AT if try_number else None,
            "end_date": AT if ended else None,
            "updated_at": datetime.now(UTC),
            "pool": "default_pool",
            "pool_slots": 1,
            "max_tries": 0,
            "span_status": "x",
        }
        return {**defaults, "task_id": task_id, "state": state, "try_number": try_number, **values}


@pytest.fixture(scope="session")
def empty_airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with Airflow's tables as its models define them."""
    import airflow.models.log
    import airflow.models.task_state_store  # noqa: F401
    from airflow.models import import_all_models
    from airflow.models.base import Base

    import_all_models()
    path = tmp_path_factory.mktemp("airflow") / "airflow.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def airflow_database(empty_airflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowDatabase]:
    """Airflow's database, which ``airflow_session`` opens."""
    from provider.airflow_internals import database

    path = tmp_path / "airflow.db"
    path.write_bytes(empty_airflow_database.read_bytes())
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")

    @contextmanager
    def create_session(scoped: bool = True) -> Iterator[Session]:
        assert not scoped, "the scheduler's scoped session forbids commits while hooks run"
        with Session(engine) as session:
            yield session

    monkeypatch.setattr(database, "create_session", create_session)
    yield AirflowDatabase(engine)
    engine.dispose()


def edges_are(edges: Mapping[str, Collection[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow say this of the parents of tasks."""
    for reader in (DatabaseReader, ApiReader):
        monkeypatch.setattr(reader, "parents_of_run", lambda _reader, _key: edges)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the reader of the API with every application database but one: it reads neither of them."""
    twice = [item for item in items if item.nodeid.startswith(HERE) and "[postgres-api" in item.nodeid]
    config.hook.pytest_deselected(items=twice)
    items[:] = [item for item in items if item not in twice]


@pytest.fixture(scope="session")
def api_client() -> Iterator[Any]:
    """Airflow's API server."""
    with api_server() as client:
        yield client


@pytest.fixture
def airflow_api(airflow_database: AirflowDatabase, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AirflowApi:
    """Airflow's REST API over ``airflow_database``; what is looked at now and then is looked at each time."""
    monkeypatch.setattr(airflow_api_reader, "_OPEN_RUNS_SECONDS", 0.0)
    serve_tables_of(airflow_database.engine, monkeypatch)
    return api_behind(request.getfixturevalue("api_client"))


def source_of(api: AirflowApi) -> Source:
    """Return the API as a source that is searched with each look."""
    return replace(api_source(api, known={"sales"}), search_pause=0.0)


@pytest.fixture(params=["database", "api"])
def one(request: pytest.FixtureRequest, airflow_database: AirflowDatabase) -> Iterator[Reconciler]:
    """A reconciler that leads, with each reader."""
    by_api = request.param == "api"
    leader = Reconciler(source_of(request.getfixturevalue("airflow_api")) if by_api else None)
    yield leader
    leader.release()


def long_ago(airflow_database: AirflowDatabase, reconciler: Reconciler) -> None:
    """Let a run have ended long ago, before the first pass of all."""
    from airflow.models.taskinstance import TaskInstance

    old = datetime.now(UTC) - timedelta(days=30)
    airflow_database.run(state="success", end_date=old, updated_at=old)
    airflow_database.task("a", "success", updated_at=old)
    airflow_database.set(TaskInstance, {"task_id": "start_batch"}, updated_at=old)
    reconciler.tick()
