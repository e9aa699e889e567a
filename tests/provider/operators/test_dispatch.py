"""The whole round: what is due in the inbox is claimed, started and marked, with helpers in a burst."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.comms import GetDRCount, OKResponse, TriggerDagRun
from airflow.serialization.serialized_objects import DagSerialization
from sqlalchemy import select, update

from provider import messages
from provider.dispatch import loop
from provider.exceptions import ConfigurationError
from provider.metadata import definitions, inbox, request_queue
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import BatchRequest
from provider.operators.dispatch import DispatchBatchRequestsOperator, DispatchDueRequestsOperator
from tests.provider.operators.supervisor import ALREADY_EXISTS, Supervisor, claimed_request, refusal, run_of

LOG = structlog.get_logger("test")
SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"


@pytest.fixture
def operator(application_database: str) -> DispatchBatchRequestsOperator:
    rows = DefinitionRows(
        workflows=[{"workflow_id": name, "max_active_batches": 100} for name in ("daily_sales", "calendar", "others")],
        tasks=[
            {"task_id": "stg_orders", "workflow_id": "daily_sales", "task_type": "t"},
            {"task_id": "dim_date", "workflow_id": "calendar", "task_type": "t"},
            {"task_id": "third", "workflow_id": "others", "task_type": "t"},
        ],
    )
    with write_session() as session:
        definitions.replace_workflows(session, rows)
    return DispatchBatchRequestsOperator(task_id="dispatch", subscriptions=[SUBSCRIPTION])


def receive(*batch_ids: str, task_id: str = "stg_orders") -> None:
    with write_session() as session:
        inbox.receive(
            session,
            SUBSCRIPTION,
            [
                messages.read(json.dumps({"task_id": task_id, "batch_id": item}).encode(), {}, uuid.uuid4().hex, None)
                for item in batch_ids
            ],
        )


def make_due() -> None:
    with write_session() as session:
        session.execute(update(BatchRequest).values(next_attempt_at=None))


def row(batch_id: str) -> BatchRequest:
    with read_session() as session:
        return session.scalars(select(BatchRequest).where(BatchRequest.batch_id == batch_id)).one()


def test_one_run_for_each_request(supervisor: Supervisor, operator: DispatchBatchRequestsOperator) -> None:
    batch_ids = [f"B{number}" for number in range(7)]
    receive(*batch_ids)
    assert loop.dispatch(LOG, limit=3) == {"dispatched": 7}
    assert supervisor.started() == batch_ids
    assert operator.execute_complete({}) == {}
    assert supervisor.started() == batch_ids


def test_what_was_started_is_recorded_when_the_rest_cannot_be(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator
) -> None:
    receive("B1", "B2", "B3")

    def die() -> Any:
        raise AirflowTaskTimeout

    supervisor.answers["B3"] = die
    with pytest.raises(AirflowTaskTimeout):
        loop.dispatch(LOG)
    assert [row(batch_id).state for batch_id in ("B1", "B2", "B3")] == ["dispatched", "dispatched", "received"]


def test_the_requests_of_one_claim_are_recorded_before_the_next_claim(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator
) -> None:
    receive("B1", "B2", "B3")
    seen: list[str] = []

    def look() -> Any:
        seen.extend(row(batch_id).state for batch_id in ("B1", "B2"))
        return OKResponse(ok=True)

    supervisor.answers["B3"] = look
    assert loop.dispatch(LOG, limit=2) == {"dispatched": 3}
    assert seen == ["dispatched", "dispatched"]


def test_a_crash_between_start_and_record_makes_no_second_run(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive("B1")
    with monkeypatch.context() as patch:
        patch.setattr(request_queue, "mark", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            loop.dispatch(LOG)
    (first,) = supervisor.sent
    assert isinstance(first, TriggerDagRun)
    assert row("B1").state == "received"
    supervisor.answers["B1"] = ALREADY_EXISTS
    supervisor.runs["B1"] = run_of(claimed_request(batch_id="B1"), first.conf)
    make_due()
    assert loop.dispatch(LOG) == {"dispatched": 1}


def test_each_request_has_an_end_of_its_own(supervisor: Supervisor, operator: DispatchBatchRequestsOperator) -> None:
    receive("good", "bad", "foreign", "early")
    supervisor.answers |= {
        "bad": refusal(400, "value_error", "no such day"),
        "foreign": ALREADY_EXISTS,
        "early": refusal(404, "not_found"),
    }
    supervisor.runs["foreign"] = run_of(claimed_request(batch_id="foreign"), {"_accelerator": {"request_id": 4711}})
    assert loop.dispatch(LOG) == {"dispatched": 1, "rejected": 1, "duplicate": 1, "received": 1}
    assert (row("good").state, row("good").reason) == ("dispatched", None)
    assert (row("bad").state, row("foreign").state) == ("rejected", "duplicate")
    early = row("early")
    assert (early.state, early.attempts) == ("received", 1)
    assert early.next_attempt_at is not None
    assert "no DAG 'daily_sales' yet" in str(early.reason)
    supervisor.answers.clear()
    make_due()
    assert loop.dispatch(LOG) == {"dispatched": 1}
    assert row("early").reason is None


def test_an_outage_ends_the_round_and_costs_the_others_no_attempt(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator
) -> None:
    receive("B1", "B2", "B3")
    supervisor.answers["B2"] = refusal(503)
    assert loop.dispatch(LOG, limit=10) == {"dispatched": 1, "received": 2}
    assert supervisor.started() == ["B1", "B2"]
    assert [row(batch_id).attempts for batch_id in ("B2", "B3")] == [1, 0]
    assert "503" in str(row("B3").reason)


def test_a_start_that_fails_unexpectedly_holds_up_no_other_workflow(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator
) -> None:
    receive("B1", "B2")
    receive("C1", task_id="dim_date")
    supervisor.answers["B1"] = EOFError("supervisor\ngone")
    with structlog.testing.capture_logs() as logged:
        assert loop.dispatch(LOG, limit=10) == {"dispatched": 1, "received": 2}
    assert supervisor.started() == ["B1", "C1"]
    assert [(row(name).state, row(name).attempts, row(name).claimed_until) for name in ("B1", "B2", "C1")] == [
        ("received", 1, None),
        ("received", 0, None),
        ("dispatched", 0, None),
    ]
    assert row("B1").reason == row("B2").reason == "waits: its run could not be started (EOFError: supervisor gone)."
    assert row("B1").next_attempt_at is not None
    (failure,) = [entry["event"] for entry in logged if entry["log_level"] == "error"]
    assert "batch B1 of workflow daily_sales" in failure
    assert "in trigger_dag_run" in failure


def test_a_start_that_fails_unexpectedly_does_not_tell_a_secret(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator
) -> None:
    fields = {"task_id": "stg_orders", "batch_id": "B1", "params": {"api_password": "hunter2"}}
    with write_session() as session:
        inbox.receive(session, SUBSCRIPTION, [messages.read(json.dumps(fields).encode(), {}, "m", None)])
    supervisor.answers["B1"] = ValueError("cannot send {'api_password': 'hunter2'}")
    with structlog.testing.capture_logs() as logged:
        assert loop.dispatch(LOG) == {"received": 1}
    assert "could not be started (ValueError: " in str(row("B1").reason)
    assert "hunter2" not in f"{row('B1').reason} {logged}"


# A burst.


def test_each_full_claim_of_a_burst_calls_one_helper(supervisor: Supervisor, operator: DispatchBatchRequestsOperator) -> None:
    batch_ids = [f"B{number}" for number in range(8)]
    receive(*batch_ids)
    assert loop.dispatch(LOG, limit=1, burst_dag_id="burst", helpers=2) == {"dispatched": 8}
    calls = [message for message in supervisor.sent if isinstance(message, TriggerDagRun) and message.dag_id == "burst"]
    first, second = [call.run_id for call in calls]
    assert supervisor.started() == [first, *batch_ids[:4], second, *batch_ids[4:]]
    assert (first.startswith("burst_"), first.endswith(f"_{row('B0').id}")) == (True, True)
    assert [(call.conf, call.logical_date) for call in calls] == [({}, None)] * 2
    (count,) = [message for message in supervisor.sent if isinstance(message, GetDRCount)]
    assert (count.dag_id, count.states) == ("burst", ["queued", "running"])


@pytest.mark.parametrize(("number", "called"), [(7, 0), (8, 1), (9, 1), (10, 2)])
def test_help_is_called_for_full_claims_alone(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator, number: int, called: int
) -> None:
    """The first claim is of 8, the second of 2."""
    receive(*(f"B{number}" for number in range(number)))
    assert loop.dispatch(LOG, limit=2, burst_dag_id="burst", helpers=3) == {"dispatched": number}
    assert supervisor.active_runs["burst"] == called


@pytest.mark.parametrize(("there", "called"), [(1, 1), (2, 0), (3, 0)])
def test_nobody_is_called_when_enough_are_there(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator, there: int, called: int
) -> None:
    supervisor.active_runs["burst"] = there
    batch_ids = [f"B{number}" for number in range(6)]
    receive(*batch_ids)
    assert loop.dispatch(LOG, limit=1, burst_dag_id="burst", helpers=2) == {"dispatched": 6}
    assert supervisor.started()[called:] == batch_ids
    assert supervisor.active_runs["burst"] == there + called


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        # One question and one call, as another one would not be heard either.
        (refusal(404, "not_found"), 2),
        (refusal(400, "import_errors"), 2),
        (refusal(503), 2),
        # Such a run was called before, so it counts, and the next claim calls the other one.
        (ALREADY_EXISTS, 3),
    ],
)
def test_a_call_that_starts_nobody_changes_nothing(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator, answer: Any, sent: int
) -> None:
    batch_ids = [f"B{number}" for number in range(6)]
    receive(*batch_ids)
    supervisor.answer_of_dag["burst"] = answer
    assert loop.dispatch(LOG, limit=1, burst_dag_id="burst", helpers=2) == {"dispatched": 6}
    assert len([message for message in supervisor.sent if message.dag_id == "burst"]) == sent
    assert {row(batch_id).state for batch_id in batch_ids} == {"dispatched"}


def test_a_helper_takes_what_nobody_has_claimed(supervisor: Supervisor, operator: DispatchBatchRequestsOperator) -> None:
    receive("B1", "B2", "B3")
    with write_session() as session:
        assert [item.batch_id for item in request_queue.claim(session, 1)] == ["B1"]
    assert DispatchDueRequestsOperator(task_id="dispatch").execute({}) == {"dispatched": 2}
    assert supervisor.started() == ["B2", "B3"]


def test_the_dispatcher_calls_its_own_helpers(supervisor: Supervisor, operator: DispatchBatchRequestsOperator) -> None:
    receive(*(f"B{number}" for number in range(100)))
    receive(*(f"C{number}" for number in range(75)), task_id="dim_date")
    with_helpers = DispatchBatchRequestsOperator(
        task_id="dispatch", subscriptions=[SUBSCRIPTION], burst_dag_id="burst", burst_helpers=2
    )
    assert with_helpers.execute_complete({}) == {"dispatched": 175}
    assert supervisor.started()[0].endswith(f"_{row('B0').id}")
    assert supervisor.active_runs["burst"] == 2


def test_a_helper_ends_after_its_time(supervisor: Supervisor, operator: DispatchBatchRequestsOperator) -> None:
    """Requests of a workflow that Airflow cannot start come back as fast as a helper can claim them."""
    receive(*(f"B{number}" for number in range(26)))
    assert DispatchDueRequestsOperator(task_id="dispatch", dispatch_seconds=-1.0).execute({}) == {"dispatched": 25}


# Slow, long, or broken.


def test_the_fault_of_one_workflow_does_not_stop_the_others(
    supervisor: Supervisor, operator: DispatchBatchRequestsOperator
) -> None:
    receive("B1", "B2")
    receive("C1", "C2", task_id="dim_date")
    supervisor.answer_of_dag["daily_sales"] = refusal(500)
    assert loop.dispatch(LOG, limit=1) == {"dispatched": 2, "received": 2}
    assert supervisor.started() == ["B1", "C1", "C2"]
    assert [row(batch_id).attempts for batch_id in ("B1", "B2")] == [1, 0]


def test_two_faults_are_an_outage(supervisor: Supervisor, operator: DispatchBatchRequestsOperator) -> None:
    receive("B1")
    receive("C1", task_id="dim_date")
    receive("D1", task_id="third")
    supervisor.answer_of_dag |= {"daily_sales": refusal(500), "calendar": refusal(None)}
    assert loop.dispatch(LOG, limit=3) == {"received": 3}
    assert supervisor.started() == ["B1", "C1"]
    assert (row("D1").attempts, "500" in str(row("D1").reason)) == (0, True)


def test_what_a_slow_api_leaves_of_a_claim_is_given_back(supervisor: Supervisor, operator: DispatchBatchRequestsOperator) -> None:
    receive("B1")
    assert loop.dispatch(LOG, start_seconds=-1.0) == {"received": 1}
    assert supervisor.sent == []
    assert (row("B1").attempts, row("B1").claimed_until, row("B1").reason) == (0, None, "waits: Airflow's API is slow.")


def test_after_its_time_nothing_more_is_claimed(supervisor: Supervisor, operator: DispatchBatchRequestsOperator) -> None:
    receive("B1", "B2", "B3")
    assert loop.dispatch(LOG, limit=2, seconds=-1.0) == {"dispatched": 2}
    assert (row("B3").state, row("B3").claimed_until) == ("received", None)


@pytest.mark.parametrize(
    "name", ["", "task-batches", "projects/p/topics/t", "projects/p/subscriptions/s/x", "projects//subscriptions/abc"]
)
def test_a_subscription_that_is_none_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match="projects/PROJECT/subscriptions/SUBSCRIPTION"):
        DispatchBatchRequestsOperator(task_id="dispatch", subscriptions=[name])


def test_the_serialized_task_starts_in_the_triggerer() -> None:
    with DAG("mine", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        DispatchBatchRequestsOperator(task_id="dispatch", subscriptions=[SUBSCRIPTION, SUBSCRIPTION], poke_interval=2.0)
    task = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag)))).get_task("dispatch")
    assert task.start_from_trigger is True
    assert task.start_trigger_args is not None
    assert task.start_trigger_args.trigger_cls == "provider.triggers.pubsub.PubSubInboxTrigger"
    assert task.start_trigger_args.next_method == "execute_complete"
    kwargs = DagSerialization.deserialize(task.start_trigger_args.trigger_kwargs)
    assert (kwargs["subscriptions"], kwargs["first_event_after"], kwargs["poll_interval"]) == ([SUBSCRIPTION], 0.0, 2.0)


def test_out_of_a_worker_it_defers_and_leaves_the_scheduler_time(embedded_database: str) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    operator: Callable[..., Any] = DispatchBatchRequestsOperator(task_id="dispatch", subscriptions=[SUBSCRIPTION]).execute
    with pytest.raises(TaskDeferred) as deferred:
        operator({})
    assert deferred.value.method_name == "execute_complete"
    assert deferred.value.trigger.first_event_after == 5.0
