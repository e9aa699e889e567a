"""``accelerator rename``, on both databases: what changes, what stays, and what is in the way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from provider.metadata import batches
from provider.metadata.definition_rows import meant_since, read_definitions
from provider.metadata.engine import read_session, write_session
from provider.metadata.inbox import receive
from provider.metadata.inbox_message import InboxMessage
from provider.metadata.tables import AlertRule, BatchRequest, EarlierName, Task, TaskBatch, TaskLog, Workflow
from provider.metadata.workflow_rows import by_workflow, to_entry
from tests.provider.cli.conftest import Accelerator

pytestmark = pytest.mark.usefixtures("application_database")

NOW = datetime.now(UTC)
SALES: dict[str, Any] = {
    "workflow_id": "sales",
    "file_pattern": "gs://landing/*.csv",
    "tasks": [
        {"task_id": "load", "task_type": "external"},
        {"task_id": "model", "task_type": "external", "depends_on": ["load"]},
    ],
}
REPORTS: dict[str, Any] = {
    "workflow_id": "reports",
    "after": ["sales", "s3://bucket/other"],
    "tasks": [
        {"task_id": "run", "task_type": "run_workflow", "config": {"workflow": "sales", "params": {"name": "sales"}}},
        {"task_id": "wait", "task_type": "wait_for_workflow", "config": {"workflow": "sales"}},
        {"task_id": "other", "task_type": "run_workflow", "config": {"workflow": "elsewhere"}},
    ],
}


@pytest.fixture(autouse=True)
def _stored(application_database: str, accelerator: Accelerator, write: Any) -> None:
    assert accelerator("import", write(SALES, REPORTS)).code == 0


def batch(batch_id: str, workflow_id: str = "sales", status: str = "SUCCESS") -> None:
    with write_session() as session:
        values = {"workflow_id": workflow_id, "batch_id": batch_id, "status": status, "created_at": NOW, "updated_at": NOW}
        session.execute(insert(TaskBatch).values(**values))
        log: dict[str, Any] = {
            "workflow_id": workflow_id,
            "batch_id": batch_id,
            "task_id": "load",
            "status": status,
            "updated_at": NOW,
        }
        session.execute(insert(TaskLog).values(**log, row_source="test"))


def request(message_id: str, **values: Any) -> None:
    row: dict[str, Any] = {"subscription": "s", "message_id": message_id, "kind": "start", "state": "received", "payload": b"{}"}
    row |= {"workflow_id": "sales", "batch_id": message_id, "task_id": "load", "received_at": NOW, "start_task_ids": ["load"]}
    with write_session() as session:
        session.execute(insert(BatchRequest).values(**row | values))


def column(model: Any, name: str, **where: Any) -> list[Any]:
    with read_session() as session:
        statement = select(getattr(model, name)).order_by(*model.__table__.primary_key)
        return list(session.scalars(statement.filter_by(**where)))


def everything() -> dict[str, list[Any]]:
    with read_session() as session:
        models = (Workflow, Task, BatchRequest, TaskBatch, TaskLog, EarlierName, AlertRule)
        return {model.__tablename__: sorted(map(repr, session.execute(select(model.__table__)))) for model in models}


def test_the_definition_goes_and_the_record_stays(accelerator: Accelerator) -> None:
    batch("B1")
    request("B1", state="dispatched")
    request("B2")
    with write_session() as session:
        session.execute(insert(AlertRule).values(rule_id="r", workflow_id="sales", events="failure", notifier="mail"))
    result = accelerator("rename", "sales", "revenue")
    unknown = "a batch of sales that it does not know yet would lose its DAG"
    assert (result.code, result.err) == (0, f"warning: the record is complete as of never; {unknown}.\n")
    assert "sales is called revenue now." in result.out
    for line in (
        "alert_rules: 1 changed",
        "batch_requests: 2 changed",
        "earlier_names: 1 changed",
        "tasks: 4 changed",
        "workflows: 2 changed",
        "workflows row reports: after",
        "tasks row run: config.workflow",
        "tasks row wait: config.workflow",
        "task_batches: 1 kept under the name that they ran by",
        "task_logs: 1 kept under the name that they ran by",
    ):
        assert f"  {line}\n" in result.out
    assert "note: tasks row run has the text sales too, which is not changed; look at it." in result.out

    assert column(Workflow, "workflow_id") == ["reports", "revenue"]
    assert column(Workflow, "file_pattern", workflow_id="revenue") == ["gs://landing/*.csv"]
    assert column(Workflow, "after", workflow_id="reports") == [["revenue", "s3://bucket/other"]]
    assert column(Task, "task_id", workflow_id="revenue") == ["load", "model"]
    configs = dict(
        zip(column(Task, "task_id", workflow_id="reports"), column(Task, "config", workflow_id="reports"), strict=True)
    )
    assert configs == {
        "other": {"workflow": "elsewhere"},
        "run": {"workflow": "revenue", "params": {"name": "sales"}},
        "wait": {"workflow": "revenue"},
    }
    assert set(column(BatchRequest, "workflow_id")) == {"revenue"}
    assert column(AlertRule, "workflow_id") == ["revenue"]
    assert column(TaskBatch, "workflow_id") == column(TaskLog, "workflow_id") == ["sales"]


def test_its_batches_are_found_by_both_names(accelerator: Accelerator) -> None:
    batch("B1")
    accelerator("rename", "sales", "revenue")
    batch("B2", "revenue")
    for name, found in (("revenue", ["B1", "B2"]), ("sales", ["B1"])):
        listed = json.loads(accelerator("batches", "--workflow", name, "--output", "json").out)
        assert sorted(one["batch_id"] for one in listed) == found
    assert json.loads(accelerator("logs", "B1", "--workflow", "revenue", "-o", "json").out)["batch"]["workflow_id"] == "sales"


def test_nothing_of_the_old_name_runs_again(accelerator: Accelerator) -> None:
    batch("B1", status="ERROR")
    accelerator("rename", "sales", "revenue")
    result = accelerator("restart", "B1", "--dry-run")
    assert (
        result.code,
        "one of sales, which is called revenue now, and Airflow runs nothing of the old name again" in result.err,
    ) == (1, True)
    assert "There is nothing to run again." in accelerator("restart", "--failed", "--workflow", "revenue", "--dry-run").out


def test_the_reconciler_has_nothing_to_look_for_under_the_new_name(accelerator: Accelerator) -> None:
    batch("B1")
    accelerator("rename", "sales", "revenue")
    with read_session() as session:
        assert batches.open_batches(session) == {}
        logs, stored = batches.stored_runs(session, [("sales", "B1"), ("revenue", "B1")])
    assert [*logs] == [*stored] == [("sales", "B1")]


def test_a_batch_is_not_started_twice(accelerator: Accelerator) -> None:
    """Neither by a publisher that repeats itself, nor by news of a task in a batch that nobody asked for by a message."""
    batch("B1")
    batch("scheduled")
    request("B1", state="dispatched")
    accelerator("rename", "sales", "revenue")
    again = InboxMessage(
        message_id="m", published_at=NOW, attributes={}, payload=b"{}", kind="start", task_id="load", batch_id="B1"
    )
    news = InboxMessage(
        message_id="n",
        published_at=NOW,
        attributes={},
        payload=b"{}",
        kind="completion",
        task_id="load",
        batch_id="scheduled",
        status="SUCCESS",
    )
    with write_session() as session:
        counts = receive(session, "s", [again, news])
    assert counts == {"duplicate": 1, "recorded": 1}


def test_its_history_goes_with_it(accelerator: Accelerator, write: Any) -> None:
    changed = {**SALES, "description": "new"}
    accelerator("import", write(changed))
    accelerator("rename", "sales", "revenue")
    told = json.loads(accelerator("history", "revenue", "-o", "json").out)
    assert [one["action"] for one in told] == ["rename", "import", "import"]
    assert {one["rows"]["workflow"]["workflow_id"] for one in told} == {"revenue"}
    assert [one["action"] for one in json.loads(accelerator("history", "reports", "-o", "json").out)] == ["rename", "import"]
    assert accelerator("rollback", "revenue").code == 0
    assert column(Workflow, "workflow_id") == ["reports", "revenue"]
    assert column(Workflow, "description", workflow_id="revenue") == [None]


def test_a_parse_knows_that_it_was_meant(accelerator: Accelerator) -> None:
    with read_session() as session:
        before = meant_since(session, 0).newest
    accelerator("rename", "sales", "revenue")
    with read_session() as session:
        meant = meant_since(session, before)
        entries = {name: to_entry(rows) for name, rows in by_workflow(read_definitions(session)).items()}
    assert meant.covers("sales", None)
    for name in ("revenue", "reports"):
        assert meant.covers(name, entries[name])


def test_a_dry_run_changes_nothing(accelerator: Accelerator) -> None:
    batch("B1")
    request("B2")
    before = everything()
    result = accelerator("rename", "sales", "revenue", "--dry-run")
    assert result.code == 0
    assert "sales would be called revenue. Nothing was changed (dry run)." in result.out
    assert "  batch_requests: 1 changed\n" in result.out
    assert everything() == before
    assert [one["action"] for one in json.loads(accelerator("history", "sales", "-o", "json").out)] == ["import"]


def test_there_and_back_and_on(accelerator: Accelerator) -> None:
    batch("B1")
    for old, new in (("sales", "b"), ("b", "sales"), ("sales", "c"), ("c", "d")):
        assert accelerator("rename", old, new).code == 0, (old, new)
    assert column(EarlierName, "earlier_id", workflow_id="d") == ["b", "c", "sales"]
    assert set(column(EarlierName, "workflow_id")) == {"d"}
    assert column(Workflow, "after", workflow_id="reports")[0][0] == "d"
    assert len(json.loads(accelerator("batches", "--workflow", "d", "-o", "json").out)) == 1


@pytest.mark.parametrize("status", ["NEW", "PROCESSING"])
def test_a_batch_that_runs_is_in_the_way(accelerator: Accelerator, status: str) -> None:
    batch("B1", status=status)
    batch("old")
    before = everything()
    result = accelerator("rename", "sales", "revenue")
    assert result.code == 1
    assert "batches of sales have not ended: B1. Their DAG would be gone; wait for their end" in result.err
    assert everything() == before


def test_a_batch_that_is_about_to_begin_is_in_the_way(accelerator: Accelerator) -> None:
    request("claimed", claimed_until=NOW + timedelta(hours=1))
    request("started", state="dispatched", dispatched_at=datetime.now(UTC))
    request("seen", state="dispatched", dispatched_at=datetime.now(UTC))
    batch("seen")
    request("long_ago", state="dispatched", dispatched_at=NOW - timedelta(hours=1))
    request("waits")
    assert "batches of sales have not ended: claimed, started. " in accelerator("rename", "sales", "revenue").err


@pytest.mark.parametrize("taken", ["reports", "gone", "messages"])
def test_a_name_that_is_taken(accelerator: Accelerator, taken: str) -> None:
    batch("B1", "gone")
    request("B1", workflow_id="messages")
    before = everything()
    result = accelerator("rename", "sales", taken)
    assert (result.code, f"there is, or was, a workflow {taken} (rows in " in result.err) == (1, True)
    assert everything() == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sale", "revenue", "there is no workflow sale; did you mean sales?"),
        ("sales", "sales", "sales is called so already; give another name."),
        ("sales", "a/b", "workflow_id: may hold letters, digits, '_', '-' and '.' only; rename it"),
        ("sales", "accelerator_x", "which is kept for the DAGs of this package; rename it"),
    ],
)
def test_a_name_that_cannot_be(accelerator: Accelerator, old: str, new: str, said: str) -> None:
    before = everything()
    result = accelerator("rename", old, new)
    assert (result.code, said in result.err + result.out) == (1, True), result
    assert everything() == before


def test_a_workflow_with_a_problem_is_repaired_first(accelerator: Accelerator) -> None:
    with write_session() as session:
        session.execute(update(Task).where(Task.task_id == "load").values(task_type="nothing"))
    result = accelerator("rename", "sales", "revenue")
    assert (result.code, "task_type: 'nothing' is not known" in result.err + result.out) == (1, True)


def test_a_problem_of_another_workflow_is_not_in_the_way(accelerator: Accelerator) -> None:
    with write_session() as session:
        session.execute(update(Task).where(Task.task_id == "other").values(task_type="nothing"))
    assert accelerator("rename", "sales", "revenue").code == 0


def test_what_airflow_starts_at_once_is_told(accelerator: Accelerator, write: Any) -> None:
    accelerator("import", write({**SALES, "schedule": "@daily", "start_date": "2024-01-01"}))
    out = accelerator("rename", "sales", "revenue", "--dry-run").out
    assert "note: Airflow starts its run of " in out
    assert "Airflow sees a new DAG revenue at the next parse, which is not paused. Its DAG sales keeps the runs" in out
