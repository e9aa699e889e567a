"""Scopes on random graphs, a few; ``make scopes`` makes two hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.postgres import PostgresServer
from tests.storms.scopes import run_scopes
from tests.storms.scopes_plan import make_plan

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]


def test_what_runs_and_in_which_order_is_as_defined(tmp_path: Path, postgres_server: PostgresServer) -> None:
    plan = make_plan(8, 8)
    outcome = run_scopes(tmp_path, plan, postgres_server, timeout=300)
    assert outcome.wrong == []
    figures = outcome.figures
    assert figures["executions found"] == figures["executions intended"] > 20
    assert figures["rounds"] > figures["graphs"] == 8
