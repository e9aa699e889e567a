"""An Airflow in which all is well, until a test lets something be wrong, and what the doctor finds of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from provider.airflow_view.view import DagState
from provider.doctor.airflow_state import airflow_checks
from provider.doctor.examination import Finding, State, examine
from provider.metadata.leader_lock import LeaderLock

API = "AIRFLOW__ACCELERATOR__AIRFLOW_CONN_ID"
COMPONENTS = ("scheduler", "triggerer", "dag_processor")
RUNS = DagState(paused=False, stale=False, running=1)


class Airflow:
    """An Airflow in which all is well."""

    told = "by a test"

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"metadatabase": {"status": "healthy"}}
        self.state |= {name: {"status": "healthy", f"latest_{name}_heartbeat": "2026-03-16T04:00:00Z"} for name in COMPONENTS}
        self.dags: dict[str, DagState] = dict.fromkeys(
            ("accelerator_dispatcher", "accelerator_reconciler", "accelerator_alerts"), RUNS
        )
        self.time: datetime | None = None
        self.ahead = timedelta()

    def health(self) -> Mapping[str, Any]:
        return self.state

    def dag(self, dag_id: str) -> DagState | None:
        return self.dags.get(dag_id)

    def clock(self) -> datetime | None:
        return datetime.now(UTC) + self.ahead


def examined(airflow: Airflow) -> dict[str, Finding]:
    return {found.check: found for found in examine(airflow_checks(lambda: airflow))}


def faults(airflow: Airflow) -> dict[str, State]:
    return {name: found.state for name, found in examined(airflow).items() if found.state is not State.OK}


def lead() -> None:
    lock = LeaderLock(lease=0.0)  # each look is a sign of life
    lock.acquire()
    lock.tell_current(datetime.now(UTC))
    assert lock.acquire()
