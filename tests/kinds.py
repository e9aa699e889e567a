"""
What a test needs beside Python, as marks that follow from its fixtures; the rest are unit tests (``make unit``).

A unit test that starts a server all the same fails, so that no test slips in among them unmarked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from demo.airflow_services import AirflowServices
from demo.pinned_environment import PinnedEnvironment
from demo.postgres import PostgresServer

#: Fixture, or the value of a parametrized one → the mark of the tests that use it.
MARK_OF = {
    "postgres": "postgres",
    "postgres_server": "postgres",
    "running_google_servers": "google_servers",
    "connect": "peers",
    "peers": "peers",
}
#: Marks whose tests are no unit tests. ``airflow_services`` stands in the test files themselves.
SERVICES = {"airflow_services", "slow", *MARK_OF.values()}
#: What starts something else than Python, and whoever has to be marked for it.
_STARTERS = (
    (AirflowServices, "cli"),
    (AirflowServices, "start_component"),
    (PinnedEnvironment, "ensure"),
    (PostgresServer, "__enter__"),
    (PostgresServer, "create_database"),
)


@pytest.hookimpl(tryfirst=True)  # before the option -m is applied
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it needs."""
    for item in items:
        for name in {*getattr(item, "fixturenames", ()), *_parameters(item)} & MARK_OF.keys():
            item.add_marker(MARK_OF[name])
        if not any(item.get_closest_marker(mark) for mark in SERVICES):
            item.add_marker("unit")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Let no unit test, nor a fixture that is set up for it, start a server."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("unit"):
            for owner, method in _STARTERS:
                patch.setattr(owner, method, _refuse)
        return (yield)


def _parameters(item: pytest.Item) -> list[str]:
    call = getattr(item, "callspec", None)
    return [value for value in call.params.values() if isinstance(value, str)] if call else []


def _refuse(owner: Any, *_: Any, **__: Any) -> NoReturn:
    raise AssertionError(
        f"This test starts {type(owner).__name__} and counts as a unit test. Take a fixture that tests/kinds.py knows, or give "
        "it one of the marks of pyproject.toml."
    )
