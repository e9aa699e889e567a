"""What the tests of alerts share: runs as Airflow has them, rules, and looks at the rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from provider.airflow_internals.audit_log import PersonAct
from provider.alerts import outbox
from provider.alerts.raising import Alerting
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import Alert, AlertRule
from provider.reconciler.airflow_state import RunState, TryState
from provider.reconciler.mirror import Asked
from provider.reconciler.writing import mirror_runs

#: Whole seconds, as SQLite's own clock has them.
NOW = datetime.now(UTC).replace(microsecond=0)
SECOND = timedelta(seconds=1)
ASKED = Asked(lambda _key: {}, lambda _run, _try: None, lambda _key, _attempt: None, lambda _run: True)


def add_rule(rule_id: str, events: str = "failure", **values: Any) -> None:
    """Write a rule as people do; it is in force for an hour."""
    row = {"rule_id": rule_id, "events": events, "notifier": "mail", "group_seconds": 0, "created_at": NOW - 3600 * SECOND}
    with write_session() as session:
        session.execute(insert(AlertRule).values(**row | values))


def attempt(state: str | None, number: int = 1, *, task_id: str = "load", live: bool = True, **values: Any) -> TryState:
    ended = None if state in (None, "running") else NOW - 60 * SECOND
    times = {"started_at": NOW - 90 * SECOND, "ended_at": ended, "updated_at": NOW - 60 * SECOND, "max_tries": 0, **values}
    return TryState(task_id, -1, number, state, live=live, **times)


def run(
    *tries: TryState, state: str = "running", batch_id: str = "b1", acts: tuple[PersonAct, ...] = (), **times: Any
) -> RunState:
    run_after = times.get("run_after", NOW - 100 * SECOND)
    ended_at = times.get("ended_at", None if state in ("queued", "running") else NOW - 50 * SECOND)
    started_at = NOW - 95 * SECOND
    return RunState("sales", batch_id, state, "manual", None, {}, run_after, run_after, started_at, ended_at, tries, acts)


def mirror(*runs: RunState, allowed: tuple[str, ...] = ("mail", "topic")) -> None:
    mirror_runs(runs, ASKED, alerting=Alerting(allowed))


def alert_row(event_id: str, **values: Any) -> dict[str, Any]:
    """Return an alert that is due."""
    row = {
        **{"rule_id": "r", "event_id": event_id, "event": "failure", "workflow_id": "w", "batch_id": "b1", "details": {}},
        **{"happened_at": NOW, "created_at": NOW, "due_at": NOW - SECOND, "state": "waiting"},
    }
    return row | values


def add_alert(event_id: str, **values: Any) -> None:
    """Store one."""
    with write_session() as session:
        outbox.store(session, [alert_row(event_id, **values)])


def alerts() -> list[Alert]:
    with read_session() as session:
        return list(session.scalars(select(Alert).order_by(Alert.id)))


def told() -> list[tuple[str, str, str | None, int | None]]:
    """Return rule, event, task and try of each alert, sorted."""
    return sorted(
        ((one.rule_id, one.event, one.task_id, one.try_number) for one in alerts()),
        key=lambda one: tuple(str(part) for part in one),
    )
