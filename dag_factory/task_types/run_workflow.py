"""Task type ``run_workflow``: another workflow as a batch of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dag_factory.specs import TaskId, WorkflowId
from dag_factory.task_types import OperatorCall, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, RemoteJobConfig, Text
from provider.plain_data import as_list
from provider.run_conf import reserved_among


def _params(value: dict[str, Any]) -> dict[str, Any]:
    if reserved := reserved_among(value):
        raise ValueError(f"{reserved[0]} is no parameter of a workflow; write it beside params")
    return value


TaskIds = Annotated[
    tuple[TaskId, ...], BeforeValidator(as_list, json_schema_input_type=TaskId | tuple[TaskId, ...]), Field(min_length=1)
]


class RunWorkflowConfig(RemoteJobConfig):
    """
    Configuration of a batch of another workflow.

    :param workflow: id of the workflow.
    :param params: values for its parameters.
    :param start_task_id: where it starts: a task, or a list of them; the whole workflow where it is left out.
    :param scope: how much runs from there.
    :param airflow_conn_id: connection of type ``airflow_api``.
    """

    workflow: WorkflowId
    params: Templated[Annotated[dict[str, Any], AfterValidator(_params)] | None] = None
    start_task_id: TaskIds | None = None
    scope: Literal["workflow", "downstream", "task"] | None = None
    airflow_conn_id: Templated[Text | None] = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.scope in ("downstream", "task") and self.start_task_id is None:
            raise ValueError(f"scope: {self.scope} needs start_task_id")
        return self


#: Keys whose operator parameter has another name: ``params`` is what Airflow calls those of the task's own workflow.
_PARAMETERS = {"workflow": "workflow_id", "params": "conf", "start_task_id": "start_task_ids"}


def operator(config: RunWorkflowConfig) -> OperatorCall:
    """Return the operator of a ``run_workflow`` task."""
    from provider.operators.run_workflow import RunWorkflowOperator

    return RunWorkflowOperator, {_PARAMETERS.get(key, key): value for key, value in operator_arguments(config).items()}


TASK_TYPE = TaskType("run_workflow", RunWorkflowConfig, operator, REMOTE_JOB_DEFAULTS)
