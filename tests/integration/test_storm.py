"""The storm over remote jobs, small; ``make storm`` makes the whole of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.postgres import PostgresServer
from tests.storms.plan import make_plan
from tests.storms.remote_jobs import run_storm

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]


def test_every_job_of_a_small_storm_is_started_and_ended_as_intended(tmp_path: Path, postgres_server: PostgresServer) -> None:
    plan = make_plan(7, 10, kills=1, clears=2, longest=10)
    outcome = run_storm(tmp_path, plan, postgres_server, timeout=780)
    assert outcome.wrong == []
    figures = outcome.figures
    assert (figures["starts found"], figures["cancels intended"]) == (12, figures["ended"].get("cancelled", 0))
    assert figures["calls that failed"] > 0.1 * figures["calls"]
    assert sum(figures["SIGKILLs"].values()) > 0
