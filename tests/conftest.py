"""Fixtures that every test may use: an application database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from demo.postgres import PostgresServer
from provider.metadata import engine, schema
from tests import kinds

#: The share of the other files over which those that start an Airflow are spread.
_UNTIL = 0.65
#: Most characters of what a failure says in one line.
_OF_A_FAILURE = 300


def pytest_configure(config: pytest.Config) -> None:
    """Give every run the same surroundings, however it was started."""
    config.pluginmanager.register(kinds)
    os.environ.setdefault("AIRFLOW__CORE__UNIT_TEST_MODE", "False")
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that; tests that press it would wait in vain.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("untimed", deadline=None)  # else an example that takes 200 ms fails
    settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Spread the files that start an Airflow, storms first, over those that do not, and those that wait first.

    So few Airflows run beside each other, and two cores are busy to the end. The last minutes are for short files.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    services = [path for path in files if _has(files[path], "airflow_services")]
    services.sort(key=lambda path: not any("storm" in item.name for item in files[path]))
    others = sorted(files.keys() - set(services), key=lambda path: (not _has(files[path], "slow"), path))
    share = _UNTIL * len(others) / max(1, len(services))
    places = [(number * share, path) for number, path in enumerate(services)]
    places += [(float(number), path) for number, path in enumerate(others, 1)]
    items[:] = [item for _place, path in sorted(places) for item in files[path]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each failure, since what failed with the ends of many logs hides the others."""
    for outcome in ("failed", "error"):
        for report in terminalreporter.getreports(outcome):
            crash = getattr(report.longrepr, "reprcrash", None)
            told = crash.message if crash is not None else str(report.longrepr)
            terminalreporter.write_line(f"{outcome.upper()} {report.nodeid}: {told.partition(chr(10))[0][:_OF_A_FAILURE]}")


def _has(items: list[pytest.Item], mark: str) -> bool:
    return any(item.get_closest_marker(mark) for item in items)


@pytest.fixture(autouse=True)
def secrets_of_one_test() -> Iterator[None]:
    """What a test has Airflow mask is no secret in the next one, in whose texts the same word may stand."""
    before = {masker: (masker.patterns.copy(), masker.replacer) for masker in _secrets_maskers()}
    yield
    for masker in _secrets_maskers():
        masker.patterns, masker.replacer = before.get(masker, (set(), None))


def _secrets_maskers() -> Iterator[Any]:
    """Yield Airflow's and the Task SDK's, as far as they have been imported."""
    for package in ("airflow", "airflow.sdk"):
        if module := sys.modules.get(f"{package}._shared.secrets_masker"):
            yield module._secrets_masker()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    try:
        with PostgresServer() as server:
            yield server
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/accelerator.db"


@pytest.fixture(scope="session")
def postgres_with_schema(postgres_server: PostgresServer) -> str:
    """The name of an empty database with the current schema, of which others are copies: a copy takes a third of the time."""
    name = "current_schema"
    fresh = engine.create_engine(postgres_server.create_database(name))
    schema.upgrade(fresh)
    fresh.dispose()
    return name


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_with_schema: str, request: pytest.FixtureRequest) -> str:
    """An empty database with the current schema."""
    return postgres_server.create_database(f"test_{abs(hash(request.node.nodeid))}_{os.getpid()}", postgres_with_schema)


@pytest.fixture(params=["sqlite", "postgres"])
def application_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The configured application database, once for each kind; the value is its URL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", url)
    yield url
    engine.dispose_engines()


@pytest.fixture
def embedded_database(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The configured application database, SQLite alone, for tests to which the kind does not matter."""
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", sqlite_url)
    yield sqlite_url
    engine.dispose_engines()
