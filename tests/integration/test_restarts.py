"""Failed batches run again, a few; ``make restarts`` makes twenty."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.postgres import PostgresServer
from tests.storms.restarts import run_restarts
from tests.storms.restarts_plan import make_plan

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]


def test_what_failed_and_what_it_blocked_runs_again_and_nothing_else(tmp_path: Path, postgres_server: PostgresServer) -> None:
    plan = make_plan(90, 4, sizes=(4, 5), retry_delay=6)
    outcome = run_restarts(tmp_path, plan, postgres_server, timeout=300)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    figures = outcome.figures
    assert set(figures["restarts by way"]) == {"--failed of a workflow", "while it retries", "--task", "--failed"}
    by_plan, by_preview = figures["to run again by plan, by preview"]
    assert by_plan == by_preview == sum(figures["ran again, skipped themselves, blocked once more"]) == 10
    assert figures["remote jobs of kept tasks"] >= 5
    assert figures["of these touched"] == 0
