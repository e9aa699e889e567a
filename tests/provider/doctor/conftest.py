from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from provider.doctor.examination import Check, Finding, Verdict, examine
from tests.provider.doctor.well_airflow import Airflow
from tests.provider.operators.conftest import start_cloud  # noqa: F401 - a fixture
from tests.provider.reconciler.conftest import (  # noqa: F401 - Airflow's own tables and API server
    airflow_api,
    airflow_database,
    api_client,
    empty_airflow_database,
)

Examine = Callable[[Callable[[], Verdict | None]], Finding]


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def found() -> Examine:
    """Carry out one check as the doctor does."""

    def carry_out(look: Callable[[], Verdict | None]) -> Finding:
        (finding,) = examine([Check("it", look, "Mend it.")])
        return finding

    return carry_out


@pytest.fixture
def elsewhere() -> Callable[[str], None]:
    """Run code in another process of the same settings."""

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))

    return run
