"""An executor that loses every task: what waits in its queue waits there until the scheduler gives up."""

from __future__ import annotations

from typing import Any

from airflow.executors.base_executor import BaseExecutor


class StuckExecutor(BaseExecutor):
    """Takes tasks and runs none of them."""

    is_local = True

    def _process_workloads(self, workloads: Any) -> None:
        for workload in workloads:
            self.queued_tasks.pop(workload.ti.key, None)
            self.running.discard(workload.ti.key)

    def sync(self) -> None:
        """Nothing ever ends."""

    def revoke_task(self, *, ti: Any) -> None:
        """Forget a task."""
        self.queued_tasks.pop(ti.key, None)
        self.running.discard(ti.key)

    def end(self) -> None:
        """Nothing is left to wait for."""

    def terminate(self) -> None:
        """Nothing is left to end."""
