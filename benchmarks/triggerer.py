"""A real ``airflow triggerer`` that waits for 1,000 refreshes and 1,000 invocations at once."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psutil

from benchmarks.emulator_process import CallCounts, EmulatorProcess
from benchmarks.result import Result
from benchmarks.waiting import (
    JOBS,
    TOKENS,
    Stored,
    our_invocation_triggers,
    our_refresh_triggers,
    scenario,
    start_invocations,
    start_refreshes,
)
from demo.airflow_services import AirflowServices
from demo.postgres import PostgresServer

WAITING_DAG = Path(__file__).with_name("waiting_dag.py")
TRIGGERS = 2 * JOBS
WINDOW_SECONDS = 60.0
SAMPLES = 2

_NAME = "triggerer.powerbi_1000_and_dataform_1000"
_BLOCKED = re.compile(r"async thread was blocked for ([\d.]+) seconds")
_CONNECTION = "AIRFLOW_CONN_"
_STARTED_SECONDS = 300.0


@dataclass(frozen=True)
class Sample:
    """
    What one triggerer was seen to do.

    :param start_seconds: until each of its triggers had polled.
    :param blocked: seconds for which its event loop was blocked in the window, one by one, by its own log.
    """

    tokens: int
    start_seconds: float
    start_cpu_seconds: float
    start_blocked: list[float]
    polls: int
    runner_cpu_seconds: float
    cpu_seconds: float
    blocked: list[float]
    memory_mib: float


class Triggerer:
    """
    An Airflow with nothing but a database, in which task instances wait, and a triggerer.

    :param folder: for its home.
    :param emulators: where the jobs run.
    """

    def __init__(self, folder: Path, emulators: EmulatorProcess, postgres: PostgresServer) -> None:
        database = postgres.create_database("airflow")
        connections = {name: value for name, value in emulators.environment.items() if name.startswith(_CONNECTION)}
        self._connections = {name.removeprefix(_CONNECTION).lower(): value for name, value in connections.items()}
        environment = {
            **{name: value for name, value in emulators.environment.items() if name not in connections},
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
            "AIRFLOW__TRIGGERER__CAPACITY": str(2 * TRIGGERS),
        }
        self.airflow = AirflowServices(folder / "airflow", folder / "airflow" / "dags", environment, components=("triggerer",))
        self._database = database
        self._calls = CallCounts(emulators)

    def prepare(self, tasks: Mapping[str, Sequence[Stored]]) -> None:
        """Create the database, and in it a run whose tasks wait for these triggers."""
        self.airflow.migrate()
        self.airflow.dags_folder.mkdir()
        shutil.copy(WAITING_DAG, self.airflow.dags_folder)
        self.airflow.cli("dags", "reserialize", check=True)
        order = json.dumps({"dag_id": "waiting", "connections": self._connections, "tasks": tasks})
        command = [sys.executable, "-m", "benchmarks.deferred_tasks"]
        environment = self.airflow.environment()
        subprocess.run(command, input=order, text=True, check=True, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603

    def sample(self) -> Sample:
        """
        Start a triggerer, measure it, and end it.

        :raises RuntimeError: a trigger has ended.
        """
        earlier, logged, tokens = self._newest_job(), len(self._log()), self._calls.tokens()
        began = time.monotonic()
        process = psutil.Process(self.airflow.start_component("triggerer").pid)
        self.airflow.wait_for(lambda: self._assigned(earlier) == TRIGGERS, _STARTED_SECONDS, "all triggers to be assigned")
        polls = self._calls.polls()
        # The last ones have been given to it just now; with the second poll of the first ones theirs is over too.
        self.airflow.wait_for(lambda: self._calls.polls() - polls >= 2 * TRIGGERS, _STARTED_SECONDS, "the first polls")
        start_seconds = time.monotonic() - began

        (runner,) = process.children()
        polls, window, cpu, runner_cpu = self._calls.polls(), len(self._log()), _cpu(process, runner), _cpu(runner)
        time.sleep(WINDOW_SECONDS)
        seen = Sample(
            polls=self._calls.polls() - polls,
            cpu_seconds=_cpu(process, runner) - cpu,
            runner_cpu_seconds=_cpu(runner) - runner_cpu,
            blocked=_blocked(self._log()[window:]),
            start_blocked=_blocked(self._log()[logged:window]),
            start_seconds=start_seconds,
            start_cpu_seconds=cpu,
            tokens=self._calls.tokens() - tokens,
            memory_mib=runner.memory_info().rss / 2**20,
        )
        if (left := self._assigned(earlier)) != TRIGGERS:
            raise RuntimeError(f"{TRIGGERS - left} triggers that should wait have ended:\n{self._log()[-3000:]}")
        self.airflow.kill("triggerer", signal.SIGTERM)
        return seen

    def _log(self) -> str:
        return self.airflow.log("triggerer")

    def _newest_job(self) -> int:
        """Return Airflow's number of the latest triggerer; 0 before there was one."""
        return self._query("SELECT coalesce(max(id), 0) FROM job WHERE job_type = 'TriggererJob'")

    def _assigned(self, earlier: int) -> int:
        """Return how many triggers a triggerer has that is younger than an earlier one."""
        return self._query("SELECT count(*) FROM trigger WHERE triggerer_id > %s", earlier)

    def _query(self, statement: LiteralString, *parameters: int) -> int:
        import psycopg

        with psycopg.connect(self._database.replace("+psycopg", "")) as connection:
            row = connection.execute(statement, parameters).fetchone()
        assert row is not None
        return int(row[0])


