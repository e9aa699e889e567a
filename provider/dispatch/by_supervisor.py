"""Starting runs from a task, through its supervisor."""

from __future__ import annotations

from typing import Any

from provider.airflow_internals.supervisor import FoundRun, get_dag_run, trigger_dag_run
from provider.batch_ids import quote_run_id


class SupervisorRuns:
    """:class:`provider.dispatch.outcomes.DagRuns` of a task's process, which sends one message after the other."""

    concurrency = 1

    def start(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
        """Start a run; see :class:`~provider.dispatch.outcomes.DagRuns`."""
        return trigger_dag_run(dag_id, quote_run_id(run_id), conf)

    def find(self, dag_id: str, run_id: str) -> FoundRun:
        """Return a run; see :class:`~provider.dispatch.outcomes.DagRuns`."""
        return get_dag_run(dag_id, quote_run_id(run_id))
