"""The mapped tasks of a storm, in a hand-written workflow; Airflow reads a copy of this file, which has the plan beside it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from provider.operators.dataform import DataformWorkflowInvocationOperator
from provider.operators.powerbi import PowerBISemanticModelRefreshOperator
from provider.operators.task_batch import ScopeGuard, StartBatchOperator

plan = json.loads(Path(__file__).with_name("storm_mapped.json").read_text())
operators = {"dataform": DataformWorkflowInvocationOperator, "power_bi": PowerBISemanticModelRefreshOperator}

with DAG(
    plan["dag_id"],
    start_date=datetime(2026, 1, 1),
    schedule=None,
    params={"start_task_id": None, "scope": None},
    default_args={"retries": plan["retries"], "retry_delay": timedelta(seconds=plan["retry_delay_seconds"])},
):
    start = StartBatchOperator(task_id="start_batch", edges={task["task_id"]: [] for task in plan["tasks"]})
    for task in plan["tasks"]:
        operator: Any = operators[task["kind"]]
        mapped = operator.partial(
            task_id=task["task_id"], trigger_rule="none_failed", pre_execute=ScopeGuard(), **task["partial"]
        ).expand_kwargs(task["expand"])
        start >> mapped
