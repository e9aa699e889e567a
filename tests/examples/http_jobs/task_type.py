"""Step 5: the task type ``http_job``. Its ``operator`` alone imports Airflow, and the library of the service."""

from __future__ import annotations

from typing import Any

from dag_factory.task_types import OperatorCall, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, RemoteJobConfig


class HttpJobConfig(RemoteJobConfig):
    job_name: Templated[str]
    arguments: Templated[dict[str, Any] | None] = None
    http_jobs_conn_id: Templated[str | None] = None


def operator(config: HttpJobConfig) -> OperatorCall:
    from tests.examples.http_jobs.service import HttpJobOperator

    return HttpJobOperator, operator_arguments(config)


TASK_TYPE = TaskType("http_job", HttpJobConfig, operator, REMOTE_JOB_DEFAULTS)
