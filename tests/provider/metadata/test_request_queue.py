"""The inbox as a queue on both databases: claims that run out, and no more batches of a workflow than it may have."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from sqlalchemy import delete, update

from provider.metadata import free_places, request_queue, states, waiting_reasons
from provider.metadata.engine import read_session, write_session
from provider.metadata.leader_lock import LeaderLock
from provider.metadata.rows import ClaimedRequest
from provider.metadata.tables import BatchRequest, TaskBatch, Workflow
from tests.provider.metadata.inbox_world import claim, message, next_due, receive, rows, store_definitions


@pytest.fixture(autouse=True)
def _definitions(application_database: str) -> None:
    store_definitions()


def explain() -> None:
    with read_session() as session:
        if not waiting_reasons.has_wrong_reasons(session):
            return
    with write_session() as session:
        waiting_reasons.explain_waiting(session)
    with read_session() as session:
        assert not waiting_reasons.has_wrong_reasons(session)


def set_places(workflow_id: str, batches: int) -> None:
    with write_session() as session:
        session.execute(update(Workflow).where(Workflow.workflow_id == workflow_id).values(max_active_batches=batches))


def start(*requests: ClaimedRequest) -> None:
    """Start the requests' batches, of which the reconciler does not know yet."""
    with write_session() as session:
        for request in requests:
            request_queue.mark(session, [request.id], states.DISPATCHED)


def see(batch_id: str, status: str) -> None:
    """Let the reconciler see a batch of the workflow ``small``."""
    now = datetime.now(UTC)
    with write_session() as session:
        session.merge(TaskBatch(workflow_id="small", batch_id=batch_id, status=status, created_at=now, updated_at=now))


def test_claims_at_the_same_time_share_nothing() -> None:
    receive(*(message(str(number), task_id="stg_orders") for number in range(40)))
    set_places("daily_sales", 100)
    barrier = threading.Barrier(4)

    def take(_: int) -> list[ClaimedRequest]:
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
    assert (first.message_id, first.params, rows()[0].attempts) == ("1", {"x": [1]}, 0)


def test_claims_do_not_wait_for_the_reconciler() -> None:
    """It leads as long as its scheduler runs, beside every dispatcher."""
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    leader = LeaderLock()
    assert leader.acquire()
    try:
        assert [request.batch_id for request in claim()] == ["B1"]
    finally:
        leader.release()


def test_a_claim_that_was_not_followed_up_runs_out() -> None:
    receive(message("1", task_id="stg_orders"))
    (first,) = claim(seconds=3600)
    assert claim() == []
    due = next_due()
    assert due is not None
    assert due > datetime.now(UTC) + timedelta(minutes=59)
    with write_session() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(BatchRequest).values(next_attempt_at=past, claimed_until=past))
    assert claim() == [first]


def test_the_moment_in_which_a_claim_runs_out_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    receive(message("1", task_id="stg_small"), message("2", task_id="stg_small"), message("3", task_id="stg_small"))
    claimed = claim()
    assert rows()[0].claimed_until is not None
    moment: Any = rows()[0].claimed_until

    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return moment

    monkeypatch.setattr(request_queue, "datetime", Then)
    assert claim() == claimed, "it counts neither as claimed nor as about to start"


def test_no_more_requests_are_claimed_than_asked_for() -> None:
    receive(*(message(str(number), task_id="stg_orders") for number in range(3)))
    assert [request.message_id for request in claim(limit=2)] == ["0", "1"]
    assert [request.message_id for request in claim(limit=2)] == ["2"]


def test_a_request_keeps_its_first_end() -> None:
    receive(message("1", task_id="stg_orders"))
    (request,) = claim()
    with write_session() as session:
        request_queue.mark(session, [request.id], states.DISPATCHED)
        request_queue.mark(session, [request.id], states.REJECTED, "late")
        request_queue.postpone(session, request.id, "late")
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
            request_queue.postpone(session, request.id, f"no DAG yet, {attempt}")
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
    assert rows()[0].reason == states.WORKFLOW_DISABLED
    assert next_due() is None
    assert claim() == []
    set_enabled("stock", True)
    assert next_due() is not None
    assert [request.batch_id for request in claim()] == ["B1"]


def test_a_workflow_disabled_while_its_request_waits() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"), message("2", task_id="stg_customers", batch_id="B2"))
    set_enabled("daily_sales", False)
    assert next_due() is None
    assert claim() == []
    explain()
    assert {row.reason for row in rows()} == {states.WORKFLOW_DISABLED}
    set_enabled("daily_sales", True)
    explain()
    assert {row.reason for row in rows()} == {None}


def test_a_workflow_that_left_the_tables_is_still_tried() -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    with write_session() as session:
        session.delete(session.get(Workflow, "daily_sales"))
    assert next_due() is not None
    assert len(claim()) == 1


