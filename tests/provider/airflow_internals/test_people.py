"""Who asks, and what Airflow lets this person do."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

from provider.airflow_internals import people
from tests.provider.pages.conftest import Pages, airflow_application, pages  # noqa: F401 - fixtures
from tests.provider.reconciler.conftest import airflow_database, empty_airflow_database  # noqa: F401

pytestmark = pytest.mark.usefixtures("embedded_database")


def person(name: str) -> Any:
    return SimpleAuthManagerUser(username=name, role="VIEWER")


def test_an_auth_manager_is_asked_as_we_ask() -> None:
    assert {"user", "method"} <= set(inspect.signature(BaseAuthManager.get_authorized_dag_ids).parameters)
    assert {"method", "user", "access_entity", "details"} <= set(inspect.signature(BaseAuthManager.is_authorized_dag).parameters)
    assert {"access_view", "user"} <= set(inspect.signature(BaseAuthManager.is_authorized_view).parameters)


def test_the_check_of_a_login_is_a_dependency_that_refuses(pages: Pages) -> None:  # noqa: F811
    assert pages.ask("/accelerator/", None).status_code == 401
    assert pages.ask("/accelerator/", "bob").status_code == 200
    assert "request" in inspect.signature(people.login_check()).parameters


@pytest.mark.usefixtures("pages")
def test_a_person_has_the_name_that_is_logged_in_with() -> None:
    assert people.name_of(person("ann")) == "ann"


@pytest.mark.usefixtures("pages")
def test_readable_dags_are_those_that_the_auth_manager_allows() -> None:
    assert people.readable_dag_ids(person("ann")) == {"daily_sales", "small"}
    assert people.readable_dag_ids(person("bob")) == {"daily_sales"}


@pytest.mark.usefixtures("pages")
def test_every_dag_is_a_right_to_any_name_and_to_each_that_is_there() -> None:
    assert people.may_read_every_dag(person("ann"), frozenset({"daily_sales", "small"}))
    assert not people.may_read_every_dag(person("ann"), frozenset({"small"}))  # the other is another team's
    assert not people.may_read_every_dag(person("bob"), frozenset({"daily_sales", "small"}))


@pytest.mark.usefixtures("pages")
def test_runs_and_plugins() -> None:
    assert [people.may_start_runs(person("ann"), dag_id) for dag_id in ("small", None)] == [True, True]
    assert [people.may_start_runs(person("bob"), dag_id) for dag_id in ("daily_sales", "small", None)] == [True, False, False]
    assert not people.may_start_runs(person("eve"), "daily_sales")
    assert [people.may_see_plugins(person(name)) for name in ("ann", "bob")] == [True, False]
