"""The storm over the intake, small; ``make chaos-intake`` makes the whole of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.postgres import PostgresServer
from tests.storms.intake import run_storm
from tests.storms.intake_plan import make_plan

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]


def test_every_message_of_a_small_storm_ends_as_intended(tmp_path: Path, postgres_server: PostgresServer) -> None:
    plan = make_plan(11, 200, live=6, turns=12, strikes=1, random_kills=1)
    outcome = run_storm(tmp_path, plan, postgres_server, timeout=600, impatient=True)
    assert outcome.wrong == []
    assert outcome.figures["missing, extra, twice"] == (0, 0, 0)
    assert outcome.figures["runs intended"] > 70
