"""An Airflow on PostgreSQL with nothing but an API server, and reconcilers that look at it, each with tables of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import LiteralString, Self

import psutil

from benchmarks import access_log, reconciled_batches
from benchmarks.checkout import REPOSITORY
from benchmarks.processes import cpu_seconds, cpu_seconds_with_children, peak_mib
from benchmarks.reconciled_batches import Batches
from benchmarks.reconciler_passes import Passes
from demo.airflow_services import AirflowServices
from demo.databases import Databases
from demo.postgres import PostgresServer
from provider.cli.dag_file_commands import dag_files

#: Both ways to read Airflow's state.
READERS = ("database", "api")
#: Who the reader of the REST API is.
_READER = "reader"
_SETTLED_SECONDS = 600.0
_LOOK_SECONDS = 0.5
_STOPPED_SECONDS = 60.0

#: How a scheduler looks at runs: so many in each turn of its loop, which come once a second at most.
_EXAMINED, _TURN_SECONDS = 20, 1.0
_EXAMINE = """
    UPDATE dag_run SET last_scheduling_decision = now(), updated_at = now() WHERE id IN
        (SELECT id FROM dag_run WHERE state = 'running' ORDER BY last_scheduling_decision LIMIT %s)
"""


@dataclass(frozen=True)
class Cost:
    """
    What one reconciler took in a minute.

    :param memory_mib: at the end of it.
    :param peak_mib: the most it has ever had.
    """

    cpu_seconds: float
    memory_mib: float
    peak_mib: float


@dataclass(frozen=True)
class Minute:
    """
    What was seen in a window, as if it had been a minute.

    :param costs: reader → its reconciler.
    :param calls: requests that the API server answered.
    :param api_server_cpu_seconds: of the API server.
    """

    costs: dict[str, Cost]
    calls: float
    api_server_cpu_seconds: float


class ReconciledAirflow:
    """
    Context manager around an Airflow that runs nothing but its API server.

    Of two reconcilers with one application database only one would work, so each reader has its own.

    :param folder: gets everything; must not exist.
    """

    def __init__(self, folder: Path, postgres: PostgresServer) -> None:
        databases = Databases.on_postgres("reconciled", postgres)
        self._folder = folder
        self._airflow_url = databases.airflow
        self._applications = {"database": databases.application, "api": postgres.create_database("accelerator_api")}
        self.airflow = AirflowServices(
            folder / "airflow", folder / "dags", databases.environment, components=("api-server",), people={_READER: "VIEWER"}
        )
        self.airflow.set_environment(AIRFLOW_CONN_AIRFLOW_API=self.airflow.api_connection(_READER))
        self._stack = ExitStack()
        self._reconcilers: dict[str, psutil.Popen] = {}

    def __enter__(self) -> Self:
        self.airflow.dags_folder.mkdir()
        for name, content in dag_files(shards=1).items():
            (self.airflow.dags_folder / name).write_bytes(content)
        for url in self._applications.values():
            _store_workflows(url)
        with ExitStack() as stack:
            stack.enter_context(self.airflow)
            self.airflow.cli("dags", "reserialize", check=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def add(self, batches: Batches, readers: Sequence[str] = READERS) -> None:
        """
        Put batches into Airflow's database and the tables of reconcilers.

        :param readers: whose.
        """
        reconciled_batches.add(batches, self._airflow_url, *(self._applications[reader] for reader in readers))

    def remove(self, name: str) -> None:
        """Take the batches whose ids begin like this out of all databases."""
        reconciled_batches.remove(name, self._airflow_url, *self._applications.values())

    @contextmanager
    def reconciled(self) -> Iterator[None]:
        """Run a reconciler with each reader: that of a scheduler, and the command."""
        accelerator = str(Path(sys.executable).with_name("accelerator"))
        with ExitStack() as stack:
            signs, life = os.pipe()
            stack.callback(os.close, signs)
            stack.callback(os.close, life)
            beside = (sys.executable, "-P", "-m", "provider.reconciler.process", str(os.getpid()), str(life))
            stack.enter_context(self._running("database", beside, life))
            stack.enter_context(self._running("api", (accelerator, "reconcile", "--watch", "--reader", "api")))
            yield

    @contextmanager
    def _running(self, reader: str, command: Sequence[str], *kept: int) -> Iterator[None]:
        environment = self._environment(reader)
        with self._log(reader).open("wb") as log:
            process = psutil.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=kept, env=environment)
        self._reconcilers[reader] = process
        try:
            yield
        finally:
            del self._reconcilers[reader]
            process.stdin.close()  # one beside a scheduler ends with its input, after a last pass
            if reader == "api":
                process.terminate()
            process.wait(_STOPPED_SECONDS)

    def settle(self) -> None:
        """
        Wait until each reconciler has seen all that is in the databases now, and had nothing more to read.

        :raises RuntimeError: that takes too long, or one of them has ended.
        """
        now = datetime.now(UTC)
        deadline = time.monotonic() + _SETTLED_SECONDS
        for reader, process in self._reconcilers.items():
            while (current_at := self._current_at(reader)) is None or current_at < now:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"The reconciler ({reader}) is not done:\n{self._log(reader).read_text()[-3000:]}")
                time.sleep(_LOOK_SECONDS)

    def _current_at(self, reader: str) -> datetime | None:
        from provider.metadata.engine import read_session
        from provider.metadata.leader_lock import record_current_at

        with read_session(self._applications[reader]) as session:
            return record_current_at(session)

    @contextmanager
    def examined(self) -> Iterator[None]:
        """Let the runs that are open be looked at as a scheduler does, which stamps each time; wait until each was once."""
        begun, stopping = datetime.now(UTC), Event()
        examining = Thread(target=self._examine, args=(stopping,))
        examining.start()
        try:
            while self._query("SELECT count(*) FROM dag_run WHERE state = 'running' AND updated_at < %s", begun):
                time.sleep(_LOOK_SECONDS)
            yield
        finally:
            stopping.set()
            examining.join()

    def _examine(self, stopping: Event) -> None:
        while not stopping.wait(_TURN_SECONDS):
            self._query(_EXAMINE, _EXAMINED)

    def minute(self, seconds: float) -> Minute:
        """
        Watch for some seconds, and return what was seen as if they had been a minute.

        :raises RuntimeError: a reconciler has ended.
        """
        begun, first = time.monotonic(), self._reading()
        time.sleep(seconds)
        second, took = self._reading(), time.monotonic() - begun
        per_minute = 60 / took
        if ended := [reader for reader, process in self._reconcilers.items() if process.poll() is not None]:
            raise RuntimeError(f"The reconciler ({ended[0]}) has ended:\n{self._log(ended[0]).read_text()[-3000:]}")
        return Minute(
            costs={
                reader: Cost(
                    cpu_seconds=(second.cpu[reader] - first.cpu[reader]) * per_minute,
                    memory_mib=process.memory_info().rss / 2**20,
                    peak_mib=peak_mib(process.pid),
                )
                for reader, process in self._reconcilers.items()
            },
            calls=(second.calls - first.calls) * per_minute,
            api_server_cpu_seconds=(second.api_server_cpu - first.api_server_cpu) * per_minute,
        )

    def _reading(self) -> _Reading:
        api_server = psutil.Process(self.airflow.process("api-server").pid)
        return _Reading(
            cpu={reader: cpu_seconds(process) for reader, process in self._reconcilers.items()},
            calls=self.calls(),
            api_server_cpu=cpu_seconds_with_children(api_server),
        )

    def calls(self) -> int:
        """Return how many requests the API server has answered."""
        return access_log.answered(self.airflow.home / "api-server.log")

    def passes(self, reader: str) -> Passes:
        """
        Make passes with one reader, in a process of its own, over the first reader's tables.

        :raises RuntimeError: that failed.
        """
        asked = (self._postmaster(), self.airflow.process("api-server").pid)
        ended = subprocess.run(  # noqa: S603 - of this package's own making
            [sys.executable, "-m", "benchmarks.reconciler_passes", reader, *map(str, asked)],
            env={**self._environment(READERS[0]), "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(f"Passes of the reconciler ({reader}) failed:\n{ended.stdout}\n{ended.stderr}"[-6000:])
        return Passes(**json.loads(ended.stdout.splitlines()[-1]))

    def _postmaster(self) -> int:
        """Return the id of the process that is above all others of the databases."""
        import psycopg

        with psycopg.connect(self._airflow_url.replace("+psycopg2", "")) as connection:
            return int(psutil.Process(connection.info.backend_pid).ppid())

    def _environment(self, reader: str) -> dict[str, str]:
        return {**self.airflow.environment(), "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": self._applications[reader]}

    def _log(self, reader: str) -> Path:
        return self._folder / f"{reader}.log"

    def _query(self, statement: LiteralString, *parameters: object) -> int:
        """Ask Airflow's database for a number; of a change, return how many rows it was."""
        import psycopg

        with psycopg.connect(self._airflow_url.replace("+psycopg2", "")) as connection:
            cursor = connection.execute(statement, parameters)
            row = cursor.fetchone() if cursor.description else None
            return int(row[0]) if row is not None else cursor.rowcount


@dataclass(frozen=True)
class _Reading:
    """What was counted so far."""

    cpu: dict[str, float]
    calls: int
    api_server_cpu: float


def _store_workflows(url: str) -> None:
    """Make the tables of the application, with the workflows."""
    from provider.metadata.definitions import replace_workflows
    from provider.metadata.engine import create_engine, write_session
    from provider.metadata.schema import upgrade

    engine = create_engine(url)
    upgrade(engine)
    engine.dispose()
    with write_session(url) as session:
        replace_workflows(session, reconciled_batches.definitions())
