"""A workflow of one HTTP job, as rows and as a DAG."""

from __future__ import annotations

from typing import Any

from dag_factory.task_types.registry import task_types
from dag_factory.validation import validate
from dag_factory.workflow_dag import build_dag
from provider.metadata.rows import DefinitionRows


def workflow(**config: Any) -> DefinitionRows:
    row = {
        "task_id": "job",
        "workflow_id": "sales",
        "task_type": "http_job",
        "config": {
            "job_name": "load",
            "arguments": {"batch": "{{ batch_id }}"},
            "http_jobs_conn_id": "http_jobs_default",
            **config,
        },
    }
    return DefinitionRows([{"workflow_id": "sales"}], [row], [])


def build(rows: DefinitionRows) -> Any:
    validated = validate(rows)
    assert validated.problems == []
    return build_dag(validated.workflows["sales"], task_types())
