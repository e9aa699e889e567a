"""Inbox and versions are swept on their own clock, whether anything is started or not."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from provider.metadata import request_queue, versions
from provider.metadata.engine import read_session, write_session
from provider.metadata.states import WORKFLOW_DISABLED
from provider.metadata.tables import BatchRequest, Workflow
from provider.metadata.workflow_rows import IMPORTED, Entry
from provider.triggers import pubsub
from provider.triggers.pubsub import Sweep, look_into_inbox
from tests.provider.metadata.inbox_world import message, receive, rows, store_definitions

pytestmark = pytest.mark.usefixtures("application_database")


def store_rejected(count: int, *, days_old: float) -> None:
    receive(*(message(f"{days_old} {number}", task_id="nobody") for number in range(count)))
    with write_session() as session:
        session.execute(
            update(BatchRequest)
            .where(BatchRequest.message_id.startswith(f"{days_old} "))
            .values(received_at=datetime.now(UTC) - timedelta(days=days_old))
        )


def test_looking_into_the_inbox_sweeps_it_though_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "_sweep", Sweep())
    store_rejected(3, days_old=400)
    store_rejected(1, days_old=1)
    assert look_into_inbox() == (None, None)
    assert [row.message_id for row in rows()] == ["1 0"]


def test_a_look_deletes_a_few_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    deleted = request_queue.delete_old
    ages: list[timedelta] = []

    def delete_two(session: object, age: timedelta) -> int:
        ages.append(age)
        return deleted(session, age, limit=2)  # type: ignore[arg-type]

    monkeypatch.setattr(request_queue, "delete_old", delete_two)
    store_rejected(5, days_old=36)
    sweep, left = Sweep(every=3600.0), []
    for _ in range(6):
        sweep.sweep_if_due()
        left.append(len(rows()))
    # Two, two, one; a fourth look that finds nothing; then none for an hour.
    assert (left, ages) == ([3, 1, 0, 0, 0, 0], [timedelta(days=35)] * 4)


def test_old_versions_go_by_the_rule_of_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__INBOX_RETENTION_DAYS", "soon")  # which is about requests alone
    entry: Entry = {"workflow": {"workflow_id": "one"}, "tasks": [], "dependencies": []}
    for workflow_id in ("one", "one", "two", "one", "one"):
        with write_session() as session:
            versions.record(session, IMPORTED, {workflow_id: entry}, by="ada")
    monkeypatch.setattr(versions, "KEPT", 3)
    Sweep().sweep_if_due()
    with read_session() as session:
        left = {workflow_id: [row["version"] for row in versions.history(session, workflow_id)] for workflow_id in ("one", "two")}

    assert left == {"one": [5, 4, 2], "two": [3]}


def test_a_retention_that_is_no_number_stops_the_sweep_and_not_the_intake(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pubsub, "_sweep", Sweep(every=3600.0))
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__INBOX_RETENTION_DAYS", "soon")
    store_rejected(1, days_old=400)
    with caplog.at_level(logging.ERROR, logger=pubsub.__name__):
        look_into_inbox()
        look_into_inbox()
    assert [record.getMessage().partition(":")[0] for record in caplog.records if record.name == pubsub.__name__] == [
        "Old requests stay in the inbox"
    ]
    assert len(rows()) == 1


def test_a_look_lets_requests_say_what_they_wait_for_now() -> None:
    store_definitions()
    receive(message("1", task_id="stg_stock"))
    assert [row.reason for row in rows()] == [WORKFLOW_DISABLED]
    with write_session() as session:
        session.execute(update(Workflow).values(enabled=True))
    due_at, waiting_since = look_into_inbox()
    assert [(row.reason, row.received_at) for row in rows()] == [(None, waiting_since)]
    assert due_at is not None
    with write_session() as session:
        session.execute(update(Workflow).values(enabled=False))
    assert look_into_inbox() == (None, waiting_since)
    assert [row.reason for row in rows()] == [WORKFLOW_DISABLED]
