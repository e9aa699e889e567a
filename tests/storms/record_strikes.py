"""What is killed, stopped and taken away while people act."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Literal, get_args

import psutil

from demo.postgres import PostgresServer
from demo.world import World
from tests.storms.intake_world import kill
from tests.storms.record_lead import RecordLead
from tests.waiting import wait_for

Kind = Literal[
    "nothing",
    "SIGKILL of the reconciler",
    "SIGSTOP of the reconciler",
    "SIGKILL of the scheduler",
    "SIGSTOP of the scheduler",
    "SIGKILL of the triggerer",
    "SIGSTOP of the triggerer",
    "application database away",
    "application database away for long",
    "Airflow's database away",
    "another reconciler takes over",
    "one DAG that cannot be read",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

_RECONCILER = r"\S+ -P -m provider\.reconciler\.process"
_FIND_SECONDS = 60.0
_SCHEDULER_SECONDS = 20.0
"""Its heartbeat comes every five."""
_LONG_SECONDS = 120.0
"""Longer than the tries of a task would last."""


class Strikes:
    """
    Strikes, and what is mended after them.

    :param airflow_postgres: the server of Airflow's database, and ``application_postgres`` that of the application database.
    :param lead: of the reconcilers.
    :param by_api: the reconciler lives in the triggerer.
    :param seconds: for how long something stands still or is away, at least.
    """

    def __init__(
        self,
        world: World,
        airflow_postgres: PostgresServer,
        application_postgres: PostgresServer,
        lead: RecordLead,
        *,
        by_api: bool,
        seconds: float,
    ) -> None:
        self._airflow = world.airflow
        self._airflow_postgres = airflow_postgres
        self._application_postgres = application_postgres
        self._lead = lead
        self._by_api = by_api
        self._seconds = seconds
        self.made: Counter[str] = Counter()
        self.revived: Counter[str] = Counter()
        self.times: list[tuple[float, float]] = []
        """When something was struck, and when it was mended, by the monotonic clock."""
        self.taken_over: list[float] = []
        """Seconds from a reconciler's last sign of life until another one led."""

    def strike(self, kind: Kind, act: Callable[[], None]) -> None:
        """Strike, let people act, and mend."""
        began = time.monotonic()
        print(f"  {datetime.now(UTC):%H:%M:%S} {kind}", flush=True)
        if kind == "nothing":
            act()
            return
        if kind == "SIGKILL of the scheduler":
            # Before anybody has told what was done; there is no reconciler until the next scheduler has one.
            act()
            self._kill("scheduler")
        elif kind == "Airflow's database away":
            act()
            with self._away(self._airflow_postgres, self._seconds):
                pass
            self._kill_scheduler_that_ends()
        elif kind.startswith("application database away"):
            with self._away(self._application_postgres, _LONG_SECONDS if kind.endswith("long") else self._seconds):
                act()
        elif kind == "another reconciler takes over":
            self._hang_for_good(act)
        elif kind == "one DAG that cannot be read":
            self._tear_a_dag(act)
        elif kind.startswith("SIGKILL"):
            self._kill("triggerer" if kind.endswith("triggerer") else "reconciler", act)
        else:
            with self._asleep(kind.rpartition(" ")[2], self._seconds):
                act()
        self.made[kind] += 1
        self.times.append((began, time.monotonic()))

    def revive(self) -> None:
        """Start again what has ended, as a machine's service manager does."""
        for name in ("scheduler", "dag-processor", "triggerer", "api-server"):
            process = self._airflow.process(name)
            if process.poll() is not None:
                print(f"  {datetime.now(UTC):%H:%M:%S} {name} ended with {process.returncode}; it is started again", flush=True)
                self.revived[name] += 1
                self._airflow.start_component(name)

    def _kill_scheduler_that_ends(self) -> None:
        """
        Kill a scheduler that has lost its database and waits for its tasks before it ends, as a service manager does.

        Some of them wait for people here, and these for a scheduler.
        """
        mended_at = datetime.now(UTC)
        process = self._airflow.process("scheduler")
        if not wait_for(lambda: process.poll() is not None or self._lead.has_scheduler(mended_at), _SCHEDULER_SECONDS):
            self._kill("scheduler")
        self.revive()

    def _kill(self, what: str, act: Callable[[], None] | None = None) -> None:
        """Kill it, let people act, and see that there is another one."""
        kill(*self._processes(what))
        if act is not None:
            act()
        for name in ("scheduler", "triggerer"):
            process = self._airflow.process(name)
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE:
                    process.wait()
        self.revive()

    def _hang_for_good(self, act: Callable[[], None]) -> None:
        """Let the reconciler stand still until another one has told what people did meanwhile."""
        with self._lead.standing_by("api" if self._by_api else "database"):
            hung = self._lead.holder
            with self._asleep("reconciler"):
                began = time.monotonic()
                act()
                self._lead.wait_for_another(hung)
                self.taken_over.append(time.monotonic() - began)
                self._lead.wait_until_current()

    def _tear_a_dag(self, act: Callable[[], None]) -> None:
        """Have a run whose DAG cannot be read when the record is to tell what blocked its task, and see that the others go on."""
        with ExitStack() as stack:
            stack.enter_context(self._asleep("reconciler"))
            act()
            with self._lead.one_dag_torn():
                stack.close()
                self._lead.wait_until_current()

    @contextmanager
    def _asleep(self, what: str, seconds: float = 0.0) -> Iterator[None]:
        """Let it stand still for a while, at least for that long."""
        asleep = self._processes(what)
        woken_at = time.monotonic() + seconds
        for process in asleep:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
            time.sleep(max(0.0, woken_at - time.monotonic()))
        finally:
            for process in asleep:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    @contextmanager
    def _away(self, postgres: PostgresServer, seconds: float) -> Iterator[None]:
        """Let a database go away for that long."""
        back_at = time.monotonic() + seconds
        postgres.stop()
        try:
            yield
            time.sleep(max(0.0, back_at - time.monotonic()))
        finally:
            postgres.start()

    def _processes(self, what: str) -> list[psutil.Process]:
        """Return the processes of a part: of the scheduler the main one alone, since its workers may live on."""
        if what == "scheduler":
            return [psutil.Process(self._airflow.process("scheduler").pid)]
        triggerer = psutil.Process(self._airflow.process("triggerer").pid)
        if what == "triggerer":
            return [triggerer, *triggerer.children(recursive=True)]
        found = triggerer.children if self._by_api else lambda: self._airflow.titled(_RECONCILER)
        processes = wait_for(found, _FIND_SECONDS)
        if not processes:
            raise AssertionError("there is no reconciler to strike")
        return processes
