"""The inbox on both databases: one row a message, one accepted request a batch, claims that run out."""

from __future__ import annotations

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from provider import messages
from provider.metadata import definitions, inbox
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import BatchRequest, Workflow

SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"


@pytest.fixture(autouse=True)
def _workflow(application_database: str) -> None:
    rows = definitions.DefinitionRows(
        workflows=[{"workflow_id": "daily_sales"}, {"workflow_id": "stock", "enabled": False}],
        tasks=[
            {"task_id": "stg_orders", "workflow_id": "daily_sales", "task_type": "t"},
            {"task_id": "stg_customers", "workflow_id": "daily_sales", "task_type": "t"},
            {"task_id": "stg_stock", "workflow_id": "stock", "task_type": "t"},
        ],
    )
    with write_session() as session:
        definitions.replace_workflows(session, rows)


def message(message_id: str, **fields: Any) -> inbox.InboxMessage:
    return messages.read(json.dumps(fields).encode(), {"origin": "test"}, message_id, datetime(2024, 3, 16, tzinfo=UTC))


def receive(*received: inbox.InboxMessage, subscription: str = SUBSCRIPTION) -> dict[str, int]:
    with write_session() as session:
        return dict(inbox.receive(session, subscription, received))


def rows() -> list[BatchRequest]:
    with read_session() as session:
        return list(session.scalars(select(BatchRequest).order_by(BatchRequest.id)))


def claim(**kwargs: Any) -> list[inbox.WaitingRequest]:
    with write_session() as session:
        return inbox.claim(session, **kwargs)


def next_due() -> datetime | None:
    with read_session() as session:
        return inbox.waiting(session)


def test_a_message_is_stored_whole() -> None:
    sent = message("1", task_id="stg_orders", batch_id="B1", scope="workflow", params={"x": 1})
    assert receive(sent) == {"received": 1}
    (row,) = rows()
    assert (row.workflow_id, row.batch_id, row.task_id) == ("daily_sales", "B1", "stg_orders")
    assert (row.kind, row.state, row.reason, row.scope, row.params) == ("start", "received", None, "workflow", {"x": 1})
    assert (row.payload, row.attributes, row.published_at) == (sent.payload, {"origin": "test"}, sent.published_at)


def test_a_message_delivered_again_changes_nothing() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    (first,) = claim()
    with write_session() as session:
        inbox.mark(session, first.id, inbox.DISPATCHED)
    assert receive(message("1", task_id="stg_orders", batch_id="B1")) == {"redelivered": 1}
    (row,) = rows()
    assert row.state == "dispatched"


def test_a_rejected_message_delivered_again_changes_nothing() -> None:
    assert receive(message("1", task_id="nobody")) == {"rejected": 1}
    assert receive(message("1", task_id="nobody")) == {"redelivered": 1}
    assert len(rows()) == 1


def test_the_same_request_published_again_is_a_duplicate() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    assert receive(message("2", task_id="stg_orders", batch_id="B1")) == {"duplicate": 1}
    assert "message 1" in str(rows()[1].reason)
    assert len(claim()) == 1


def test_copies_within_one_pull() -> None:
    sent = [message(str(number), task_id="stg_orders", batch_id="B1") for number in (1, 2, 2, 3)]
    assert receive(*sent) == {"received": 1, "duplicate": 2, "redelivered": 1}


def test_the_same_message_id_in_another_subscription_is_another_message() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    assert receive(message("1", task_id="stg_orders", batch_id="B2"), subscription=f"{SUBSCRIPTION}-2") == {"received": 1}


def test_a_message_id_given_anew_is_another_message() -> None:
    """An emulator counts from 1 again after its restart."""
    old = message("1", task_id="stg_orders", batch_id="B1")
    new = dataclasses.replace(message("1", task_id="stg_orders", batch_id="B2"), published_at=datetime(2024, 3, 17, tzinfo=UTC))
    assert receive(old) == {"received": 1}
    assert receive(new) == {"received": 1}
    assert receive(new, old) == {"redelivered": 2}
    assert [request.batch_id for request in claim()] == ["B1", "B2"]


@pytest.mark.parametrize("other", [{"task_id": "stg_customers"}, {"scope": "task"}, {"params": {"x": 1}}])
def test_another_request_under_an_accepted_batch_id_is_rejected(other: dict[str, Any]) -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    assert receive(message("2", **{"task_id": "stg_orders", "batch_id": "B1"} | other)) == {"rejected": 1}
    assert "needs a new batch_id" in str(rows()[1].reason)


def test_a_batch_id_whose_request_was_rejected_is_free_again() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1", params={"day": "wrong"}))
    (first,) = claim()
    with write_session() as session:
        inbox.mark(session, first.id, inbox.REJECTED, "Airflow refuses it")
    assert receive(message("2", task_id="stg_orders", batch_id="B1", params={"day": "right"})) == {"received": 1}


def test_an_unknown_task_is_rejected_with_the_reason() -> None:
    assert receive(message("1", task_id="nobody"), message("2", task_id="stg_orders")) == {"rejected": 1, "received": 1}
    assert "'nobody' is in no row of the table tasks" in str(rows()[0].reason)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b"not JSON",
        b'{"task_id": "\\u0000"}',
        b'{"task_id": "stg_orders", "batch_id": "../x/y"}',
        b"\x00" * 10**6,
    ],
)
def test_bytes_of_any_kind_are_kept_with_a_reason(data: bytes) -> None:
    assert receive(messages.read(data, {"key": "\x00\ud800"}, "1", None)) == {"rejected": 1}
    (row,) = rows()
    assert row.payload == data
    assert row.reason
    assert claim() == []


