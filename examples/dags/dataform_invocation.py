"""
Run the actions of a Dataform repository that have a tag, and wait for their end.

Connection ``google_cloud_default`` (type Google Cloud); its account needs ``roles/dataform.editor`` on the repository.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.dataform import DataformWorkflowInvocationOperator

with DAG("example_dataform_invocation", schedule="0 5 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    DataformWorkflowInvocationOperator(
        task_id="stage_orders",
        project_id="demo-project",
        region="europe-west3",
        repository_id="sales",
        git_commitish="main",  # or one of: workspace, release_config, workflow_config
        included_tags=["orders"],
        transitive_dependencies_included=True,
        vars={"batch_date": "{{ ds }}"},
        retries=2,  # a retry finds the invocation of the try before it and goes on waiting
    )
