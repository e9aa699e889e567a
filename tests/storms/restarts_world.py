"""What restarts are judged by: both databases, as they have committed, and the services' ledger."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from demo.world import World
from provider.texts import task_name
from tests.storms.remote_jobs import JobLedger
from tests.storms.restarts_plan import Plan, Run
from tests.storms.restarts_verdict import Instance, Look
from tests.storms.scopes_world import Databases, RunKey

_INSTANCES = """
SELECT task_id, map_index, id, state, try_number, max_tries, start_date FROM task_instance
WHERE dag_id = %s AND run_id = %s AND NOT (map_index < 0 AND EXISTS (
    SELECT FROM task_instance other WHERE other.dag_id = task_instance.dag_id AND other.run_id = task_instance.run_id
        AND other.task_id = task_instance.task_id AND other.map_index >= 0))
"""
_HISTORY = """
SELECT task_id, map_index, try_number FROM task_instance_history WHERE dag_id = %s AND run_id = %s AND try_number > 0
"""
_LOGS = "SELECT task_id, map_index, try_number, status FROM task_logs WHERE workflow_id = %s AND batch_id = %s"
_ENDED = "SELECT end_date AS ended_at FROM dag_run WHERE dag_id = %s AND run_id = %s AND state IN ('success', 'failed')"
_TOLD = """
SELECT ended_at FROM task_batches WHERE workflow_id = %s AND batch_id = %s AND status IN ('SUCCESS', 'ERROR')
"""


class RestartDatabases(Databases):
    """
    Looks at batches.

    :param plan: of the storm.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        super().__init__(world)
        self._services = world.emulators.ledger
        self._ledger = JobLedger(world.emulators.ledger, plan.job_plan())

    def look(self, run: Run) -> Look:
        """Return what there is of a batch now."""
        history: defaultdict[str, set[int]] = defaultdict(set)
        for row in self._airflow.execute(_HISTORY, run.key):
            history[_place(row)].add(row["try_number"])
        logs: defaultdict[str, dict[int, str]] = defaultdict(dict)
        for row in self._application.execute(_LOGS, run.key):
            logs[_place(row)][row["try_number"]] = row["status"]
        instances = {
            (place := _place(row)): Instance(
                id=str(row["id"]),
                state=row["state"],
                try_number=row["try_number"],
                max_tries=row["max_tries"],
                started_at=row["start_date"],
                history=frozenset(history[place]),
                logs=logs[place],
            )
            for row in self._airflow.execute(_INSTANCES, run.key)
        }
        batch, _logs = self.stored(run.key)
        return Look(instances, self.jobs(run), self.run_state(run.key), None if batch is None else str(batch["status"]))

    def jobs(self, run: Run) -> dict[str, tuple[str, ...]]:
        """Return the remote jobs that each place has started."""
        self._ledger.read()
        return {place: tuple(self._ledger.started[job]) for place, job in run.jobs.items()}

    def has_ended(self, run: Run) -> bool:
        """Tell whether a batch has ended, and ``task_batches`` knows of this end and of no earlier one."""
        ended = self._airflow.execute(_ENDED, run.key).fetchone()
        return ended is not None and ended == self._application.execute(_TOLD, run.key).fetchone()

    def retrying(self) -> set[RunKey]:
        """Return the runs of which Airflow will try a task again by itself."""
        rows = self._airflow.execute("SELECT DISTINCT dag_id, run_id FROM task_instance WHERE state = 'up_for_retry'")
        return {(row["dag_id"], row["run_id"]) for row in rows}

    def cancels(self) -> list[str]:
        """Return what a service was asked to cancel, whether it did or not."""
        return [
            f"{entry.operation} of {entry.resource}"
            for entry in self._services.entries()
            if "cancel" in entry.operation or entry.detail.get("method") == "DELETE"
        ]


def _place(row: dict[str, Any]) -> str:
    return task_name(row["task_id"], row["map_index"])
