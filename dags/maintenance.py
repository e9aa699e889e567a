"""
DAG ``accelerator_maintenance``: what is otherwise done by commands, where there is no shell, as on Cloud Composer.

- Trigger it by hand after installing a new version of airflow-provider-cloud-accelerator: it upgrades the application database,
  as ``accelerator db upgrade`` does, and changes nothing where the schema is already the one this version needs.
- ``workflows`` names a file in the folder ``import`` of ``[accelerator] snapshot_dir``, which is stored as by
  ``accelerator import``; ``prune`` also deletes what the file does not have.
- ``downgrade_to`` takes the schema back before an earlier version is installed, as ``accelerator db downgrade`` does. Without
  ``agreed`` the task fails, and its log says what would be lost.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import Param, dag, task


@dag(
    dag_id="accelerator_maintenance",
    description="Upgrades the application database to the schema of the installed version; imports workflows from a file",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["accelerator"],
    doc_md=__doc__,
    params={
        "workflows": Param(
            None, type=["null", "string"], description="File in the folder import of snapshot_dir: workflows to store"
        ),
        "prune": Param(False, type="boolean", description="Also delete every stored workflow that the file does not have"),
        "downgrade_to": Param(None, type=["null", "string"], description="Schema of an earlier version, instead of an upgrade"),
        "agreed": Param(False, type="boolean", description="Lose what the log of a run without this says would be lost"),
    },
)
def accelerator_maintenance() -> None:
    @task(retries=2, retry_delay=datetime.timedelta(seconds=30))
    def upgrade_application_database(params: dict[str, Any] | None = None) -> dict[str, str | None]:
        """Return the schema revision found and the one the database now has."""
        from provider.cli.without_shell import change_schema

        return change_schema(params or {})

    @task
    def import_workflows(params: dict[str, Any] | None = None) -> None:
        """Store the workflows of a file, all of them or none; skipped where no file is named."""
        from provider.cli.without_shell import import_file

        import_file(params or {})

    upgrade_application_database() >> import_workflows()


accelerator_maintenance()
