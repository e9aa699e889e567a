"""Hostile rows and a real dag-processor, a few on each kind of database; ``make hostile-rows`` has all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.postgres import PostgresServer
from tests.dag_factory.hostile_updates import HOSTILE
from tests.storms.hostile_rows import run_storm

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

FEW = HOSTILE[::6]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_hostile_rows_are_named_and_cost_no_dag(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    postgres: PostgresServer | None = request.getfixturevalue("postgres_server") if kind == "postgres" else None
    outcome = run_storm(tmp_path / "storm", postgres, healthy=30, hostile=FEW, seconds=300)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.figures["named on the list of import errors"] == len(FEW)
