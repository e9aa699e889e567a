"""Task type ``wait_for_workflow``: the end of a batch of another workflow, which somebody else starts."""

from __future__ import annotations

from dag_factory.specs import WorkflowId
from dag_factory.task_types import OperatorCall, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, Text, WaitConfig


class WaitForWorkflowConfig(WaitConfig):
    """
    Configuration of the wait.

    :param workflow: id of the workflow.
    :param batch_id: id of its batch; that of the task's own batch where it is left out.
    :param airflow_conn_id: connection of type ``airflow_api``.
    """

    workflow: WorkflowId
    batch_id: Templated[Text | None] = None
    airflow_conn_id: Templated[Text | None] = None


def operator(config: WaitForWorkflowConfig) -> OperatorCall:
    """Return the operator of a ``wait_for_workflow`` task."""
    from provider.operators.wait_for_workflow import WaitForWorkflowOperator

    own = operator_arguments(config)
    own["workflow_id"] = own.pop("workflow")
    return WaitForWorkflowOperator, own


TASK_TYPE = TaskType("wait_for_workflow", WaitForWorkflowConfig, operator, REMOTE_JOB_DEFAULTS)
