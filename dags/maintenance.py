"""
DAG ``accelerator_maintenance``: upgrades the application database where there is no shell, as on Cloud Composer.

Trigger it by hand after installing a new version of airflow-provider-cloud-accelerator. It does the same as
``accelerator db upgrade`` and changes nothing where the schema is already the one this version needs.
"""

from __future__ import annotations

import datetime

from airflow.sdk import dag, task


@dag(
    dag_id="accelerator_maintenance",
    description="Upgrades the application database to the schema of the installed version",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["accelerator"],
    doc_md=__doc__,
)
def accelerator_maintenance() -> None:
    @task(retries=2, retry_delay=datetime.timedelta(seconds=30))
    def upgrade_application_database() -> dict[str, str | None]:
        """Return the schema revision found and the one the database now has."""
        from provider.metadata.maintenance import upgrade_configured

        revisions = upgrade_configured()
        return {"before": revisions.found, "after": revisions.needed}

    upgrade_application_database()


accelerator_maintenance()
