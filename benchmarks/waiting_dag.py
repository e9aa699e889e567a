"""The DAG whose task instances wait in the triggerer; Airflow reads a copy of this file. None of its tasks ever runs."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG

from provider.operators.dataform import DataformWorkflowInvocationOperator
from provider.operators.powerbi import PowerBISemanticModelRefreshOperator

JOBS = 1000

with DAG("waiting", schedule=None, start_date=datetime(2026, 1, 1)):
    PowerBISemanticModelRefreshOperator.partial(task_id="refreshes", workspace="Sales", refresh={"type": "full"}).expand(
        semantic_model=[f"model {number}" for number in range(JOBS)]
    )
    DataformWorkflowInvocationOperator.partial(
        task_id="invocations", project_id="demo-project", region="europe-west3", repository_id="sales"
    ).expand(git_commitish=["main"] * JOBS)
