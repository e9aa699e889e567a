"""
DAG ``accelerator_maintenance``: commands of `accelerator` where there is no shell, as on Cloud Composer.

Trigger it by hand and choose an **action**; the log of the task `carry_out` shows what the command prints, and the task fails
where the command does. The default, `db upgrade`, makes or upgrades the schema of the application database: do it after
installing a new version of airflow-provider-cloud-accelerator. The other actions and their fields are in docs/operations.md.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import dag, task

from provider.cli.maintenance import form


@dag(
    dag_id="accelerator_maintenance",
    description="Commands of accelerator where there is no shell: db upgrade, import, validate, doctor and others",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["accelerator"],
    params=form(),
    doc_md=__doc__,
)
def accelerator_maintenance() -> None:
    # Airflow fills in params and run_id, by their names.
    @task
    def leave_token(params: Any = None, run_id: Any = None) -> None:
        """For the doctor: leave a token in the database, which the other task's process has to see. Skipped for the others."""
        from airflow.sdk.exceptions import AirflowSkipException

        from provider.cli import maintenance

        if not maintenance.leave_token(params, run_id):
            raise AirflowSkipException("Only the doctor needs a token.")

    # Whatever became of the token: a doctor is needed most where the database is away.
    @task(retries=2, retry_delay=datetime.timedelta(seconds=30), trigger_rule="all_done")
    def carry_out(params: Any = None, run_id: Any = None) -> None:
        """Carry out the action."""
        from provider.cli import maintenance

        maintenance.carry_out(params, run_id)

    leave_token() >> carry_out()


accelerator_maintenance()
