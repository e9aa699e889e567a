from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from provider.cli.who import who
from provider.metadata.engine import write_session
from provider.metadata.tables import LeaderLease, Task, Workflow
from tests.provider.hooks.airflow_api_server import Server
from tests.provider.pages.rows import batch, log, store


@pytest.fixture(autouse=True)
def _batches(application_database: str) -> None:
    runs: dict[str, Any] = {"status": "PROCESSING", "airflow_state": "running", "ended_at": None, "end_cause": None}
    store(
        batch("B1", **runs),
        log("start_batch", "B1"),
        log("load", "B1"),
        log("transform", "B1", status="ERROR", airflow_state="failed", remote_job_id="job-1"),
        log("transform", "B1", **runs, try_number=2, remote_job_id="job-2"),
        log("refresh", "B1", **runs, remote_job_id="job-3"),
        log("classic", "B1", **runs, remote_job_id="job-4"),
        log("enhanced", "B1", **runs, remote_job_id="job-5"),
        log("report", "B1", **{**runs, "status": "NEW", "airflow_state": None}),
        log("batch_watcher", "B1", **{**runs, "status": "NEW", "airflow_state": None}),
        batch("slash/é 1", "stock_levels", minute=2, **runs),
        batch("B2", minute=1),
    )
    now = datetime.now(UTC)
    with write_session() as session:
        session.add(LeaderLease(name="reconciler", holder="here", seen_at=now, current_at=now))
        session.execute(insert(Workflow), [{"workflow_id": "daily_sales", "default_args": {"cancel_on_kill": True}}])
        configs = {
            "refresh": {"cancel_on_kill": False},
            "classic": {"semantic_model": "Daily Sales"},
            "enhanced": {"semantic_model": "Daily Sales", "refresh": {"type": "full"}},
        }
        rows = [{"workflow_id": "daily_sales", "task_id": name, "task_type": "t", "config": one} for name, one in configs.items()]
        session.execute(insert(Task), rows)


@pytest.fixture
def server(server: Server) -> Server:
    server.answer = lambda _path, _query: (200, {"state": "running"})
    return server


SHOWN = [
    "Batch B1 of daily_sales: running: classic, enhanced, refresh, transform; 1 more have not begun.",
    "classic: remote job job-4 goes on, as Power BI cancels enhanced refreshes only.",
    "enhanced: remote job job-5 will be cancelled.",
    "refresh: remote job job-3 goes on, as its task has cancel_on_kill: false.",
    "transform: remote job job-2 will be cancelled.",
]


def test_what_runs_is_said_and_airflow_marks_the_run_failed(accelerator, server: Server) -> None:
    ran = accelerator("cancel", "B1")
    *shown, last = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert sorted(shown) == sorted(SHOWN)
    assert last == "Batch B1 of daily_sales is cancelled; `accelerator logs B1` shows its end."
    assert [asked[:2] for asked in server.asked] == [
        (method, "/api/v2/dags/daily_sales/dagRuns/B1") for method in ("GET", "PATCH")
    ]
    assert server.asked[1][4] == {"state": "failed", "note": f"Cancelled by {who()} with `accelerator cancel`."}


def test_a_dry_run_asks_nobody(accelerator, server: Server) -> None:
    ran = accelerator("cancel", "B1", "--dry-run")
    assert ran.code == 0
    assert sorted(ran.out.splitlines()) == sorted([*SHOWN, "Nothing was cancelled (dry run)."])
    assert (server.asked, server.tokens) == ([], 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["B2"], "batch B2 of daily_sales has ended already (SUCCESS); there is nothing to cancel."),
        (["B1", "B2"], "batch B2 of daily_sales has ended already (SUCCESS); there is nothing to cancel."),
        (["slash/é 2"], "there is no batch slash/é 2; did you mean slash/é 1?"),
        (["B1", "--workflow", "daily_sale"], "there is no workflow daily_sale; did you mean daily_sales?"),
    ],
)
def test_what_has_ended_or_is_unknown_is_refused_and_nothing_is_cancelled(
    accelerator, server: Server, arguments: list[str], said: str
) -> None:
    ran = accelerator("cancel", *arguments)
    assert ran.code == 1
    assert ran.err.startswith(f"error: {said}")
    assert not server.asked


def test_what_has_ended_since_the_record_was_written_stays_as_it_is(accelerator, server: Server) -> None:
    server.answer = lambda _path, _query: (200, {"state": "success"})
    ran = accelerator("cancel", "B1")
    assert ran.code == 1
    assert ran.err == "error: batch B1 of daily_sales has ended already (success); there is nothing to cancel.\n"
    assert [asked[0] for asked in server.asked] == ["GET"]


def test_one_that_airflow_refuses_does_not_keep_the_others(accelerator, server: Server) -> None:
    server.answer = lambda path, _query: (403, {"detail": "no\x1b[2J"}) if "stock" in path else (200, {"state": "queued"})
    ran = accelerator("cancel", "slash/é 1", "B1")
    assert ran.code == 1
    assert ran.err.startswith("error: batch slash/é 1 of stock_levels is not cancelled: ")
    assert "\x1b" not in ran.err
    assert "Batch B1 of daily_sales is cancelled" in ran.out


def test_an_old_record_is_said_to_be_old(accelerator, server: Server) -> None:
    with write_session() as session:
        session.get_one(LeaderLease, "reconciler").current_at = datetime.now(UTC) - timedelta(minutes=2)
    assert "; what runs now may differ." in accelerator("cancel", "B1", "--dry-run").err
