"""Airflow's real API server in this process, with the plugin as Airflow loads it, and people with few rights."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from provider.metadata import engine
from provider.pages import definitions
from provider.pages.checked import Checks
from tests.provider.reconciler.api_world import serve_tables_of
from tests.provider.reconciler.conftest import (  # noqa: F401 - Airflow's own tables
    AirflowDatabase,
    airflow_database,
    empty_airflow_database,
)

MANAGER = "tests.provider.pages.small_auth_manager.SmallAuthManager"


class Pages:
    """
    The pages below Airflow's own application.

    :param client: Starlette's client of the whole API server.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    def ask(self, path: str, person: str | None = "ann", method: str = "GET", **options: Any) -> Any:
        """Send a request with somebody's cookie, as the browser does; None for nobody's."""
        cookies = {} if person is None else {"_token": token(person)}
        self.client.cookies = cookies
        return self.client.request(method, path, **options)

    def json(self, route: str, person: str = "ann", **parameters: Any) -> Any:
        """Return what one of our routes answers to somebody."""
        response = self.ask(f"/accelerator/api/{route}", person, params=parameters)
        assert response.status_code == 200, response.text
        return response.json()


def token(person: str) -> str:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=person, role="VIEWER"))


#: How Airflow is told which auth manager it has. Other tests of the same process have Airflow's own, so these hold for a test.
SETTINGS = {
    "AIRFLOW__CORE__AUTH_MANAGER": MANAGER,
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # no passwords are written
    "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
}


@pytest.fixture(scope="session")
def airflow_application() -> tuple[Any, Any]:
    """Airflow's application and its auth manager, made once: it reads its database and its settings when it is asked."""
    from airflow.api_fastapi import app as airflow_app

    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setattr(airflow_app._AuthManagerState, "instance", None)
        application = airflow_app.create_app(apps="core")
        manager = airflow_app.get_auth_manager()
    # The middleware that lets everybody in is not what is tried here.
    application.user_middleware = [one for one in application.user_middleware if "AllAdmin" not in str(one)]
    return application, manager


@pytest.fixture
def pages(
    airflow_application: tuple[Any, Any],
    airflow_database: AirflowDatabase,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pages]:
    """The pages, over an Airflow that knows the DAGs ``daily_sales`` and ``small``."""
    from airflow.api_fastapi.app import _AuthManagerState
    from starlette.testclient import TestClient

    application, manager = airflow_application
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_AuthManagerState, "instance", manager)
    serve_tables_of(airflow_database.engine, monkeypatch)
    for dag_id in ("daily_sales", "small"):
        airflow_database.run("a_run", dag_id=dag_id)
    monkeypatch.setattr(definitions, "_checks", Checks())
    kept = engine._keeps_connections
    yield Pages(TestClient(application, raise_server_exceptions=False))
    engine._keeps_connections = kept
    engine.dispose_engines()
