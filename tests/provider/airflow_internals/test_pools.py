"""Airflow's pools: what a command sees of them, where it may, and what it does not make where it may not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from demo.airflow_services import AirflowServices

LOOK = "from provider.airflow_internals.pools import known_pools; print(known_pools())"


def look(environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", LOOK]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.airflow_services
def test_the_pools_of_airflows_database(tmp_path: Path) -> None:
    airflow = AirflowServices(tmp_path / "airflow", tmp_path, components=())
    airflow.migrate()
    airflow.cli("pools", "set", "sales", "3", "for sales", check=True)

    assert look(airflow.environment()) in ("frozenset({'sales', 'default_pool'})", "frozenset({'default_pool', 'sales'})")


@pytest.mark.parametrize("url", ["sqlite:///{folder}/airflow.db", "postgresql+psycopg2://airflow@127.0.0.1:1/airflow"])
def test_no_pools_where_airflows_database_is_not(url: str, tmp_path: Path) -> None:
    environment = AirflowServices(tmp_path / "airflow", tmp_path, components=()).environment()
    assert look({**environment, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url.format(folder=tmp_path)}) == "None"
    assert not (tmp_path / "airflow.db").exists()
