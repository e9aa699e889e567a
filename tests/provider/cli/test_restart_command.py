from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.metadata.engine import write_session
from provider.metadata.tables import LeaderLease
from tests.provider.hooks.airflow_api_server import Server
from tests.provider.pages.rows import batch, log, store

#: Under which the leader's sign of life is.
NAME = "reconciler"


@pytest.fixture(autouse=True)
def _batches(application_database: str) -> None:
    failed: dict[str, Any] = {"status": "ERROR", "airflow_state": "failed"}
    store(
        batch("B1", **failed),
        log("load", "B1"),
        log("transform", "B1", **failed, error_message="Table raw.x was not found", remote_job_id="job-2"),
        batch("B2", minute=1),
        log("load", "B2"),
        batch("slash/é 1", "stock_levels", minute=2, **failed),
        log("stg_stock", "slash/é 1", "stock_levels", **failed),
    )
    now = datetime.now(UTC)
    with write_session() as session:
        session.add(LeaderLease(name=NAME, holder="here", seen_at=now, current_at=now))


def test_the_plan_is_shown_and_airflow_is_asked(accelerator, server: Server) -> None:
    ran = accelerator("restart", "B1")
    assert ran.out.splitlines() == [
        "Batch B1 of daily_sales: 1 to run again, 1 that succeeded stay.",
        "status  task       why",
        "ERROR   transform  Table raw.x was not found",
        "transform starts its remote job anew; the last one was job-2.",
        "Batch B1 of daily_sales runs again; `accelerator logs B1` shows how far it is.",
    ]
    assert ran.err == ""
    (asked,) = server.asked
    assert asked[:2] == ("POST", "/api/v2/dags/daily_sales/clearTaskInstances")
    assert asked[4]["task_ids"] == ["transform"]
    assert asked[4]["dag_run_id"] == "B1"


def test_a_dry_run_asks_nobody(accelerator, server: Server) -> None:
    assert "1 to run again" in accelerator("restart", "B1", "--dry-run").out
    (plan,) = json.loads(accelerator("restart", "B1", "--dry-run", "-o", "json").out)
    assert plan["body"]["task_ids"] == ["transform"]
    assert not server.asked
    assert not server.tokens


def test_from_a_task_on(accelerator, server: Server) -> None:
    ran = accelerator("restart", "B2", "--from", "load")
    assert ran.out.splitlines()[:3] == [
        "Batch B2 of daily_sales: 1 to run again, 0 that succeeded stay.",
        "status   task  why",
        "SUCCESS  load  -",
    ]
    (asked,) = server.asked
    assert (asked[4]["task_ids"], asked[4]["include_downstream"]) == (["load"], True)
    assert "give --task or --from, not both" in accelerator("restart", "B2", "--from", "load", "--task", "load").err
    assert "choose tasks of one batch" in accelerator("restart", "B1", "B2", "--from", "load").err


def test_all_that_failed(accelerator, server: Server) -> None:
    accelerator("restart", "--failed")
    assert [asked[4]["dag_run_id"] for asked in server.asked] == ["slash/é 1", "B1"]
    server.asked.clear()
    accelerator("restart", "--failed", "--workflow", "daily_sales")
    assert [asked[4]["dag_run_id"] for asked in server.asked] == ["B1"]
    ran = accelerator("restart", "--failed", "--workflow", "daily_sale")
    assert ran.code == 1
    assert ran.err.startswith("error: there is no workflow daily_sale; did you mean daily_sales? known are: ")


def test_one_that_airflow_refuses_does_not_keep_the_others(accelerator, server: Server) -> None:
    server.answer = lambda path, _query: (409, {"detail": "task is running"}) if "stock" in path else (200, {})
    ran = accelerator("restart", "--failed")
    assert ran.code == 1
    assert len(server.asked) == 2
    assert ran.err.startswith("error: batch slash/é 1 of stock_levels does not run again: ")
    assert "task is running" in ran.err
    assert "Batch B1 of daily_sales runs again" in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["B2"], "no task of batch B2 of daily_sales has failed or is blocked."),
        (["B9"], "there is no batch B9; `accelerator batches` lists those there are."),
        ([], "name the batches to run again, or give --failed for all that have failed; not both."),
        (["B1", "--failed"], "name the batches to run again, or give --failed for all that have failed; not both."),
        (["B1", "B2", "--task", "load"], "--task and --from choose tasks of one batch; name one."),
        (["B1", "--task", "load"], "in batch B1 of daily_sales these have neither failed nor are they blocked: load."),
    ],
)
def test_what_cannot_be(accelerator, server: Server, arguments: list[str], said: str) -> None:
    ran = accelerator("restart", *arguments)
    assert ran.code == 1
    assert ran.err.startswith(f"error: {said}")
    assert not server.asked


def test_without_a_connection_it_says_which_to_make(accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_AIRFLOW_API", raising=False)
    ran = accelerator("restart", "B1")
    assert ran.code == 1
    assert ran.err == (
        "error: There is no Airflow connection airflow_api; create it, or set AIRFLOW_CONN_AIRFLOW_API to "
        '{"conn_type": "airflow_api", "host": "http://localhost:8080", "login": "…", "password": "…"}.\n'
    )


def test_an_old_record_is_said_to_be_old(accelerator, server: Server) -> None:
    with write_session() as session:
        session.get_one(LeaderLease, NAME).current_at = datetime.now(UTC) - timedelta(minutes=2)
    ran = accelerator("restart", "B1", "--dry-run")
    assert ran.err.startswith("warning: the record is complete as of 20")