def test_one_transaction_a_pull() -> None:
    broken = messages.read(b"{}", {}, None, None)  # type: ignore[arg-type]  # the column refuses it, after the first row
    with pytest.raises(Exception, match="message_id"):
        receive(message("1", task_id="stg_orders"), broken)
    assert rows() == []


def test_writers_at_the_same_time_accept_one() -> None:
    """Eight pulls at once, each with the same batch under a message id of its own."""
    barrier = threading.Barrier(8)

    def pull(number: int) -> dict[str, int]:
        barrier.wait()
        return receive(message(f"m{number}", task_id="stg_orders", batch_id="B1"))

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(pull, range(8)))
    assert sorted(str(outcome) for outcome in outcomes) == ["{'duplicate': 1}"] * 7 + ["{'received': 1}"]
    assert len(rows()) == 8


def test_claims_at_the_same_time_share_nothing() -> None:
    receive(*(message(str(number), task_id="stg_orders") for number in range(40)))
    barrier = threading.Barrier(4)

    def take(_: int) -> list[inbox.WaitingRequest]:
        barrier.wait()
        return claim(limit=10)

    with ThreadPoolExecutor(4) as pool:
        claimed = [request.id for requests in pool.map(take, range(4)) for request in requests]
    assert len(claimed) == len(set(claimed))
    assert len(claimed) + len(claim()) == 40


def test_requests_are_claimed_oldest_first_and_whole() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1", scope="task", params={"x": [1]}))
    receive(message("2", task_id="stg_customers", batch_id="B2"))
    first, second = claim()
    assert (first.batch_id, second.batch_id) == ("B1", "B2")
    assert (first.workflow_id, first.task_id, first.scope) == ("daily_sales", "stg_orders", "task")
    assert (first.message_id, first.params, first.attempts) == ("1", {"x": [1]}, 0)


def test_a_claim_that_was_not_followed_up_runs_out() -> None:
    receive(message("1", task_id="stg_orders"))
    (first,) = claim(seconds=3600)
    assert claim() == []
    due = next_due()
    assert due is not None
    assert due > datetime.now(UTC) + timedelta(minutes=59)
    with write_session() as session:
        session.execute(update(BatchRequest).values(next_attempt_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert claim() == [first]


def test_a_request_keeps_its_first_end() -> None:
    receive(message("1", task_id="stg_orders"))
    (request,) = claim()
    with write_session() as session:
        inbox.mark(session, request.id, inbox.DISPATCHED)
        inbox.mark(session, request.id, inbox.REJECTED, "late")
        inbox.postpone(session, request.id, "late")
    (row,) = rows()
    assert (row.state, row.reason, row.next_attempt_at, row.attempts) == ("dispatched", None, None, 0)
    assert row.dispatched_at is not None
    assert next_due() is None


def test_postponing_waits_longer_each_time() -> None:
    receive(message("1", task_id="stg_orders"))
    (request,) = claim()
    waits = []
    for attempt in range(1, 9):
        before = datetime.now(UTC)
        with write_session() as session:
            inbox.postpone(session, request.id, f"no DAG yet, {attempt}")
        (row,) = rows()
        assert row.next_attempt_at is not None
        waits.append((row.next_attempt_at - before).total_seconds())
        assert (row.state, row.reason, row.attempts) == ("received", f"no DAG yet, {attempt}", attempt)
        assert next_due() == row.next_attempt_at
    assert 4 < waits[0] < 7
    assert waits[2] > waits[1] > waits[0]
    assert max(waits) < 340


def test_nothing_waits_in_an_empty_inbox() -> None:
    assert next_due() is None
    assert claim() == []


def test_a_request_is_due_when_it_comes() -> None:
    receive(message("1", task_id="stg_orders"))
    due = next_due()
    assert due is not None
    assert due <= datetime.now(UTC)


def set_enabled(workflow_id: str, enabled: bool) -> None:
    with write_session() as session:
        session.execute(update(Workflow).where(Workflow.workflow_id == workflow_id).values(enabled=enabled))


def test_a_disabled_workflow_leaves_its_requests_waiting_with_the_reason() -> None:
    assert receive(message("1", task_id="stg_stock", batch_id="B1")) == {"received": 1}
    assert rows()[0].reason == inbox.WORKFLOW_DISABLED
    assert next_due() is None
    assert claim() == []
    set_enabled("stock", True)
    assert next_due() is not None
    assert [request.batch_id for request in claim()] == ["B1"]


def test_a_workflow_disabled_while_its_request_waits() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"), message("2", task_id="stg_customers", batch_id="B2"))
    set_enabled("daily_sales", False)
    assert next_due() is not None, "due once more, to be given the reason"
    assert claim() == []
    assert {row.reason for row in rows()} == {inbox.WORKFLOW_DISABLED}
    assert next_due() is None


def test_a_workflow_that_left_the_tables_is_still_tried() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    with write_session() as session:
        session.delete(session.get(Workflow, "daily_sales"))
    assert next_due() is not None
    assert len(claim()) == 1
