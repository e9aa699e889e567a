"""What the hooks import is paid by every process of Airflow that has them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from provider.metadata.engine import read_session
from provider.metadata.tables import TaskLog


def test_the_plugin_imports_next_to_nothing() -> None:
    code = (
        "import sys, airflow.plugins_manager, airflow.listeners; before = set(sys.modules);"
        "import provider.plugin; print('\\n'.join(set(sys.modules) - before))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    # Airflow itself may have asked us for the provider info before, which reads the settings.
    loaded = set(output.split()) - {"provider", "provider.airflow_internals"}
    ours = {"provider.plugin", "provider.listeners", "provider.listeners.task_log"}
    assert loaded == {*ours, "provider.airflow_internals.processes"}


WRITES_A_ROW = """
import sys
from provider.listeners.task_process import TryRecorder
from tests.provider.listeners.hundred_tasks import instance
TryRecorder(budget=60).record(instance(1), "running", None)
print([name for name in ("airflow.models.dagbag", "airflow.dag_processing.dagbag") if name in sys.modules])
"""


@pytest.mark.usefixtures("embedded_database")
def test_the_first_row_of_a_process_imports_no_models_of_airflow() -> None:
    """SQLAlchemy calls for them when a mapped class is first asked, and each task process would pay a quarter of a second."""
    done = subprocess.run([sys.executable, "-c", WRITES_A_ROW], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    with read_session() as session:
        assert [row.status for row in session.query(TaskLog)] == ["PROCESSING"]
