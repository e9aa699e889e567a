"""The storm over the record, small; ``make chaos-record`` makes the whole of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storms.record import run_storm, small_plan

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900), pytest.mark.usefixtures("postgres_server")]


def test_every_row_of_a_small_storm_says_what_was_done(tmp_path: Path) -> None:
    outcome = run_storm(tmp_path, small_plan(11), "database", least=1, seconds=8.0)
    assert outcome.wrong == []
    assert outcome.figures["cases, of these with differences"] == (7, 0)