def _cpu(*processes: psutil.Process) -> float:
    """Return the CPU seconds that these processes have taken so far."""
    times = [process.cpu_times() for process in processes]
    return float(sum(one.user + one.system for one in times))


def _blocked(log: str) -> list[float]:
    return [float(seconds) for seconds in _BLOCKED.findall(log)]


def run(folder: Path) -> Iterator[Result]:
    """Yield what it costs, and for how long its event loop was blocked."""
    with PostgresServer() as postgres, EmulatorProcess(scenario(), folder / "triggerer_emulators") as emulators:
        tasks = {
            "refreshes": our_refresh_triggers(start_refreshes(emulators)),
            "invocations": our_invocation_triggers(start_invocations(emulators)),
        }
        triggerer = Triggerer(folder / "triggerer", emulators, postgres)
        try:
            triggerer.prepare(tasks)
            yield from _figures([triggerer.sample() for _ in range(SAMPLES)])
        finally:
            triggerer.airflow.stop()


def _figures(samples: Sequence[Sample]) -> Iterator[Result]:
    window = f"{WINDOW_SECONDS:.0f} s"

    def figure(name: str, unit: str, values: list[Any], **more: Any) -> Result:
        return Result(f"{_NAME}.{name}", unit, values, **more)

    yield figure("token_requests", "requests", [item.tokens for item in samples], goal=TOKENS)
    yield figure("polls", f"calls in {window}", [item.polls for item in samples])
    yield figure("cpu_seconds", f"s in {window}", [item.cpu_seconds for item in samples])
    yield figure("cpu_seconds_of_event_loop", f"s in {window}", [item.runner_cpu_seconds for item in samples])
    yield figure("blocked_warnings", f"in {window}", [len(item.blocked) for item in samples])
    yield figure("blocked_longest", "s", [max(item.blocked, default=0.0) for item in samples])
    yield figure("start.until_all_polled", "s", [item.start_seconds for item in samples])
    yield figure("start.cpu_seconds", "s", [item.start_cpu_seconds for item in samples])
    yield figure("start.blocked_warnings", "in the start", [len(item.start_blocked) for item in samples])
    yield figure("start.blocked_longest", "s", [max(item.start_blocked, default=0.0) for item in samples])
    yield figure("start.blocked_seconds", "s", [sum(item.start_blocked) for item in samples])
    yield figure("memory_of_event_loop", "MiB", [item.memory_mib for item in samples])
