"""
A thousand generated messages through the real intake, on each database: pull → inbox → claim → run.

None breaks the loop, none is evaluated, none touches another run, and each is accepted or rejected with a reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from airflow.sdk.execution_time import task_runner
from google.pubsub_v1.types import ReceivedMessage
from hypothesis import given, settings
from sqlalchemy import delete, insert, select, update

from provider.metadata import definitions
from provider.metadata.completions import latest_completion
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import Base, BatchRequest, TaskBatch, TaskLog
from provider.operators.dispatch import DispatchBatchRequestsOperator
from provider.triggers.pubsub import store
from tests.provider.hostile_messages import Messages
from tests.provider.metadata.inbox_world import SUBSCRIPTION, message, receive, rows, store_definitions
from tests.provider.operators.supervisor import WireSupervisor

PULLS, MESSAGES = 250, 4
WORKFLOWS = {"daily_sales", "small", "stock", "files_a", "files_b", "files_off", "files_bad"}
TASKS = ["stg_orders", "stg_orders", "dq_check", "refresh", "stg_small", "stg_stock", "load_a", "nobody"]
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
        definitions.replace_workflows(session, definitions.DefinitionRows(workflows=[bad], tasks=[], dependencies=[]))
    receive(
        message("1", task_id="stg_orders", batch_id=THERE, params={"x": "{{ 7 * 7 }}"}),
        message("2", task_id="nobody"),
        message("3", previous_task_id="dq_check", batch_id=THERE, status="ERROR", error="late"),
    )
    now = datetime.now(UTC)
    run = {"workflow_id": "daily_sales", "batch_id": THERE, "status": "PROCESSING", "updated_at": now}
    with write_session() as session:
        session.execute(update(BatchRequest).where(BatchRequest.message_id == "1").values(state="dispatched"))
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
        assert row.payload == sent.message.data
        assert row.attributes == dict(sent.message.attributes)
        assert row.state in ("received", "recorded", "duplicate", "rejected")
        assert row.reason or row.state in ("received", "recorded")
        assert row.reason is None or row.reason.isprintable()
        assert row.workflow_id is None or row.workflow_id in WORKFLOWS
        if row.state != "rejected" and row.kind == "completion":
            told = without_text(row.payload)
            assert (row.status, row.task_id, row.batch_id) == (told["status"], told["previous_task_id"], told["batch_id"])
            assert row.error == (told["error"] if told.get("error") is not None else told.get("error_message"))


def check_start(request: httpx.Request, row: BatchRequest, message_id: str) -> None:
    """What reaches Airflow is one segment of a path, and the values that were sent."""
    assert row.workflow_id in WORKFLOWS
    run_id = str(row.batch_id)
    assert SEGMENT.fullmatch(run_id)
    assert ".." not in run_id
    assert (row.workflow_id, run_id) != ("daily_sales", THERE)
    assert request.method == "POST"
    assert request.url.raw_path == f"/execution/dag-runs/{row.workflow_id}/{run_id}".encode()
    conf = json.loads(request.content)["conf"]
    assert conf["_accelerator"]["message_id"] == message_id
    assert conf["_accelerator"]["request_id"] == row.id
    params = {key: value for key, value in conf.items() if key not in OURS}
    if row.kind == "file":
        names = {"bucket": "bucketId", "object": "objectId", "generation": "objectGeneration"}
        assert params == {key: row.attributes[name] for key, name in names.items()}
        assert "start_task_id" not in conf
    elif row.kind == "completion":
        assert params == {}
    else:
        told = without_text(row.payload)
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


def test_a_thousand_messages(application_database: str, supervisor: WireSupervisor) -> None:
    plant()
    planted, before = [row.id for row in rows()], everything()
    operator = DispatchBatchRequestsOperator(task_id="dispatch", subscriptions=[SUBSCRIPTION])
    seen: Counter[str] = Counter()

    @settings(max_examples=PULLS, deadline=None, derandomize=True, database=None)
    @given(Messages(TASKS, BATCHES).pulls(MESSAGES))
    def each_is_accepted_or_has_a_reason(pull: list[ReceivedMessage]) -> None:
        with write_session() as session:
            session.execute(delete(BatchRequest).where(BatchRequest.id.not_in(planted)))
        supervisor.requests.clear()
        supervisor.sent.clear()

        assert store(SUBSCRIPTION, pull).total() == len(pull)
        new = [row for row in rows() if row.id not in planted]
        for item in pull:
            check_row(item, [row for row in new if row.message_id == item.message.message_id])
        stored = everything()
        assert store(SUBSCRIPTION, pull) == {"redelivered": len(pull)}
        assert everything() == stored

        operator.dispatch()
        after = {row.id: row for row in rows() if row.id not in planted}
        started = [row for row in after.values() if row.state == "dispatched"]
        assert [sent.run_id for sent in supervisor.sent] == [row.batch_id for row in started]
        for request, row in zip(supervisor.requests, started, strict=True):
            check_start(request, row, row.message_id)
        for row in after.values():
            if row.kind == "completion" and row.state in ("dispatched", "recorded"):
                check_completion(row)
            assert row.state in ("dispatched", "recorded") or row.reason
        assert everything(new=list(after)) == before
        seen.update(f"{row.kind} {row.state}" for row in after.values())
        seen.update({"messages": len(pull)})

    each_is_accepted_or_has_a_reason()
    print(dict(seen))  # noqa: T201
    assert seen["messages"] >= PULLS * MESSAGES
    assert {f"{kind} {state}" for kind in ("start", "file") for state in ("dispatched", "duplicate", "rejected")} <= set(seen)
    assert {"start received", "completion dispatched", "completion recorded", "file recorded"} <= set(seen)
