"""A batch that runs: rows of the application database, and an Airflow in which nothing keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from provider.airflow_view.view import MOST, DagState, NextTry, TaskBefore, Waiting
from provider.cli import why_commands
from provider.exceptions import UnseenError
from provider.metadata.engine import write_session
from provider.metadata.tables import BatchRequest, Task, TaskBatch, TaskDependency, TaskLog, Workflow

NOON = datetime(2026, 3, 16, 12, 0, tzinfo=UTC)


class Airflow:
    """An Airflow in which batch B1 of workflow w runs, and nothing keeps it."""

    told = "by a test"
    sees_all = True

    def __init__(self) -> None:
        self.state: dict[str, Any] = {name: {"status": "healthy"} for name in ("scheduler", "triggerer")}
        self.known: DagState | None = DagState(paused=False, stale=False, running=1)
        self.run_state: str | None = "running"
        self.tasks: list[dict[str, Any]] = []
        self.pools = {"default_pool": {"slots": 128, "occupied_slots": 0}}
        self.active: list[str] = []
        self.said: list[str] = []
        self.inside: list[dict[str, Any]] = []
        self.everywhere: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.before: dict[bool, TaskBefore] = {}
        self.due: NextTry | None = None
        self.put_off: Waiting | None = None

    def add(self, task_id: str, state: str | None, **values: Any) -> None:
        one = {"dag_id": "w", "dag_run_id": "B1", "task_id": task_id, "map_index": -1, "state": state, "pool": "default_pool"}
        self.tasks.append(one | values)

    def health(self) -> Mapping[str, Any]:
        return self.state

    def dag(self, dag_id: str) -> DagState | None:
        return self.known

    def clock(self) -> datetime | None:
        return None

    def run(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        return None if self.run_state is None else {"state": self.run_state}

    def task_instances(self, dag_id: str, run_id: str) -> Sequence[Mapping[str, Any]]:
        return self.tasks

    def active_runs(self, dag_id: str) -> Sequence[str]:
        return self.active

    def pool(self, name: str) -> Mapping[str, Any] | None:
        return self.pools.get(name)

    def occupants(
        self,
        pool: str | None,
        *,
        deferred: bool,
        dag_id: str | None = None,
        run_id: str | None = None,
        task_id: str | None = None,
        most: int = MOST,
    ) -> Sequence[Mapping[str, Any]]:
        if pool is not None:
            return self.inside[:most]
        asked = {"dag_id": dag_id, "dag_run_id": run_id, "task_id": task_id}
        found = [one for one in self.everywhere if deferred or one.get("state") != "deferred"]
        return [one for one in found if all(value in (None, one[name]) for name, value in asked.items())][:most]

    def task_before(self, dag_id: str, run_id: str, task_id: str, *, scheduled: bool) -> TaskBefore | None:
        return self.before.get(scheduled)

    def reasons(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Sequence[str]:
        return self.said

    def import_errors(self, dag_id: str) -> Sequence[Mapping[str, Any]]:
        return self.errors

    def next_try(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> NextTry | None:
        return self.due

    def waiting(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Waiting | None:
        return self.put_off


def rows(*added: Any) -> None:
    with write_session() as session:
        session.add(Workflow(workflow_id="w"))
        session.flush()
        session.add_all(
            [
                Task(task_id="a", workflow_id="w", task_type="external"),
                Task(task_id="b", workflow_id="w", task_type="run_workflow", config={"workflow": "other"}),
            ]
        )
        session.flush()
        session.add_all([TaskDependency(parent_id="a", child_id="b"), *added])


def batch(status: str = "PROCESSING", **values: Any) -> TaskBatch:
    return TaskBatch(workflow_id="w", batch_id="B1", status=status, created_at=NOON, updated_at=NOON, **values)


def log(task_id: str, status: str, **values: Any) -> TaskLog:
    key = {"workflow_id": "w", "batch_id": "B1", "task_id": task_id, "try_number": 1}
    return TaskLog(**key, status=status, row_source="reconciler", updated_at=NOON, **values)


def request(state: str, **values: Any) -> BatchRequest:
    known = {"subscription": "s", "message_id": "77", "part": 0, "kind": "start", "workflow_id": "w", "batch_id": "B1"}
    return BatchRequest(**known | {"payload": b"{}", "payload_bytes": 2, "received_at": NOON} | values, state=state)


def unseen() -> None:
    raise UnseenError("there is no Airflow database here", "Set a connection.")


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    found = Airflow()
    monkeypatch.setattr(why_commands, "open_view", lambda: found)
    return found
