"""
A real Airflow in a temporary home, for the demo and integration tests: scheduler, dag-processor, triggerer, api-server.

::

    services = AirflowServices(tmp_path / "airflow", dags_folder, {"AIRFLOW__ACCELERATOR__RECONCILE_INTERVAL": "0.5"})
    with services:                                     # db migrate, start, wait until all are healthy; stopped at the end
        services.wait_for_dag("daily_sales")
        services.trigger("daily_sales", "batch_1", conf={"start_task_id": "stg_orders"})
        assert services.wait_for_run("daily_sales", "batch_1") == "success"
        services.rest("PATCH", "/dags/daily_sales", json={"is_paused": True})
        services.kill("scheduler", signal.SIGKILL)     # and services.start_component("scheduler") for a new one
    services.cli("dags", "test", "daily_sales")        # any command, with or without the services

Everybody is an administrator (SimpleAuthManager), Airflow's database is SQLite in the home unless *env* says otherwise, DAGs
are created unpaused, ports are free ones of the loopback interface, and no process outlives :meth:`AirflowServices.stop`.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from demo.airflow_client import AirflowClient
from demo.airflow_users import AirflowUsers

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
"""Component → its ``airflow`` command."""

_HEALTH_KEYS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
_STOP_SECONDS = 15.0
#: Settings that decide which tables Airflow's database has.
_TABLES_DEPEND_ON = ("AIRFLOW__CORE__AUTH_MANAGER", "AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS")
#: Their values → home, database and configuration of the first Airflow that was migrated with them.
_MIGRATED: dict[tuple[str | None, ...], tuple[str, bytes, str]] = {}
#: Longest reading of a DAG file.
_READING_SECONDS = 15.0


class AirflowServices(AirflowClient):
    """
    One Airflow of our own, and its REST API.

    :param home: its ``AIRFLOW_HOME``; created, never shared with anything else.
    :param dags_folder: folder with the DAG files.
    :param env: additional environment, over this class's settings; a value of None removes a variable.
    :param components: which of :data:`COMPONENTS` to start.
    :param people: see :class:`~demo.airflow_users.AirflowUsers`; the first one is who :meth:`rest` asks as.
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        env: Mapping[str, str | None] | None = None,
        *,
        components: tuple[str, ...] = tuple(COMPONENTS),
        people: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home.resolve()
        self.dags_folder = dags_folder.resolve()
        self.port = free_port()
        self._components = components
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self.home.mkdir(parents=True, exist_ok=True)
        super().__init__(f"http://127.0.0.1:{self.port}", AirflowUsers(people or {}, self.home / "passwords.json"))
        self._env = self._environment({**self.users.environment(), **(env or {})})

    def _environment(self, extra: Mapping[str, str | None]) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "_AIRFLOW"))}
        own: dict[str, str | None] = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            # SQLite has one writer at a time. Who waits for it in vain ends, a scheduler too, and by itself it waits for 5 s.
            # Less than the reconciler's overlap: a change is stamped before that wait.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=20",
            # Not the 30 and 50 s of Airflow: tasks import Google's clients with pandas, on a busy machine many at once.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "240",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # see read_again()
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
            "SPT_NOENV": "1",  # setproctitle shall not write over the environment, by which we know our processes
        }
        return {key: value for key, value in {**inherited, **own, **extra}.items() if value is not None}

    def read_again(self, name: str = "workflows.py") -> None:
        """
        Have the dag-processor read a DAG file at once. By itself it reads one that has not changed every ten minutes.

        It reads a file whose time is later than the end of the last reading. One that has just begun may have seen what was
        before, so the time is to be later than its end, too.

        :param name: of the file, in the DAGs folder.
        """
        later = time.time() + _READING_SECONDS
        os.utime(self.dags_folder / name, (later, later))

    def set_environment(self, **values: str) -> None:
        """Change the environment of what is started from now on."""
        self._env |= values

    def environment(self) -> dict[str, str]:
        """Return the environment of every process, for a process of your own that shall belong to this Airflow."""
        return dict(self._env)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # --- processes

    def migrate(self) -> None:
        """
        Create or upgrade Airflow's database; in a new home also its configuration, with a key that all components need.

        A new home on SQLite gets a copy of the first one that this process has migrated: that takes Airflow five seconds.
        """
        database, configuration = self.home / "airflow.db", self.home / "airflow.cfg"
        kind = tuple(self._env.get(name) for name in _TABLES_DEPEND_ON)
        is_new = str(database) in self._env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] and not database.exists()
        if is_new and kind in _MIGRATED:
            home, of_database, of_configuration = _MIGRATED[kind]
            database.write_bytes(of_database)
            configuration.write_text(of_configuration.replace(home, str(self.home)))
            return
        self.cli("db", "migrate", check=True)
        if is_new:
            _MIGRATED[kind] = str(self.home), database.read_bytes(), configuration.read_text()

    def start(self, timeout: float = 240.0) -> None:
        """
        Migrate the database, start all components and wait until they are healthy.

        :param timeout: seconds for all of it to become healthy.
        """
        self.migrate()
        for component in self._components:
            self.start_component(component)
        if "api-server" in self._components:
            self.wait_for(self._all_healthy, timeout, "all components to be healthy")

    def start_component(self, component: str) -> subprocess.Popen[bytes]:
        """Start one component without waiting for it; its output goes to ``<home>/<component>.log``."""
        log = (self.home / f"{component}.log").open("ab")
        self._logs.append(log)
        process = subprocess.Popen(
            [airflow_command(), *COMPONENTS[component]],
            env=self._env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes[component] = process
        return process

    def process(self, component: str) -> subprocess.Popen[bytes]:
        """Return the process that was last started for a component."""
        return self._processes[component]

    def kill(self, component: str, signum: int = signal.SIGKILL, *, children: bool = False) -> None:
        """
        Send a signal to a component; a deadly one is waited for.

        :param children: send it to the processes below it too, as a lost machine would.
        """
        process = self._processes[component]
        below = psutil.Process(process.pid).children(recursive=True) if children else []
        process.send_signal(signum)
        for child in below:
            if child.is_running():
                child.send_signal(signum)
        if signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            process.wait(_STOP_SECONDS * 2)

    def stop(self) -> None:
        """End every process, politely first; also those that a killed component has left behind."""
        self.close()
        end_politely(self._processes.values())
        self._end_leftovers()
        self._processes.clear()
        for log in self._logs:
            log.close()
        self._logs.clear()

    def _end_leftovers(self) -> None:
        """Kill what still runs with our home in its environment: workers set sessions of their own, so groups do not do."""
        end_at_once(self.own_processes())

    def own_processes(self) -> list[psutil.Process]:
        """Return every running process of this Airflow, however it was started."""
        return processes_of(self.home)

    def titled(self, pattern: str) -> list[psutil.Process]:
        """Return our processes whose title matches a regular expression from its beginning on."""
        found = []
        for process in self.own_processes():
            try:
                if re.match(pattern, " ".join(process.cmdline())):
                    found.append(process)
            except psutil.Error:  # it has ended meanwhile
                continue
        return found

    def task_process(self, dag_id: str, run_id: str, task_id: str, timeout: float = 60.0) -> psutil.Process:
        """Wait for the process in which a task runs (Airflow names it after the task instance) and return it."""

        def found() -> psutil.Process | None:
            ids = [str(row["id"]) for row in self.task_instances(dag_id, run_id) if row["task_id"] == task_id]
            processes = self.titled(f"airflow worker -- ({'|'.join(ids)})") if ids else []
            return processes[0] if processes else None

        process = self.wait_for(found, timeout, f"the process of task {task_id}")
        assert process is not None
        return process

    def cli(
        self, *arguments: str, check: bool = False, timeout: float = 300.0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``airflow <arguments>`` in this home and return what came of it."""
        result = subprocess.run(
            [airflow_command(), *arguments],
            env={**self._env, **(env or {})},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"airflow {' '.join(arguments)} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
            )
        return result

    def gave_up(self) -> list[str]:
        """Return the components that have ended with an error. What a test has killed on purpose has a negative code."""
        return [name for name, process in self._processes.items() if (process.poll() or 0) > 0]

    def log_ends(self) -> str:
        """Return the ends of the logs of what has given up, or else of all components."""
        return "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.gave_up() or self._processes)

    def log(self, component: str) -> str:
        """Return what a component has written so far."""
        path = self.home / f"{component}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _all_healthy(self) -> bool:
        needed = ["metadatabase", *(_HEALTH_KEYS[name] for name in self._components if name in _HEALTH_KEYS)]
        return self.are_healthy(needed)


def processes_of(home: Path) -> list[psutil.Process]:
    """Return every running process with this ``AIRFLOW_HOME``, however it was started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AIRFLOW_HOME") == str(home) and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def end_politely(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """End processes, and at once what has not ended after a while."""
    processes = list(processes)
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_at_once(processes: list[psutil.Process]) -> None:
    """Kill processes."""
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=_STOP_SECONDS)


def airflow_command() -> str:
    """Return the ``airflow`` of this Python."""
    return str(Path(sys.executable).parent / "airflow")


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
