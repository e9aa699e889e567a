"""Workflows of tasks one after another, and what the factory makes of them over several parses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import text

from dag_factory import budget, factory
from dag_factory.building import Built
from dag_factory.workflow_dag import build_dag
from provider.metadata.engine import write_session
from tests.dag_factory.definitions import DATAFORM, Rows

#: The shape of ``chains(5)``: tasks and edges of each workflow.
WHOLE = {f"w{number}": (3, 2) for number in range(5)}


def chains(count: int, tasks: int = 3, prefix: str = "w") -> Rows:
    """Workflows of tasks one after another."""
    rows = Rows()
    for name in (f"{prefix}{number}" for number in range(count)):
        rows.workflows.append({"workflow_id": name})
        ids = [f"{name}_{task}" for task in range(tasks)]
        rows.tasks += [{"task_id": i, "workflow_id": name, "task_type": "dataform", "config": dict(DATAFORM)} for i in ids]
        for parent, child in itertools.pairwise(ids):
            rows.depend(parent, child)
    return rows


def sql(*statements: str) -> None:
    with write_session() as session:
        for statement in statements:
            session.execute(text(statement))


def shape(built: Built) -> dict[str, tuple[int, int]]:
    """Return tasks and edges of each DAG, those of start_batch left out."""
    found = {}
    for dag_id, dag in built.dags.items():
        tasks = [task for task in dag.tasks if task.task_id.startswith(dag_id)]
        found[dag_id] = len(tasks), sum(len(task.downstream_task_ids & {other.task_id for other in tasks}) for task in tasks)
    return found


class Clock:
    """A second for each task that was built."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now = 0.0
        monkeypatch.setattr(factory, "Budget", lambda _: budget.Budget(seconds, self))
        real = build_dag

        def build(spec: Any, types: Any, **options: Any) -> Any:
            self.now += 1 + len(spec.tasks) + len(spec.edges)
            return real(spec, types, **options)

        monkeypatch.setattr("dag_factory.building.build_dag", build)

    def __call__(self) -> float:
        return self.now
