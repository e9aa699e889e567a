"""Beside a workflow that got another id: who takes the old one, names it, waits for it, or asks for its batches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text

from provider.metadata.engine import get_engine, read_session, write_session
from provider.metadata.inbox import receive
from provider.metadata.inbox_message import InboxMessage
from provider.metadata.renaming import names_of
from provider.metadata.tables import BatchRequest, EarlierName, Task, TaskBatch, TaskLog, Workflow
from tests.provider.cli.conftest import Accelerator
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("application_database")

NOW = datetime.now(UTC)
WAITS = {"task_id": "wait", "task_type": "wait_for_workflow", "config": {"workflow": "sales"}}


def workflow(workflow_id: str, *tasks: Any, **columns: Any) -> dict[str, Any]:
    own = {"task_id": f"{workflow_id}_task", "task_type": "external"}
    return {"workflow_id": workflow_id, **columns, "tasks": list(tasks) or [own]}


@pytest.fixture(autouse=True)
def _stored(application_database: str, accelerator: Accelerator, write: Any) -> None:
    assert accelerator("import", write(workflow("sales"))).code == 0


def batch(batch_id: str, workflow_id: str, status: str = "SUCCESS") -> None:
    values = {"workflow_id": workflow_id, "batch_id": batch_id, "status": status, "created_at": NOW, "updated_at": NOW}
    log = {key: values[key] for key in ("workflow_id", "batch_id", "status", "updated_at")}
    with write_session() as session:
        session.execute(insert(TaskBatch).values(**values))
        session.execute(insert(TaskLog).values(**log, task_id=f"{workflow_id}_task", row_source="test"))


def by_sql(*workflow_ids: str) -> None:
    with write_session() as session:
        session.execute(insert(Workflow), [{"workflow_id": one} for one in workflow_ids])
        tasks = [{"task_id": f"{one}_of_sql", "workflow_id": one, "task_type": "external", "config": {}} for one in workflow_ids]
        session.execute(insert(Task), tasks)


def gone_by_sql(workflow_id: str) -> None:
    with write_session() as session:
        session.execute(delete(Task).where(Task.workflow_id == workflow_id))
        session.execute(delete(Workflow).where(Workflow.workflow_id == workflow_id))


def names() -> Mapping[str, list[str]]:
    with read_session() as session:
        found: dict[str, list[str]] = {}
        for row in session.execute(select(EarlierName.workflow_id, EarlierName.earlier_id).order_by(EarlierName.earlier_id)):
            found.setdefault(row.workflow_id, []).append(row.earlier_id)
        return found


class TestTheOldId:
    @pytest.mark.parametrize("options", [(), ("--dry-run",), ("--prune",)])
    def test_is_refused_to_a_file(self, accelerator: Accelerator, write: Any, options: tuple[str, ...]) -> None:
        accelerator("rename", "sales", "revenue")
        another = write(workflow("sales", {"task_id": "another", "task_type": "external"}))
        result = accelerator("import", another, *options)
        said = (
            "workflows row sales: workflow_id: revenue was called so; write revenue here if it is that one, or give it another id"
        )
        assert (result.code, said in result.out) == (1, True), result
        assert [accelerator("diff", another).code, names()] == [2, {"revenue": ["sales"]}]

    def test_is_free_once_its_workflow_is_gone(self, accelerator: Accelerator, write: Any) -> None:
        accelerator("rename", "sales", "revenue")
        assert accelerator("import", write(workflow("other")), "--prune").code == 0
        assert accelerator("import", write(workflow("sales"))).code == 0
        assert names() == {}

    def test_counts_for_nothing_while_somebody_else_has_it(self, accelerator: Accelerator) -> None:
        batch("B1", "sales")
        accelerator("rename", "sales", "revenue")
        by_sql("sales")
        batch("B2", "sales")
        listed = json.loads(accelerator("batches", "--workflow", "revenue", "--output", "json").out)
        assert listed == []
        with read_session() as session:
            assert (names_of(session, "revenue"), names_of(session, "sales")) == (["revenue"], ["sales"])

    def test_goes_with_who_had_it_last(self, accelerator: Accelerator) -> None:
        accelerator("rename", "sales", "revenue")
        by_sql("sales")
        assert accelerator("rename", "sales", "turnover").code == 0
        assert names() == {"turnover": ["sales"]}
        result = accelerator("rename", "revenue", "sales")
        assert (result.code, "there is, or was, a workflow sales" in result.err) == (1, True), result

    def test_does_not_come_back_after_somebody_else_had_it(self, accelerator: Accelerator, write: Any) -> None:
        accelerator("rename", "sales", "revenue")
        by_sql("sales")
        stored = accelerator("export", "sales").out
        accelerator("disable", "sales")  # the history has it now
        gone_by_sql("sales")
        assert "of_sql" in stored
        result = accelerator("rename", "revenue", "sales")
        assert (result.code, "there is, or was, a workflow sales" in result.err) == (1, True), result


class TestWhoNamesIt:
    def test_in_a_single_text(self, accelerator: Accelerator) -> None:
        by_sql("other")
        with write_session() as session:
            session.execute(text("UPDATE workflows SET after = '\"sales\"' WHERE workflow_id = 'other'"))
        assert accelerator("rename", "sales", "revenue").code == 0
        assert "other starts after revenue." in accelerator("graph", "other").out

    def test_in_a_version_from_before(self, accelerator: Accelerator, write: Any) -> None:
        first = workflow("reports", WAITS, after=["sales"])
        for stored in (first, workflow("reports")):
            assert accelerator("import", write(stored)).code == 0
        accelerator("rename", "sales", "revenue")
        result = accelerator("rollback", "reports")
        assert (result.code, "warning" in result.err) == (0, False), result
        exported = accelerator("export", "reports", "--format", "json").out
        (back,) = json.loads(exported)["workflows"]
        assert (back["after"], back["tasks"][0]["config"]["workflow"]) == (["revenue"], "revenue")

    def test_whose_batch_waits_for_one_of_it(self, accelerator: Accelerator, write: Any) -> None:
        accelerator("import", write(workflow("reports", WAITS)))
        batch("B1", "reports", "PROCESSING")
        result = accelerator("rename", "sales", "revenue")
        assert (result.code, result.out) == (1, "")
        assert "batches of reports have not ended: B1. They wait for batches of sales; wait for their end" in result.err

    def test_in_a_mistake_that_was_there_before(self, accelerator: Accelerator, write: Any) -> None:
        accelerator("import", write(workflow("reports", after=["sales"])))
        with write_session() as session:
            session.execute(text("UPDATE workflows SET after = '[\"reports\"]' WHERE workflow_id = 'sales'"))
        assert "sales" in accelerator("validate").out
        result = accelerator("rename", "sales", "sales_eu")
        assert result.code == 0, result


class TestWhoAsks:
    def test_what_failed_of_others_runs_again(self, accelerator: Accelerator, write: Any) -> None:
        accelerator("import", write(workflow("reports")))
        for workflow_id in ("sales", "reports"):
            batch(f"of_{workflow_id}", workflow_id, "ERROR")
        accelerator("rename", "sales", "revenue")
        result = accelerator("restart", "--failed", "--dry-run")
        assert "note: batch of_sales is one of sales, which is called revenue now" in result.err
        assert (result.code, "of_reports" in result.out, "of_sales" in result.out) == (0, True, False), result

    def test_why_says_what_can_be_done(self, accelerator: Accelerator) -> None:
        batch("B1", "sales", "ERROR")
        accelerator("rename", "sales", "revenue")
        said = accelerator("why", "B1").out
        assert "Its workflow is called revenue now: mend the cause, then `accelerator run revenue`." in " ".join(said.split())
        assert "accelerator restart" not in said

    def test_of_a_record_that_nobody_writes(self, accelerator: Accelerator) -> None:
        result = accelerator("rename", "--dry-run", "sales", "revenue")
        assert "the record is complete as of never; a batch of sales that it does not know yet would lose its DAG" in result.err


def test_a_message_is_of_the_one_name_or_of_the_other(accelerator: Accelerator) -> None:
    """Whoever stores messages and whoever renames see each other's whole work; on SQLite one waits for the other anyway."""
    if get_engine().dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time anyway")
    message = InboxMessage(
        message_id="m", published_at=NOW, attributes={}, payload=b"{}", kind="start", task_id="sales_task", batch_id="B1"
    )
    waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with ThreadPoolExecutor(1) as pool:
        with write_session() as session:
            assert receive(session, "s", [message]) == {"received": 1}
            renamed = pool.submit(accelerator, "rename", "sales", "revenue")

            def is_waiting() -> bool:
                with read_session() as other:
                    return bool(other.scalar(waits))

            assert wait_for(is_waiting, 30)
            assert not renamed.done()
        assert renamed.result(60).code == 0
    with write_session() as session:
        assert receive(session, "s", [InboxMessage(**{**vars(message), "message_id": "n"})]) == {"duplicate": 1}
        assert session.execute(select(BatchRequest.workflow_id, BatchRequest.state).order_by(BatchRequest.id)).all() == [
            ("revenue", "received"),
            ("revenue", "duplicate"),
        ]
