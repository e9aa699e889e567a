"""What keeps a message: one row per state of its row and of Airflow, and the first line that comes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.airflow_view.view import DagState
from provider.cli import why_commands
from tests.provider.cli.running_batch import NOON, Airflow, airflow, batch, request, rows, unseen

__all__ = ["airflow"]

LATER = datetime.now(UTC) + timedelta(hours=1)

#: State and values of a message, and the beginning of the first line for it.
OF_MESSAGE: list[tuple[str, dict[str, Any], str]] = [
    ("rejected", {"reason": "there is no task x"}, "The message was rejected: there is no task x"),
    ("duplicate", {"reason": "message 5 was first"}, "Another message had started batch B1 before: message 5 was first"),
    ("received", {"reason": "waits: its workflow is full."}, "The message waits: its workflow is full."),
    ("received", {"reason": "no DAG", "next_attempt_at": LATER}, "The message waits: no DAG; it is tried again at 20"),
    ("received", {"claimed_until": LATER}, "A dispatcher is about to start it, until "),
    ("received", {}, "No dispatcher has taken it since 2026-03-16T12:00:00Z."),
    ("dispatched", {"dispatched_at": NOON}, "The message has started batch B1 of w at 2026-03-16T12:00:00Z."),
    ("recorded", {}, "The message told the end of a task and is recorded."),
]


#: Attributes of Airflow, and the first line for a message that waits without a reason, or with one of Airflow's.
OF_WAITING_MESSAGE: list[tuple[dict[str, Any], str | None, str]] = [
    ({"known": None}, "waits: Airflow has no DAG 'w' yet", "No DAG file defines w yet."),
    ({"known": None}, None, "No DAG file defines w yet."),
    ({"known": DagState(paused=True, stale=False, running=0)}, "waits: x.", "The message waits: x."),
    (
        {"known": DagState(paused=True, stale=False, running=0)},
        None,
        "No dispatcher has taken it since 2026-03-16T12:00:00Z: accelerator_dispatcher is paused. Unpause the DAG accel",
    ),
    (
        {"state": {"metadatabase": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}}},
        None,
        "No dispatcher has taken it since 2026-03-16T12:00:00Z: triggerer none has ever run. Start `airflow triggerer`,",
    ),
    ({}, None, "No dispatcher has taken it since 2026-03-16T12:00:00Z. See the checks"),
]


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(("said", "reason", "line"), OF_WAITING_MESSAGE)
def test_a_message_that_waits_for_airflow(
    accelerator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], reason: str | None, line: str
) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS", "projects/p/subscriptions/s")
    rows(request("received", reason=reason))
    airflow.state["metadatabase"] = {"status": "healthy"}
    vars(airflow).update(said)
    assert accelerator("why", "77").out.startswith(line)


@pytest.mark.usefixtures("application_database")
@pytest.mark.parametrize("name", ["77", "B1"])
@pytest.mark.parametrize(("state", "values", "line"), OF_MESSAGE, ids=lambda value: value[:30] if isinstance(value, str) else "")
def test_a_message(
    accelerator, monkeypatch: pytest.MonkeyPatch, name: str, state: str, values: dict[str, Any], line: str
) -> None:
    # Its row is enough.
    monkeypatch.setattr(why_commands, "open_view", unseen)
    rows(request(state, **values))
    found = accelerator("why", name)
    assert found.code == 0, found.err
    assert found.out.startswith(line)


@pytest.mark.usefixtures("embedded_database")
def test_a_message_that_has_started_its_batch_goes_on_with_it(accelerator, airflow: Airflow) -> None:
    rows(batch(), request("dispatched", dispatched_at=NOON))
    airflow.known = DagState(paused=True, stale=False, running=0)
    assert accelerator("why", "77").out.startswith("DAG w is paused.")
