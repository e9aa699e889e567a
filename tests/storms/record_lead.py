"""Who writes the record, seen by SQL that uses none of our code; and a second one that stands by."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from demo.world import World
from tests.waiting import wait_for

TORN_DAG = "record_torn"
_PATIENCE = 120.0
_NEWEST_HEARTBEAT = "SELECT max(latest_heartbeat) FROM job WHERE job_type = 'SchedulerJob'"
_LOOK_SECONDS = 0.3
_END_SECONDS = 30.0
_LEAD = "SELECT holder, current_at FROM leader_leases WHERE name = 'reconciler'"
_NOT_ENDED = f"SELECT run_id FROM dag_run WHERE dag_id = '{TORN_DAG}' AND state NOT IN ('success', 'failed')"
_TEAR = f"UPDATE serialized_dag SET data = jsonb_build_object('torn', data) WHERE dag_id = '{TORN_DAG}'"
_MEND = f"UPDATE serialized_dag SET data = data -> 'torn' WHERE dag_id = '{TORN_DAG}'"


class RecordLead:
    """
    The lead of the reconcilers.

    :param airflow: libpq's address of Airflow's database, ``application`` of the application database.
    """

    def __init__(self, world: World, airflow: str, application: str) -> None:
        self._world = world
        self._airflow = airflow
        self._application = application

    @contextmanager
    def standing_by(self, reader: str) -> Iterator[None]:
        """Have another reconciler, on no Airflow's account, which takes the lead when nobody else has it; end it by SIGTERM."""
        command = [str(Path(sys.executable).parent / "accelerator"), "reconcile", "--watch", "--reader", reader]
        with (self._world.home / "stand_by.log").open("ab") as log:
            process = subprocess.Popen(command, env=self._world.airflow.environment(), stdout=log, stderr=log)
            try:
                yield
            finally:
                process.terminate()
                try:
                    process.wait(_END_SECONDS)
                finally:
                    process.kill()

    @property
    def holder(self) -> str:
        """Who leads; empty for nobody."""
        return str(self._ask(self._application, _LEAD)[0][0])

    def wait_for_another(self, than: str) -> None:
        """Wait until somebody else leads."""
        self._wait(lambda: self.holder not in (than, ""), f"no other reconciler than {than} leads")

    def wait_until_current(self) -> None:
        """Wait until the record is complete as of a time that is still to come."""
        now = datetime.now(UTC)

        def current() -> bool:
            at = self._ask(self._application, _LEAD)[0][1]
            # Times are stored without a zone, in UTC.
            return at is not None and at.replace(tzinfo=UTC) > now

        self._wait(current, f"the record stands still: it is not current as of {now}")

    def has_scheduler(self, since: datetime) -> bool:
        """Tell whether a scheduler has given a sign of life since then."""
        (newest,) = self._ask(self._airflow, _NEWEST_HEARTBEAT)
        return newest[0] is not None and newest[0] > since

    @contextmanager
    def one_dag_torn(self) -> Iterator[None]:
        """Have the stored form of one DAG unreadable, once its runs have ended: the scheduler needs it as long as they run."""
        self._wait(lambda: not self._ask(self._airflow, _NOT_ENDED), f"runs of {TORN_DAG} have not ended")
        self._change(_TEAR)
        try:
            yield
        finally:
            self._change(_MEND)

    def _change(self, statement: str) -> None:
        with psycopg.connect(self._airflow) as connection:
            if connection.execute(statement).rowcount < 1:
                raise AssertionError(f"{TORN_DAG} is not in Airflow's database")

    @staticmethod
    def _wait(ready: Callable[[], bool], otherwise: str) -> None:
        if not wait_for(ready, _PATIENCE, _LOOK_SECONDS):
            raise AssertionError(f"{otherwise} after {_PATIENCE:.0f} s")

    @staticmethod
    def _ask(address: str, statement: str) -> Sequence[tuple[Any, ...]]:
        with psycopg.connect(address) as connection:
            return connection.execute(statement).fetchall()
