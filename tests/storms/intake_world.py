"""What a storm over the intake looks at: the service's deliveries, both databases, and the dispatcher's process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row
from sqlalchemy import make_url

from demo.world import World
from provider.emulators.ledger import Ledger
from provider.metadata.rows import CLAIM_SECONDS
from tests.waiting import wait_for

DISPATCHER = "accelerator_dispatcher"
HELPERS = "accelerator_burst"


class Deliveries:
    """The service's ledger, read by message."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.position = 0
        self.published: set[str] = set()
        self.acknowledged: set[str] = set()
        self.attempts: Counter[str] = Counter()
        self.refused_acknowledgements = 0
        self._delivered_at: dict[str, int] = {}

    def read(self) -> int:
        """Take in what is new and return the position after it."""
        for entry in self._ledger.entries(after=self.position):
            self.position = entry.seq
            if entry.service != "pubsub":
                continue
            if entry.operation == "published":
                self.published.add(entry.resource)
            elif entry.operation == "delivered":
                self.attempts[entry.resource] += 1
                self._delivered_at[entry.resource] = entry.seq
            elif entry.operation == "acked":
                self.acknowledged.add(entry.resource)
            elif (entry.operation, entry.resource) == ("fault", "Acknowledge"):
                self.refused_acknowledgements += 1
        return self.position

    def open_since(self, position: int) -> set[str]:
        """Return the messages that were delivered after a position and are not acknowledged."""
        self.read()
        return {one for one, at in self._delivered_at.items() if at > position} - self.acknowledged

    def left(self) -> set[str]:
        """Return the messages that the service still has."""
        self.read()
        return self.published - self.acknowledged


class Databases:
    """
    Looks into both databases; the application database may be away between two looks, not during one.

    :param direct: whether the triggerer starts the runs itself.
    """

    def __init__(self, world: World, *, direct: bool = False) -> None:
        self._triggerer = (lambda: world.airflow.process("triggerer").pid) if direct else None
        self._application_url = plain(world.database_url)
        self.airflow = psycopg.connect(plain(world.airflow_url), autocommit=True, row_factory=dict_row)

    def close(self) -> None:
        self.airflow.close()

    def application(self) -> psycopg.Connection[dict[str, Any]]:
        """Return a new connection to the application database, in a transaction from its first statement on."""
        return psycopg.connect(self._application_url, row_factory=dict_row)

    def stored(self, message_ids: Iterable[str]) -> set[str]:
        """Return those of the messages that are in the inbox, committed."""
        with self.application() as connection:
            statement = "SELECT message_id FROM batch_requests WHERE message_id = ANY(%s)"
            return {row["message_id"] for row in connection.execute(statement, [list(message_ids)])}

    def waiting(self) -> int:
        """Return how many requests wait to be started."""
        with self.application() as connection:
            row = connection.execute("SELECT count(*) AS count FROM batch_requests WHERE state = 'received'").fetchone()
            return int(row["count"]) if row else 0

    def due_within(self, seconds: float) -> bool:
        """Tell whether a request can be started by then."""
        with self.application() as connection:
            statement = (
                "SELECT 1 FROM batch_requests WHERE state = 'received' "
                "AND coalesce(next_attempt_at, now()) < now() + make_interval(secs => %s) LIMIT 1"
            )
            return connection.execute(statement, [seconds]).fetchone() is not None

    def has_run(self, workflow_id: str, batch_id: str) -> bool:
        """Tell whether Airflow has committed a run."""
        statement = "SELECT 1 FROM dag_run WHERE dag_id = %s AND run_id = %s"
        return self.airflow.execute(statement, [workflow_id, batch_id]).fetchone() is not None

    def started_but_not_marked(self, claimed_after: datetime) -> list[str]:
        """Return the ids of the requests that were claimed since a moment and still are, and whose run is there."""
        with self.application() as connection:
            claimed = connection.execute(
                "SELECT id, workflow_id, batch_id FROM batch_requests "
                "WHERE state = 'received' AND claimed_until > greatest(now(), %s) ORDER BY id",
                [claimed_after + timedelta(seconds=CLAIM_SECONDS)],
            ).fetchall()
        return [str(row["id"]) for row in claimed if self.has_run(row["workflow_id"], row["batch_id"])]

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs of all workflows."""
        statement = "SELECT dag_id, run_id, conf, state FROM dag_run WHERE dag_id NOT LIKE 'accelerator%%'"
        return self.airflow.execute(statement).fetchall()

    def helpers_called(self) -> int:
        """Return how many helpers the dispatcher has called in bursts."""
        row = self.airflow.execute("SELECT count(*) AS count FROM dag_run WHERE dag_id = %s", [HELPERS]).fetchone()
        return int(row["count"]) if row else 0

    def dispatcher_state(self) -> str | None:
        """Return the state of the dispatcher's newest task instance."""
        statement = (
            "SELECT ti.state FROM task_instance ti JOIN dag_run r USING (dag_id, run_id) "
            "WHERE dag_id = %s ORDER BY r.id DESC LIMIT 1"
        )
        row = self.airflow.execute(statement, [DISPATCHER]).fetchone()
        return row["state"] if row else None

    def dispatching(self) -> list[psutil.Process]:
        """Return the processes that start runs now: the dispatcher's and those of its helpers, or the triggerer's."""
        if self._triggerer is not None:
            return [process for process in _with_children(self._triggerer()) if lives(process)]
        statement = (
            "SELECT id::text AS id, pid FROM task_instance WHERE dag_id IN (%s, %s) AND state = 'running' AND pid IS NOT NULL"
        )
        processes = []
        for row in self.airflow.execute(statement, [DISPATCHER, HELPERS]):
            with suppress(psutil.Error):
                process = psutil.Process(row["pid"])
                if " ".join(process.cmdline()).startswith(f"airflow worker -- {row['id']}"):
                    processes.append(process)
        return processes


def plain(url: str) -> str:
    """Return a SQLAlchemy URL as libpq takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def kill(*processes: psutil.Process) -> bool:
    """SIGKILL processes and wait until they are dead; return whether the first one was alive."""
    alive = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            alive.append(process)
    wait_for(lambda: not any(map(lives, alive)), 10)
    return bool(processes) and processes[0] in alive


def _with_children(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def worker_of(task_process: psutil.Process) -> psutil.Process | None:
    """Return the executor's worker that looks after a task's process."""
    with suppress(psutil.Error):
        parent = task_process.parent()
        if parent is not None and " ".join(parent.cmdline()).startswith("airflow worker -- LocalExecutor"):
            return parent
    return None


def lives(process: psutil.Process) -> bool:
    """Tell whether a process can still do anything."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE  # nobody may be there to reap it
    except psutil.NoSuchProcess:
        return False
