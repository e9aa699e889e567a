"""Airflow's own API server in this process, for the reader of the REST API: its real routes over the tables of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.orm import scoped_session, sessionmaker

from provider.hooks.airflow_api import AirflowApi, AirflowApiSettings

SETTINGS = AirflowApiSettings("http://testserver", secret="token")


class AnyDag:
    """Every DAG that is asked for, without tasks: the tables of these tests have runs of DAGs that nobody has stored."""

    def get_dag_for_run(self, dag_run: Any, session: Any) -> Any:
        return self.get_latest_version_of_dag(dag_run.dag_id, session)

    def get_latest_version_of_dag(self, dag_id: str, session: Any) -> Any:
        from airflow.sdk import DAG
        from airflow.serialization.serialized_objects import DagSerialization

        return DagSerialization.from_dict(DagSerialization.to_dict(DAG(dag_id)))


@contextmanager
def api_server() -> Iterator[Any]:
    """Yield what sends requests to Airflow's API server, and gets its answers without a socket. Each is a viewer's."""
    from airflow.api_fastapi.app import create_app
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user
    from starlette.testclient import TestClient

    app = create_app(apps="core")
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="reader", role="VIEWER")
    app.state.dag_bag = AnyDag()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def serve_tables_of(engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow's own sessions be of this engine."""
    import airflow.settings

    sessions = sessionmaker(engine)
    monkeypatch.setattr(airflow.settings, "NonScopedSession", sessions, raising=False)
    monkeypatch.setattr(airflow.settings, "Session", scoped_session(sessions))


def api_behind(client: Any) -> AirflowApi:
    """Return the API that this client reaches."""
    api = AirflowApi(SETTINGS)
    vars(api)["_client"] = client  # where the property keeps what it has made
    return api
