"""The DAG of a workflow, and what Airflow stores of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG

from dag_factory.task_types.registry import task_types
from dag_factory.validation import validate
from dag_factory.workflow_dag import build_dag
from provider.airflow_internals.dags import serialized
from tests.dag_factory.definitions import Rows, template_context


def build(rows: Rows, workflow_id: str = "daily_sales", **options: Any) -> DAG:
    validated = validate(rows.definitions())
    assert validated.problems == [], validated.problems
    return build_dag(validated.workflows[workflow_id], task_types(), **options)


def stored(dag: DAG) -> dict[str, Any]:
    """Return what Airflow stores of a DAG, after a trip through JSON."""
    return json.loads(json.dumps(serialized(dag)))  # type: ignore[no-any-return]


def instance(dag: DAG, task_id: str, map_index: int) -> Any:
    """Return an instance of an expanded task as its process runs it: made by Airflow, and rendered."""
    context = template_context(dag, task_id, run_id="Batch_1", run_after=datetime(2026, 1, 1, tzinfo=UTC), map_index=map_index)
    context["ti"].render_templates(context)
    return context["task"]
