"""
The DAG whose task instances wait in the triggerer; Airflow reads a copy of this file.

Only names that users of the operators know: the file is also read with the operators of another checkout.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import DAG

from benchmarks.jobs import JOBS, POLL_INTERVAL, PROJECT_ID, REGION, REPOSITORY_ID, models
from provider.operators.dataform import DataformWorkflowInvocationOperator
from provider.operators.powerbi import PowerBISemanticModelRefreshOperator

DAG_ID = "waiting"
#: A task instance leaves its worker as soon as its job has started.
_WAITING: dict[str, Any] = {"deferrable": True, "initial_wait": 0.0, "poll_interval": float(POLL_INTERVAL)}

#: Task -> its operator, what all its task instances have in common, and what each has of its own.
TASKS: dict[str, tuple[type[Any], dict[str, Any], list[dict[str, Any]]]] = {
    "refreshes": (PowerBISemanticModelRefreshOperator, {"refresh": {"type": "full"}, **_WAITING}, [*models()]),
    "invocations": (
        DataformWorkflowInvocationOperator,
        {"project_id": PROJECT_ID, "region": REGION, "repository_id": REPOSITORY_ID, **_WAITING},
        [{"git_commitish": "main"}] * JOBS,
    ),
}

with DAG(DAG_ID, schedule=None, start_date=datetime(2026, 1, 1)):
    for task_id, (operator, common, instances) in TASKS.items():
        operator.partial(task_id=task_id, **common).expand_kwargs(instances)
