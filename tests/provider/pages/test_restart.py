"""The plans that a page shows before a batch runs again, or is cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from provider.airflow_internals.secrets import mask
from provider.metadata.engine import write_session
from provider.metadata.tables import EarlierName, Workflow, utc_now
from provider.pages import restart
from tests.provider.pages.conftest import Pages
from tests.provider.pages.rows import batch, log, store

pytestmark = pytest.mark.usefixtures("application_database")

FAILED: dict[str, Any] = {"status": "ERROR", "airflow_state": "failed"}


@pytest.fixture(autouse=True)
def _rows(application_database: str) -> None:
    store(
        batch("B1", **FAILED),
        log("load", "B1"),
        log("transform", "B1", **FAILED, error_message="Table raw.x was not found", remote_job_id="job-2"),
        batch("B2"),
        log("load", "B2"),
        batch("S1", "small", **FAILED),
        log("stg_small", "S1", "small", **FAILED),
    )


def test_what_runs_what_stays_and_what_airflow_is_to_be_sent(pages: Pages) -> None:
    plan = pages.json("restart", "bob", dag_id="daily_sales", run_id="B1")
    assert plan["runs"] == [{"task_id": "transform", "map_index": -1, "status": "ERROR", "why": "Table raw.x was not found"}]
    assert plan["keeps"] == 1
    assert plan["repeats"] == ["transform starts its remote job anew; the last one was job-2."]
    assert plan["body"]["task_ids"] == ["transform"]


def test_of_a_plan_without_end_the_first_tasks_are_named_and_all_are_sent(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "MOST_SHOWN", 2)
    store(batch("B9", **FAILED), *(log(f"t{number}", "B9", remote_job_id="j", **FAILED) for number in range(5)))
    plan = pages.json("restart", dag_id="daily_sales", run_id="B9")
    assert (len(plan["runs"]), plan["more_runs"], len(plan["repeats"]), plan["more_repeats"]) == (2, 3, 2, 3)
    assert len(plan["body"]["task_ids"]) == 5


def test_what_a_mask_would_change_is_not_sent_to_airflow(pages: Pages) -> None:
    mask("canary_of_a_task")
    store(batch("B9", **FAILED), log("canary_of_a_task", "B9", **FAILED))
    answer = pages.ask("/accelerator/api/restart", params={"dag_id": "daily_sales", "run_id": "B9"})
    assert (answer.status_code, "canary" in answer.text) == (409, False)
    assert answer.json()["detail"].endswith("`accelerator restart` runs it again.")


def test_workflows_that_follow_are_told_to_whom_may_see_them(pages: Pages) -> None:
    after = {"daily_late": ["daily_sales"], "small": ["daily_sales"], "both": ["daily_sales", "small"]}
    with write_session() as session:
        session.add_all(Workflow(workflow_id=name, after=said) for name, said in after.items())
        session.add(Workflow(workflow_id="off", after=["daily_sales"], enabled=False))

    def followers(person: str) -> list[str]:
        plan = pages.json("restart", person, dag_id="daily_sales", run_id="B1")
        return [text.partition(" ")[0] for text in plan["follows"]]

    assert followers("ann") == ["both", "daily_late", "small"]
    assert set(followers("bob")).isdisjoint(("both", "small"))


def test_a_batch_in_which_nothing_failed(pages: Pages) -> None:
    answer = pages.ask("/accelerator/api/restart", "bob", params={"dag_id": "daily_sales", "run_id": "B2"})
    assert answer.status_code == 409
    assert answer.json()["detail"] == "no task of batch B2 of daily_sales has failed or is blocked."


def test_what_ran_under_an_earlier_name_does_not_run_again(pages: Pages) -> None:
    with write_session() as session:
        session.add(EarlierName(workflow_id="small", earlier_id="daily_sales", renamed_at=utc_now(), renamed_by="ann"))
    told = "daily_sales is called {} now, and Airflow runs nothing of the old name again."
    for person, name in (("ann", "small"), ("bob", "otherwise")):
        answer = pages.ask("/accelerator/api/restart", person, params={"dag_id": "daily_sales", "run_id": "B1"})
        assert (answer.status_code, answer.json()["detail"]) == (409, told.format(name))
        why = pages.json("why", person, dag_id="daily_sales", run_id="B1")["answers"]
        assert [f"is called {name} now" in one["remedy"] for one in why] == [True]
    assert len(pages.json("batches", "ann", workflow="small")["batches"]) > 1
    assert pages.json("batches", "bob", workflow="small")["batches"] == []  # whoever may not see that name cannot guess it


def test_why_advises_what_is_possible_where_the_run_was_deleted(pages: Pages) -> None:
    store(batch("B4", status="ERROR", end_cause="deleted"))
    (why,) = pages.json("why", dag_id="daily_sales", run_id="B4")["answers"]
    assert why["remedy"] == "Its DAG run was deleted: mend the cause, then start a new batch."


def test_a_batch_that_may_not_be_seen_is_not_there(pages: Pages) -> None:
    assert pages.json("restart", dag_id="small", run_id="S1")["runs"]
    answer = pages.ask("/accelerator/api/restart", "bob", params={"dag_id": "small", "run_id": "S1"})
    assert answer.status_code == 404


def test_what_a_cancel_ends_and_what_airflow_is_to_be_sent(pages: Pages) -> None:
    store(
        batch("B3", status="PROCESSING", ended_at=None),
        log("load", "B3", status="PROCESSING", ended_at=None, remote_job_id="job-3"),
        log("transform", "B3", status="NEW", started_at=None, ended_at=None),
    )
    plan = pages.json("cancel", "bob", dag_id="daily_sales", run_id="B3")
    assert (plan["running"], plan["waiting"]) == (["load"], 1)
    assert plan["jobs"] == ["load: remote job job-3 will be cancelled."]
    assert plan["body"] == {"state": "failed", "note": "Cancelled by bob on the page of the batch."}


@pytest.mark.parametrize(("dag_id", "run_id", "status"), [("daily_sales", "B2", 409), ("small", "S1", 404)])
def test_what_has_ended_or_may_not_be_seen_is_not_cancelled(pages: Pages, dag_id: str, run_id: str, status: int) -> None:
    answer = pages.ask("/accelerator/api/cancel", "bob", params={"dag_id": dag_id, "run_id": run_id})
    assert answer.status_code == status