# max_active_batches: two of the workflow ``small``.


def fill(count: int = 4) -> None:
    receive(*(message(str(number), task_id="stg_small", batch_id=f"B{number}") for number in range(count)))


def test_no_more_requests_are_claimed_than_the_workflow_may_have_batches() -> None:
    fill()
    receive(message("other", task_id="stg_orders", batch_id="other"))
    assert [request.batch_id for request in claim()] == ["B0", "B1", "other"], "others do not wait for this workflow"
    assert claim() == []
    assert [row.batch_id for row in rows() if row.state == "received"] == ["B0", "B1", "B2", "B3", "other"]


def test_older_requests_of_another_workflow_take_no_place_of_this_one() -> None:
    receive(*(message(f"other{number}", task_id="stg_orders", batch_id=f"other{number}") for number in range(3)))
    fill()
    assert [request.batch_id for request in claim()] == ["other0", "other1", "other2", "B0", "B1"]


def test_a_place_becomes_free_with_the_end_of_a_batch_and_the_oldest_request_has_it() -> None:
    fill()
    start(*claim())
    assert (claim(), next_due()) == ([], None)
    for status in ("NEW", "PROCESSING"):
        see("B0", status)
        assert (claim(), next_due()) == ([], None)
    see("B0", "ERROR")
    assert next_due() is not None
    assert [request.batch_id for request in claim()] == ["B2"]
    due = next_due()
    assert due is None or due > datetime.now(UTC)


def test_batches_that_people_start_count_too() -> None:
    see("by_hand", "PROCESSING")
    fill()
    assert [request.batch_id for request in claim()] == ["B0"]


def test_a_batch_that_is_never_seen_gives_its_place_back() -> None:
    fill()
    start(*claim())
    with write_session() as session:
        long_ago = datetime.now(UTC) - timedelta(seconds=free_places.UNSEEN_SECONDS + 1)
        session.execute(update(BatchRequest).where(BatchRequest.batch_id == "B1").values(dispatched_at=long_ago))
    assert [request.batch_id for request in claim()] == ["B2"]


def test_a_postponed_request_gives_its_place_to_the_next() -> None:
    fill(3)
    first, _second = claim()
    with write_session() as session:
        request_queue.postpone(session, first.id, "no DAG yet")
    assert [request.batch_id for request in claim()] == ["B2"]


def test_who_waits_for_a_place_says_so_until_it_has_it() -> None:
    fill()
    assert {row.reason for row in rows()} == {None}
    start(*claim())
    explain()
    assert {row.batch_id: row.reason for row in rows()} == {
        "B0": None,
        "B1": None,
        "B2": states.WORKFLOW_FULL,
        "B3": states.WORKFLOW_FULL,
    }
    see("B0", "SUCCESS")
    start(*claim())
    explain()
    assert {row.batch_id: row.reason for row in rows() if row.reason} == {"B3": states.WORKFLOW_FULL}


def test_a_claimed_request_is_its_claimers_until_the_claim_runs_out() -> None:
    fill(3)
    start(claim()[0])
    explain()
    see("B0", "SUCCESS")
    assert [request.batch_id for request in claim()] == ["B2"]
    set_enabled("small", False)
    explain()
    assert {row.batch_id: row.reason for row in rows()} == {"B0": None, "B1": None, "B2": states.WORKFLOW_FULL}
    with write_session() as session:
        ran_out = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(BatchRequest).where(BatchRequest.claimed_until.is_not(None)).values(claimed_until=ran_out))
    explain()
    disabled = states.WORKFLOW_DISABLED
    assert {row.batch_id: row.reason for row in rows()} == {"B0": None, "B1": disabled, "B2": disabled}


def test_claims_at_the_same_time_take_the_last_place_once() -> None:
    fill()
    barrier = threading.Barrier(4)

    def take(_: int) -> list[ClaimedRequest]:
        barrier.wait()
        return claim()

    with ThreadPoolExecutor(4) as pool:
        claimed = [request.batch_id for requests in pool.map(take, range(4)) for request in requests]
    assert sorted(claimed) == ["B0", "B1"]


# Age.


def test_old_ends_are_swept_and_what_waits_is_kept() -> None:
    receive(message("1", task_id="nobody"), message("2", task_id="stg_orders"), message("3", task_id="nobody"))
    with write_session() as session:
        old = datetime.now(UTC) - timedelta(days=36)
        session.execute(update(BatchRequest).where(BatchRequest.message_id != "3").values(received_at=old))
    with write_session() as session:
        assert request_queue.oldest_waiting_since(session) == old
        assert request_queue.delete_old(session, timedelta(days=35)) == 1
    assert [row.message_id for row in rows()] == ["2", "3"]
    with write_session() as session:
        session.execute(delete(BatchRequest))
        assert request_queue.oldest_waiting_since(session) is None
