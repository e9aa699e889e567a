"""A person without rights to a DAG sees none of its rows, requests and definitions; nobody starts what they may not."""

from __future__ import annotations

from typing import Any

import pytest

from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows
from tests.provider.metadata.inbox_world import message, receive, rows, store_definitions
from tests.provider.pages.conftest import Pages
from tests.provider.pages.rows import batch, log, store

pytestmark = pytest.mark.usefixtures("application_database")


@pytest.fixture(autouse=True)
def _rows(application_database: str) -> None:
    store_definitions()
    store(batch("B1"), log("stg_orders", "B1"), batch("S1", "small"), batch("G1", "gone"))
    receive(
        message("own", task_id="stg_orders", batch_id="B1"),
        message("other", task_id="stg_small", batch_id="S1"),
        message("unknown", task_id="nobody"),
        message("unreadable", task_id=["x"]),
    )


def test_the_list_has_the_batches_of_readable_dags_alone(pages: Pages) -> None:
    assert {row["batch_id"] for row in pages.json("batches")["batches"]} == {"B1", "S1", "G1"}
    assert {row["batch_id"] for row in pages.json("batches", "bob")["batches"]} == {"B1"}
    assert pages.json("batches", "nobody")["batches"] == []
    assert pages.json("batches", "bob", workflow="small")["batches"] == []
    assert pages.json("batches", "bob", text="S1")["batches"] == []


def test_a_batch_that_may_not_be_seen_is_not_there(pages: Pages) -> None:
    assert pages.json("batch", "bob", dag_id="daily_sales", run_id="B1")["batch"]["batch_id"] == "B1"
    for dag_id, run_id in (("small", "S1"), ("gone", "G1"), ("small", "none")):
        answer = pages.ask("/accelerator/api/batch", "bob", params={"dag_id": dag_id, "run_id": run_id})
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"There is no batch {run_id} of {dag_id}, or you may not see it."
    assert pages.json("batch", dag_id="gone", run_id="G1")["tries"] == []


def test_requests_of_no_workflow_are_for_those_who_read_every_dag(pages: Pages) -> None:
    assert {one["message_id"] for one in pages.json("requests", state="all")["requests"]} == {
        "own",
        "other",
        "unknown",
        "unreadable",
    }
    assert {one["message_id"] for one in pages.json("requests", "bob", state="all")["requests"]} == {"own"}
    assert pages.json("requests", "bob", state="all", text="nobody")["requests"] == []
    for row in rows():
        answer = pages.ask("/accelerator/api/request", "bob", params={"id": row.id})
        assert answer.status_code == (200 if row.message_id == "own" else 404)


def test_who_was_given_every_dag_one_by_one_does_not_read_what_belongs_to_none(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.provider.pages import small_auth_manager

    monkeypatch.setitem(small_auth_manager.READS, "bob", {"daily_sales", "small"})
    assert {row["batch_id"] for row in pages.json("batches", "bob")["batches"]} == {"B1", "S1"}
    assert {one["message_id"] for one in pages.json("requests", "bob", state="all")["requests"]} == {"own", "other"}


def test_definitions_name_nothing_of_other_workflows(pages: Pages) -> None:
    with write_session() as session:
        mine: list[dict[str, Any]] = [{"workflow_id": "daily_sales"}, {"workflow_id": "small"}]
        tasks: list[dict[str, Any]] = [
            {"task_id": "t_mine", "workflow_id": "daily_sales", "task_type": "dataforn"},
            {"task_id": "t_other", "workflow_id": "small", "task_type": "nonsense", "config": {"x": 1}},
        ]
        replace_workflows(session, DefinitionRows(mine, tasks, [{"parent_id": "t_other", "child_id": "t_mine"}]))
    everything = pages.json("definitions")
    assert {"daily_sales", "small"} <= {one["workflow_id"] for one in everything["problems"]}
    seen = pages.ask("/accelerator/api/definitions", "bob")
    assert {one["workflow_id"] for one in seen.json()["workflows"]} == {"daily_sales"}
    assert {one["workflow_id"] for one in seen.json()["problems"]} == {"daily_sales"}
    shown = pages.ask("/accelerator/api/definition", "bob", params={"workflow_id": "daily_sales"})
    for text in (seen.text, shown.json()["problems"]):
        assert "small" not in str(text)
        assert "nonsense" not in str(text)
    assert pages.ask("/accelerator/api/definition", "bob", params={"workflow_id": "small"}).status_code == 404
    assert pages.json("person", "bob") == {"workflows": ["daily_sales"], "health": False}


def test_health_is_for_those_who_may_see_plugins(pages: Pages) -> None:
    assert pages.json("person")["health"] is True
    assert pages.ask("/accelerator/api/health", "bob").status_code == 403


def retry(pages: Pages, person: str, message_id: str) -> tuple[int, str]:
    (request,) = (row for row in rows() if row.message_id == message_id)
    answer = pages.ask("/accelerator/api/request/retry", person, "POST", json={"id": request.id})
    return answer.status_code, answer.text


def test_only_who_may_start_runs_gives_a_request_another_chance(pages: Pages) -> None:
    own = next(row.id for row in rows() if row.message_id == "own")
    assert pages.json("request", "bob", id=own)["may_retry"] is True
    assert pages.json("request", "eve", id=own)["may_retry"] is False  # reads, and may not start
    assert pages.json("request", "eve", id=own)["may_correct"] is False
    assert retry(pages, "eve", "own")[0] == 403
    assert retry(pages, "bob", "other")[0] == 404  # as one that is not there: nobody may ask which there are
    assert retry(pages, "bob", "unknown")[0] == 404
    before = {row.message_id: row.state for row in rows()}
    code, text = retry(pages, "bob", "own")
    assert (code, "due now" in text or "received" in text) == (200, True)
    assert {row.message_id: row.state for row in rows()} == before
    assert retry(pages, "ann", "unknown")[0] == 200


def test_a_retry_starts_nothing_of_a_workflow_that_the_task_has_moved_to(pages: Pages) -> None:
    """Rejected as one of a readable workflow, accepted as one of another."""
    from sqlalchemy import update

    from provider.metadata.tables import BatchRequest

    with write_session() as session:
        session.execute(
            update(BatchRequest).where(BatchRequest.message_id == "other").values(state="rejected", workflow_id="daily_sales")
        )
    code, text = retry(pages, "bob", "other")
    assert (code, "may not start" in text) == (403, True)
    (left,) = (row for row in rows() if row.message_id == "other")
    assert (left.state, left.workflow_id) == ("rejected", "daily_sales")
    assert retry(pages, "ann", "other")[0] == 200


def test_what_has_had_its_effect_is_not_repeated(pages: Pages) -> None:
    receive(message("twice", task_id="stg_orders", batch_id="B1"))
    code, text = retry(pages, "ann", "twice")
    assert (code, "is duplicate, so there is nothing to retry" in text) == (409, True)
    code = pages.ask("/accelerator/api/request/retry", "ann", "POST", json={"id": 10**6}).status_code
    assert code == 404
