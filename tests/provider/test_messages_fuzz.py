"""
A thousand hostile messages through the real intake, one half on each database: pull → inbox → claim → run.

None breaks the loop, none is evaluated, none touches another run, and each is accepted or rejected with a reason.
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random, SystemRandom
from typing import Any

import httpx
import pytest
from airflow.sdk.execution_time import task_runner
from google.pubsub_v1.types import ReceivedMessage
from hypothesis import given, seed, settings
from sqlalchemy import delete, insert, make_url, select, update

from provider.metadata import definitions
from provider.metadata.completions import latest_completion
from provider.metadata.engine import read_session, write_session
from provider.metadata.inbox_rows import UNREAD_BYTES
from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import Base, BatchRequest, TaskBatch, TaskLog
from provider.operators.dispatch import DispatchBatchRequestsOperator
from provider.triggers.pubsub import commit_to_inbox
from tests.provider.hostile_messages import LIMITS, PLANTED, Messages, everywhere, received
from tests.provider.metadata.inbox_world import SUBSCRIPTION, message, receive, rows, store_definitions
from tests.provider.operators.supervisor import WireSupervisor
from tests.storms import fuzz_messages

GENERATED = 320
RANDOM = 250
WORKFLOWS = {"daily_sales", "small", "stock", "files_a", "files_b", "files_off", "files_bad"}
TASKS = ["stg_orders", "stg_orders", "dq_check", "refresh", "stg_small", "stg_stock", "load_a", "nobody"]
FIRST, COPY = "1", "2"
THERE = "Batch_that_is_there"
BATCHES = ["B1", "B2", "a+b:c~d.e_f-g", "x" * 200, THERE]
SEGMENT = re.compile(r"[A-Za-z0-9_.~:+-]{1,200}")
OURS = ("start_task_id", "scope", "_accelerator")


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> WireSupervisor:
    wire = WireSupervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", wire, raising=False)
    return wire


def plant() -> None:
    """Store definitions, a batch that runs with a request of each kind, and a workflow whose pattern no check let in."""
    store_definitions()
    bad = {"workflow_id": "files_bad", "file_pattern": "gs://landing/" + "{a,b}" * 20}
    with write_session() as session:
        definitions.replace_workflows(session, DefinitionRows(workflows=[bad], tasks=[], dependencies=[]))
    receive(
        message("p1", task_id="stg_orders", batch_id=THERE, params={"x": "{{ 7 * 7 }}"}),
        message("p2", task_id="nobody"),
        message("p3", previous_task_id="dq_check", batch_id=THERE, status="ERROR", error="late"),
    )
    now = datetime.now(UTC)
    run = {"workflow_id": "daily_sales", "batch_id": THERE, "status": "PROCESSING", "updated_at": now}
    with write_session() as session:
        session.execute(update(BatchRequest).where(BatchRequest.message_id == "p1").values(state="dispatched"))
        session.execute(insert(TaskBatch), [{**run, "created_at": now}])
        session.execute(
            insert(TaskLog), [{**run, "task_id": task_id, "row_source": "test"} for task_id in ("dq_check", "refresh")]
        )


def everything(new: Sequence[int] = ()) -> dict[str, Any]:
    """Return all rows of the database but new requests."""
    with read_session() as session:
        return {
            table.name: sorted(repr(dict(row)) for row in session.execute(select(table)).mappings() if row.get("id") not in new)
            for table in Base.metadata.sorted_tables
        }


def without_text(data: bytes) -> Any:
    """Read a payload as a publisher means it; None where it is no JSON."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def same_json(left: Any, right: Any) -> bool:
    """Compare with types: 1 is not True, nor 1.0."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def check_row(sent: ReceivedMessage, parts: list[BatchRequest]) -> None:
    """One row a message; several only for a file that starts several workflows."""
    assert len(parts) >= 1
    assert [row.part for row in parts] == list(range(len(parts)))
    assert len(parts) == 1 or {row.kind for row in parts} == {"file"}
    for row in parts:
        kept = row.state in ("received", "rejected") or (row.kind, row.state) == ("file", "recorded")
        assert row.payload == (sent.message.data[: len(row.payload)] if kept else b"")
        assert len(row.payload) == len(sent.message.data) or not kept or len(row.payload) >= UNREAD_BYTES
        assert row.attributes == (dict(sent.message.attributes) if kept else {})
        assert row.state in ("received", "recorded", "duplicate", "rejected")
        assert row.reason or row.state in ("received", "recorded")
        assert row.reason is None or row.reason.isprintable()
        assert row.workflow_id is None or row.workflow_id in WORKFLOWS
        if row.state != "rejected" and row.kind == "completion":
            told = without_text(sent.message.data)
            assert (row.status, row.task_id, row.batch_id) == (told["status"], told["previous_task_id"], told["batch_id"])
            assert row.error == (told["error"] if told.get("error") is not None else told.get("error_message"))


def check_start(request: httpx.Request, row: BatchRequest, sent: ReceivedMessage) -> None:
    """What reaches Airflow is one segment of a path, and the values that were sent."""
    assert row.workflow_id in WORKFLOWS
    run_id = str(row.batch_id)
    assert SEGMENT.fullmatch(run_id)
    assert ".." not in run_id
    assert (row.workflow_id, run_id) != ("daily_sales", THERE)
    assert request.method == "POST"
    assert request.url.raw_path == f"/execution/dag-runs/{row.workflow_id}/{run_id}".encode()
    conf = json.loads(request.content)["conf"]
    assert conf["_accelerator"]["message_id"] == row.message_id
    assert conf["_accelerator"]["request_id"] == row.id
    assert (conf["_accelerator"]["workflow_id"], conf["_accelerator"]["batch_id"]) == (row.workflow_id, run_id)
    params = {key: value for key, value in conf.items() if key not in OURS}
    if row.kind == "file":
        names = {"bucket": "bucketId", "object": "objectId", "generation": "objectGeneration"}
        assert params == {key: sent.message.attributes[name] for key, name in names.items()}
        assert "start_task_id" not in conf
    elif row.kind == "completion":
        assert params == {}
    else:
        told = without_text(sent.message.data)
        assert same_json(params, told.get("params") or {})
        assert conf["start_task_id"] == [told["task_id"]]
        assert conf["scope"] == (told.get("scope") or "downstream")


def check_completion(row: BatchRequest) -> None:
    """The sensor reads the last word on its task as it was sent."""
    with read_session() as session:
        found = latest_completion(session, (str(row.workflow_id), str(row.batch_id), str(row.task_id)))
    assert found is not None
    assert found.id >= row.id
    assert found.id != row.id or (found.status, found.error) == (row.status, row.error)


def check_copy(first: list[BatchRequest], copy: list[BatchRequest], told: Any) -> None:
    """The same words under another message id start nothing more, unless they name no batch."""
    if not isinstance(told, dict) or told.get("batch_id") is not None or first[0].kind == "file":
        assert "received" not in {row.state for row in copy}
    assert [row.state for row in copy if row.state == "rejected"] == [row.state for row in first if row.state == "rejected"]


class Intake:
    """An inbox with planted rows, and the dispatcher that starts what it accepts."""

    def __init__(self, supervisor: WireSupervisor) -> None:
        plant()
        self.supervisor = supervisor
        self.operator = DispatchBatchRequestsOperator(task_id="dispatch", subscriptions=[SUBSCRIPTION])
        self.planted, self.before = [row.id for row in rows()], everything()
        self.seen: Counter[str] = Counter()

    def take(self, item: ReceivedMessage) -> None:
        """Let a message come, come again, and come under another id; then dispatch, and look at everything."""
        with write_session() as session:
            session.execute(delete(BatchRequest).where(BatchRequest.id.not_in(self.planted)))
        self.supervisor.requests.clear()
        self.supervisor.sent.clear()
        data, attributes = item.message.data, dict(item.message.attributes)
        published: Any = item.message.publish_time
        again = received(COPY, data, attributes, published)

        assert commit_to_inbox(SUBSCRIPTION, [item, again]).total() == 2
        parts = {message_id: [row for row in rows() if row.message_id == message_id] for message_id in (FIRST, COPY)}
        for stored in parts.values():
            check_row(item, stored)
        check_copy(parts[FIRST], parts[COPY], without_text(data))
        assert commit_to_inbox(SUBSCRIPTION, [again, item]) == {"redelivered": 2}

        self.operator.execute_complete({})
        after = [row for row in rows() if row.id not in self.planted]
        assert [row.id for row in after] == [row.id for stored in parts.values() for row in stored]
        self._check_runs([row for row in after if row.state == "dispatched"], item)
        for row in after:
            if row.kind == "completion" and row.state in ("dispatched", "recorded"):
                check_completion(row)
            assert row.state in ("dispatched", "recorded") or row.reason
        assert everything(new=[row.id for row in after]) == self.before
        self.seen.update(f"{row.kind} {row.state}" for row in after)

    def _check_runs(self, started: list[BatchRequest], item: ReceivedMessage) -> None:
        sent = [(message.dag_id, getattr(message, "run_id", None)) for message in self.supervisor.sent]
        assert sent == [(row.workflow_id, row.batch_id) for row in started]
        for request, row in zip(self.supervisor.requests, started, strict=True):
            check_start(request, row, item)


@pytest.fixture
def intake(application_database: str, supervisor: WireSupervisor) -> Intake:
    return Intake(supervisor)


@pytest.mark.slow
def test_each_planted_text_in_each_place(intake: Intake) -> None:
    for item in everywhere(PLANTED + LIMITS):
        intake.take(item)
    states = {f"{kind} {state}" for kind in ("start", "file") for state in ("dispatched", "duplicate", "rejected")}
    assert {*states, "start received", "completion dispatched", "completion recorded"} <= set(intake.seen)


@pytest.mark.slow
def test_generated_messages(intake: Intake, application_database: str) -> None:
    @seed(zlib.crc32(make_url(application_database).get_backend_name().encode()))  # the same in every run, others on each
    @settings(max_examples=GENERATED, database=None)
    @given(Messages(TASKS, BATCHES).received())
    def each_is_accepted_or_has_a_reason(item: ReceivedMessage) -> None:
        intake.take(item)

    each_is_accepted_or_has_a_reason()
    assert {"start dispatched", "start duplicate", "start rejected", "completion recorded", "file dispatched"} <= set(intake.seen)


@pytest.mark.slow
def test_random_messages_each_end_in_a_known_state(application_database: str) -> None:
    """The small form of ``make fuzz``, in which Airflow answers at random, too."""
    number = SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {number} in {application_database}\n")
    judge = fuzz_messages.Judge()

    fuzz_messages.fuzz(RANDOM, Random(number), application_database, judge)

    assert judge.faults == {}
    assert judge.counts["messages"] >= RANDOM
    assert {"start rejected", "start dispatched"} <= set(judge.counts)


def test_a_message_without_a_reason_is_told(embedded_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is no judge otherwise."""
    monkeypatch.setattr(fuzz_messages, "DONE", ())
    judge = fuzz_messages.Judge()
    fuzz_messages.fuzz(25, Random(1), embedded_database, judge)
    assert "no reason" in judge.faults
