"""The inbox as people see it, on both databases: lists, and messages that are given back to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from provider.metadata import inbox_rows, request_queries, request_queue, states
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import StoredRequest
from provider.metadata.tables import BatchRequest
from tests.provider.metadata.inbox_world import SUBSCRIPTION, claim, message, receive, rows, store_definitions


@pytest.fixture(autouse=True)
def _definitions(application_database: str) -> None:
    store_definitions()


def newest(**wanted: Any) -> list[StoredRequest]:
    every: dict[str, Any] = {"states": states.REQUEST_STATES, "limit": 100}
    with read_session() as session:
        return request_queries.newest_requests(session, **every | wanted)


def found(**wanted: Any) -> list[str]:
    return [request["message_id"] for request in newest(**wanted)]


def as_stored(message_id: str, part: int = 0) -> tuple[int, str | None]:
    with read_session() as session:
        return request_queries.stored_as(session, SUBSCRIPTION, message_id, part)


def receive_mixture() -> None:
    receive(message("1", task_id="stg_orders"), message("2", task_id="stg_small"), message("3", task_id="nobody"))
    receive(message("4", task_id="stg_orders"))


def test_a_list_has_the_newest_first_and_no_more_than_asked_for() -> None:
    receive_mixture()
    assert found() == ["4", "3", "2", "1"]
    assert found(limit=2) == ["4", "3"]
    assert found(states=["rejected"]) == ["3"]
    assert found(workflow_id="daily_sales") == ["4", "1"]
    assert found(workflow_id="small", states=["rejected"]) == []


def test_what_came_at_the_same_moment_is_in_the_order_of_the_inbox() -> None:
    receive_mixture()
    moments = {"3": datetime(2024, 3, 17, tzinfo=UTC)}
    with write_session() as session:
        session.execute(update(BatchRequest).values(received_at=moments["3"] - timedelta(days=1)))
        session.execute(update(BatchRequest).where(BatchRequest.message_id == "3").values(received_at=moments["3"]))
    assert found() == ["3", "4", "2", "1"]


def test_a_request_of_a_list_has_all_but_its_payload() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1", params={"x": 1}))
    (request,) = newest()
    assert set(request) == set(StoredRequest.__annotations__)
    assert (request["workflow_id"], request["batch_id"], request["state"]) == ("daily_sales", "B1", "received")
    assert (request["params"], request["attributes"]) == ({"x": 1}, {"origin": "test"})


def test_a_message_that_is_forgotten_can_come_again_and_no_other() -> None:
    receive_mixture()
    receive(message("3", task_id="nobody"), subscription="another")
    with write_session() as session:
        request_queries.forget_message(session, SUBSCRIPTION, "3")
    assert [(row.subscription, row.message_id) for row in rows()] == [
        *((SUBSCRIPTION, "1"), (SUBSCRIPTION, "2"), (SUBSCRIPTION, "4"), ("another", "3")),
    ]
    again = [message(number, task_id="stg_small") for number in "34"]
    assert receive(*again) == {"received": 1, "redelivered": 1}


def test_a_message_is_found_as_it_was_stored_part_by_part() -> None:
    first = replace(message("1", task_id="stg_orders"), kind="start")
    receive(first, message("2", task_id="nobody"))
    with write_session() as session:
        row = session.get_one(BatchRequest, rows()[0].id)
        other = inbox_rows.NewRequest.of_row(row)
        assert inbox_rows.insert(session, replace(other, part=1, batch_id="other"), states.REJECTED, "the other part")
    assert as_stored("1") == (rows()[0].id, None)
    assert as_stored("1", part=1) == (rows()[2].id, "the other part")
    number, reason = as_stored("2")
    assert number == rows()[1].id
    assert "'nobody' is in no row of the table tasks" in str(reason)


# A person who does not want to wait.


def make_due(request_id: int) -> bool:
    with write_session() as session:
        return request_queue.make_due(session, request_id)


def test_a_postponed_request_is_tried_at_once_without_its_reason() -> None:
    receive(message("1", task_id="stg_orders"), message("2", task_id="stg_orders"))
    for request in claim():
        with write_session() as session:
            request_queue.postpone(session, request.id, "no DAG yet", seconds=3600)
    assert claim() == []

    first = rows()[0].id
    assert make_due(first)
    assert [(row.reason, row.next_attempt_at is None) for row in rows()] == [(None, True), ("no DAG yet", False)]
    assert [request.id for request in claim()] == [first]


def test_a_request_that_a_dispatcher_is_at_is_left_to_it() -> None:
    receive(message("1", task_id="stg_orders"))
    (request,) = claim()
    before = rows()[0].next_attempt_at

    assert not make_due(request.id)
    assert rows()[0].next_attempt_at == before
    assert claim() == []


def test_a_request_that_has_ended_is_not_tried_again() -> None:
    receive(message("1", task_id="nobody"))
    assert not make_due(rows()[0].id)
    assert rows()[0].reason
