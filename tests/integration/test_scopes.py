"""Scopes on random graphs, a few, and the cases that chance rarely draws; ``make scopes`` makes two hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.postgres import PostgresServer
from tests.storms.scopes import run_scopes
from tests.storms.scopes_cases import cases
from tests.storms.scopes_plan import Plan, make_plan

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]


def test_what_runs_and_in_which_order_is_as_defined(tmp_path: Path, postgres_server: PostgresServer) -> None:
    plan = Plan(8, make_plan(8, 3).workflows + cases())
    outcome = run_scopes(tmp_path, plan, postgres_server, timeout=300)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    figures = outcome.figures
    assert figures["executions found"] == figures["executions intended"] > 40
    assert figures["rounds"] > 2 * figures["graphs"]
