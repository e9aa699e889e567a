"""The inbox on both databases: one row a message, one accepted request a batch."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from provider import messages
from provider.metadata import inbox, inbox_rows, request_queue, states
from provider.metadata.engine import write_session
from provider.metadata.inbox_message import InboxMessage
from provider.metadata.inbox_rows import NewRequest, known_messages
from provider.metadata.tables import BatchRequest, TaskBatch, Workflow
from tests.provider.metadata.inbox_world import SUBSCRIPTION, claim, message, receive, rows, store_definitions


@pytest.fixture(autouse=True)
def _definitions(application_database: str) -> None:
    store_definitions()


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
        request_queue.mark(session, [first.id], states.DISPATCHED)
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


def test_only_messages_of_the_pull_are_looked_up() -> None:
    receive(message("1", task_id="nobody"), message("2", task_id="nobody"))
    with write_session() as session:
        assert list(known_messages(session, SUBSCRIPTION, [message("2"), message("3")])) == ["2"]


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
        request_queue.mark(session, [first.id], states.REJECTED, "Airflow refuses it")
    assert receive(message("2", task_id="stg_orders", batch_id="B1", params={"day": "right"})) == {"received": 1}


def test_an_unknown_task_is_rejected_with_the_reason() -> None:
    assert receive(message("1", task_id="nobody"), message("2", task_id="stg_orders")) == {"rejected": 1, "received": 1}
    assert rows()[0].reason == (
        "task_id 'nobody' is in no row of the table tasks; correct the message, or import the workflow and send it again."
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b"not JSON",
        b'{"task_id": "\\u0000"}',
        b'{"task_id": "stg_orders", "batch_id": "../x/y"}',
        b"\x00" * 4096,
    ],
)
def test_bytes_of_any_kind_are_kept_with_a_reason(data: bytes) -> None:
    assert receive(messages.read(data, {"key": "\x00\ud800"}, "1", None)) == {"rejected": 1}
    (row,) = rows()
    assert row.payload == data
    assert row.reason
    assert claim() == []


def test_of_a_refused_giant_the_beginning_is_kept_and_a_hash() -> None:
    giant = b"x" * 9_900_000
    receive(messages.read(giant, {}, "1", None))
    (row,) = rows()
    assert (row.state, row.payload, row.payload_bytes) == ("rejected", giant[:4096], len(giant))
    assert row.payload_sha256 == hashlib.sha256(giant).hexdigest()


def test_of_a_files_message_no_more_is_kept_than_of_another() -> None:
    attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "b", "objectId": "o", "objectGeneration": "1"}
    receive(messages.read(b"x" * 9_900_000, attributes, "1", None))
    assert len(rows()[0].payload) == 256 * 1024


def test_the_largest_message_that_is_read_waits_whole_and_has_its_duplicates() -> None:
    sent = message("1", task_id="stg_orders", batch_id="B1", params={"x": "y" * 262_000})
    assert 262_000 < len(sent.payload) <= 256 * 1024
    assert receive(sent, dataclasses.replace(sent, message_id="2")) == {"received": 1, "duplicate": 1}
    assert (rows()[0].payload, rows()[0].params) == (sent.payload, sent.params)
    assert claim()[0].params == sent.params


def test_a_duplicate_is_compared_with_the_accepted_request_and_not_with_a_rejected_one() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1", params={"x": 1}))
    assert receive(message("2", task_id="stg_orders", batch_id="B1", params={"x": 2})) == {"rejected": 1}
    assert receive(message("3", task_id="stg_orders", batch_id="B1", params={"x": 2})) == {"rejected": 1}
    assert receive(message("4", task_id="stg_orders", batch_id="B1", params={"x": 1})) == {"duplicate": 1}
    assert [row.reason for row in rows() if row.reason and "message 1" not in row.reason] == []
    with write_session() as session:  # the rejected one is the older row now
        session.execute(update(BatchRequest).where(BatchRequest.message_id == "1").values(id=99))
    assert receive(message("5", task_id="stg_orders", batch_id="B1", params={"x": 1})) == {"duplicate": 1}


SECRETS = {"password": "Hunter2", "api_key": "Hunter3"}


@pytest.mark.parametrize("state", [states.DISPATCHED, states.DUPLICATE, states.RECORDED])
def test_what_a_request_said_is_forgotten_with_its_end(state: str) -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1", params=SECRETS))
    (claimed,) = claim()
    assert claimed.params == SECRETS
    with write_session() as session:
        request_queue.mark(session, [claimed.id], state)
    (row,) = rows()
    assert (row.params, row.payload, row.attributes, row.payload_bytes > 0) == (None, b"", {}, True)
    if state == states.DISPATCHED:
        assert receive(message("2", task_id="stg_orders", batch_id="B1", params=SECRETS)) == {"duplicate": 1}
        assert (rows()[1].params, rows()[1].payload) == (None, b"")


def test_a_rejected_request_keeps_what_it_said_for_another_chance() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1", params=SECRETS))
    (claimed,) = claim()
    with write_session() as session:
        request_queue.mark(session, [claimed.id], states.REJECTED, "too early")
    assert rows()[0].params == SECRETS
    assert rows()[0].payload != b""


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


# Completions.


def ended(message_id: str, task_id: str, batch_id: str = "B1", status: str = "SUCCESS", **fields: Any) -> InboxMessage:
    return message(message_id, task_id=task_id, previous_task_id=task_id, batch_id=batch_id, status=status, **fields)


def add_batch(batch_id: str, workflow_id: str = "daily_sales", status: str = "PROCESSING") -> None:
    now = datetime.now(UTC)
    with write_session() as session:
        session.add(TaskBatch(workflow_id=workflow_id, batch_id=batch_id, status=status, created_at=now, updated_at=now))


@pytest.mark.parametrize("status", ["PROCESSING", "SUCCESS", "ERROR"])
def test_the_end_of_a_task_in_a_batch_that_exists_is_an_event_of_it(status: str) -> None:
    add_batch("B1", status=status)
    assert receive(ended("1", "dq_check"), ended("2", "dq_check", status="ERROR", error="late")) == {"recorded": 2}
    assert [(row.kind, row.task_id, row.status, row.error, row.reason) for row in rows()] == [
        ("completion", "dq_check", "SUCCESS", None, None),
        ("completion", "dq_check", "ERROR", "late", None),
    ]
    assert claim() == []


def test_the_end_of_a_task_in_a_batch_that_is_about_to_start() -> None:
    assert receive(message("1", task_id="stg_orders", batch_id="B1"), ended("2", "dq_check")) == {"received": 1, "recorded": 1}
    assert [request.message_id for request in claim()] == ["1"]


@pytest.mark.parametrize("status", ["SUCCESS", "ERROR"])
def test_the_end_of_an_external_task_starts_its_batch_with_it(status: str) -> None:
    assert receive(ended("1", "dq_check", status=status)) == {"received": 1}
    (request,) = claim()
    assert (request.kind, request.workflow_id, request.batch_id) == ("completion", "daily_sales", "B1")
    assert (request.task_id, request.start_task_ids, request.scope, request.params) == (
        *("dq_check", ["dq_check"], "downstream"),
        {},
    )


def test_the_end_of_another_task_starts_its_batch_behind_it() -> None:
    assert receive(ended("1", "stg_orders")) == {"received": 1}
    (request,) = claim()
    assert (request.task_id, request.start_task_ids) == ("stg_orders", ["refresh"])


@pytest.mark.parametrize(("task_id", "status"), [("stg_orders", "ERROR"), ("refresh", "SUCCESS"), ("refresh", "ERROR")])
def test_an_end_after_which_there_is_nothing_to_start_is_recorded(task_id: str, status: str) -> None:
    assert receive(ended("1", task_id, status=status)) == {"recorded": 1}
    assert "nothing to start" in str(rows()[0].reason)


def test_the_end_of_a_task_that_airflow_runs_is_recorded_only() -> None:
    add_batch("B1")
    assert receive(ended("1", "stg_orders")) == {"recorded": 1}
    assert "Airflow runs task 'stg_orders' itself" in str(rows()[0].reason)


def test_two_ends_start_one_batch() -> None:
    assert receive(ended("1", "stg_orders"), ended("2", "stg_customers"), ended("2", "stg_customers")) == {
        "received": 1,
        "recorded": 1,
        "redelivered": 1,
    }


def test_ends_at_the_same_time_start_one_batch() -> None:
    barrier = threading.Barrier(8)

    def pull(number: int) -> dict[str, int]:
        barrier.wait()
        return receive(ended(f"m{number}", "dq_check"))

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(pull, range(8)))
    assert sorted(str(outcome) for outcome in outcomes) == ["{'received': 1}"] + ["{'recorded': 1}"] * 7


def test_a_batch_of_the_same_id_in_another_workflow_is_another_batch() -> None:
    receive(message("1", task_id="stg_small", batch_id="B1"))
    assert receive(ended("2", "dq_check", batch_id="B1")) == {"received": 1}


def test_an_end_whose_other_copy_is_stored_in_this_moment_is_redelivered(monkeypatch: pytest.MonkeyPatch) -> None:
    look = inbox_rows.has_batch

    def look_too_early(session: Session, request: NewRequest) -> bool:
        found = look(session, request)
        inbox_rows.insert(session, request, states.RECEIVED)
        return found

    monkeypatch.setattr(inbox, "has_batch", look_too_early)
    assert receive(ended("1", "dq_check")) == {"redelivered": 1}
    assert len(rows()) == 1


def test_the_end_of_an_unknown_task_is_rejected() -> None:
    assert receive(ended("1", "nobody")) == {"rejected": 1}
    assert "'nobody' is in no row" in str(rows()[0].reason)


# Files.


def arrived(message_id: str, name: str, generation: str = "1", event: str = "OBJECT_FINALIZE") -> InboxMessage:
    attributes = {"eventType": event, "bucketId": "landing", "objectId": name, "objectGeneration": generation}
    return messages.read(b"{}", attributes, message_id, datetime(2024, 3, 16, tzinfo=UTC))


def test_a_file_starts_each_enabled_workflow_that_waits_for_it() -> None:
    assert receive(arrived("1", "sales/orders.csv")) == {"received": 1}
    first, second = claim()
    assert {first.workflow_id, second.workflow_id} == {"files_a", "files_b"}
    assert first.batch_id == second.batch_id
    assert first.params == {"bucket": "landing", "object": "sales/orders.csv", "generation": "1"}
    assert (first.kind, first.task_id, first.start_task_ids, first.scope) == ("file", None, None, "workflow")


def test_a_part_of_a_files_message_is_received_again_alone() -> None:
    receive(arrived("1", "sales/orders.csv"))
    refused, other = claim()
    with write_session() as session:
        request_queue.mark(session, [refused.id], states.REJECTED, "Airflow refuses it")
    with write_session() as session:
        assert inbox.receive_part_again(session, session.get_one(BatchRequest, refused.id)) == "received"

    assert [(row.workflow_id, row.part, row.state, row.reason) for row in rows() if row.id != other.id] == [
        (refused.workflow_id, 0, "received", None)
    ]
    (again,) = claim()
    assert dataclasses.replace(again, id=refused.id) == refused


def test_a_file_that_is_told_again_is_a_duplicate_and_a_new_one_is_not() -> None:
    receive(arrived("1", "sales/orders.csv"))
    assert receive(arrived("1", "sales/orders.csv")) == {"redelivered": 1}
    assert receive(arrived("2", "sales/orders.csv")) == {"duplicate": 1}
    assert receive(arrived("3", "sales/orders.csv", generation="2")) == {"received": 1}
    assert len({(request.workflow_id, request.batch_id) for request in claim()}) == 4


def test_a_file_delivered_again_after_the_patterns_changed_changes_nothing() -> None:
    receive(arrived("1", "sales/orders.csv"))
    with write_session() as session:
        session.execute(update(Workflow).where(Workflow.workflow_id == "small").values(file_pattern="gs://landing/**"))
    assert receive(arrived("1", "sales/orders.csv")) == {"redelivered": 1}
    assert len(rows()) == 2


@pytest.mark.parametrize(
    ("name", "event", "reason"),
    [
        ("sales/orders.json", "OBJECT_FINALIZE", "no enabled workflow has a file_pattern that matches this file."),
        ("in/", "OBJECT_FINALIZE", "the object stands for a folder, by its name, and starts nothing."),
        ("sales/orders.csv", "OBJECT_DELETE", "event 'OBJECT_DELETE' of a file starts nothing; OBJECT_FINALIZE does."),
    ],
)
def test_a_file_that_nobody_waits_for_is_recorded(name: str, event: str, reason: str) -> None:
    if name.endswith("/"):
        with write_session() as session:
            session.execute(update(Workflow).where(Workflow.workflow_id == "small").values(file_pattern="gs://landing/**"))
    assert receive(arrived("1", name, event=event)) == {"recorded": 1}
    assert claim() == []
    assert rows()[0].reason == reason


def file(message_id: str, size: int | None) -> InboxMessage:
    attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "landing", "objectId": "sales/a.csv"}
    attributes["objectGeneration"] = message_id
    return messages.read(b"" if size is None else b'{"size": "%d"}' % size, attributes, message_id, None)


def test_an_empty_file_starts_no_workflow_that_asks_for_a_size() -> None:
    with write_session() as session:
        session.execute(update(Workflow).where(Workflow.workflow_id == "files_a").values(file_min_size=10))
        session.execute(update(Workflow).where(Workflow.workflow_id == "files_b").values(file_min_size=1))
    assert receive(file("1", 0)) == {"recorded": 1}
    assert receive(file("2", None)) == {"recorded": 1}
    assert receive(file("3", 9)) == {"received": 1}
    assert receive(file("4", 10)) == {"received": 1}
    assert [(row.message_id, row.workflow_id) for row in rows()] == [
        *(("1", None), ("2", None), ("3", "files_b"), ("4", "files_a"), ("4", "files_b")),
    ]
    assert [str(row.reason).partition(";")[0] for row in rows()[:2]] == [
        "the file has 0 bytes, fewer than file_min_size (1) of any workflow that waits for it.",
        "the notification does not tell the file's size, and file_min_size asks for it",
    ]
