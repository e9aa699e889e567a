"""What the scopes are read from: both databases, as they have committed."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from demo.world import World
from tests.storms.intake_world import plain
from tests.storms.scopes_verdict import Log

RunKey = tuple[str, str]
"""(dag_id, run_id), which are (workflow_id, batch_id)."""


class Databases:
    """Looks into Airflow's and the application database."""

    def __init__(self, world: World) -> None:
        self._airflow = _connect(world.airflow_url)
        self._application = _connect(world.database_url)

    def close(self) -> None:
        """Give the connections back."""
        self._airflow.close()
        self._application.close()

    def run_states(self) -> dict[RunKey, str]:
        """Return the state of every run of a workflow."""
        rows = self._airflow.execute("SELECT dag_id, run_id, state FROM dag_run WHERE dag_id NOT LIKE 'accelerator%'")
        return {(row["dag_id"], row["run_id"]): row["state"] for row in rows}

    def run_state(self, run: RunKey) -> str:
        """Return the state of one run."""
        (row,) = self._airflow.execute("SELECT state FROM dag_run WHERE dag_id = %s AND run_id = %s", run).fetchall()
        return str(row["state"])

    def task_states(self, run: RunKey) -> dict[str, str | None]:
        """Return task → Airflow's state."""
        statement = "SELECT task_id, state FROM task_instance WHERE dag_id = %s AND run_id = %s"
        return {row["task_id"]: row["state"] for row in self._airflow.execute(statement, run)}

    def stored(self, run: RunKey) -> tuple[dict[str, Any] | None, dict[str, Log]]:
        """Return the TaskBatch, and the newest TaskLog of each task."""
        statement = "SELECT * FROM task_batches WHERE workflow_id = %s AND batch_id = %s"
        batch = self._application.execute(statement, run).fetchone()
        statement = (
            "SELECT task_id, status, error_message FROM task_logs WHERE workflow_id = %s AND batch_id = %s ORDER BY try_number"
        )
        rows = self._application.execute(statement, run)
        return batch, {row["task_id"]: Log(row["status"], row["error_message"]) for row in rows}


def _connect(url: str) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.connect(plain(url), autocommit=True, row_factory=dict_row)
