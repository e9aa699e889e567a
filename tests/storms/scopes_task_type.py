"""The task type ``scopes``: a task that ends as its row says, and writes down that it ran. Offered by an entry point."""

from __future__ import annotations

from typing import Literal

from dag_factory.task_types import OperatorCall, TaskConfig, TaskType, operator_arguments
from dag_factory.task_types.registry import ENTRY_POINT_GROUP

NAME = "scopes"
#: Environment variable with the folder that gets a file for each workflow.
RECORDS = "SCOPES_RECORDS"

#: The error of a task that is to fail.
FAILED_AS_PLANNED = "fails as planned"

Outcome = Literal["success", "skip", "fail"]

#: What an installer would write: path below a folder of ``sys.path`` → content.
DISTRIBUTION = {
    "scopes_task_type-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: scopes-task-type\nVersion: 1.0\n",
    "scopes_task_type-1.0.dist-info/entry_points.txt": f"[{ENTRY_POINT_GROUP}]\n{NAME} = {__name__}:TASK_TYPE\n",
}


class ScopesConfig(TaskConfig):
    """
    What a task does.

    :param outcomes: how its executions in a run end, one after the other; the last one for all that follow.
    :param seconds: how long each takes.
    """

    outcomes: tuple[Outcome, ...]
    seconds: float = 0.0


def operator(config: ScopesConfig) -> OperatorCall:
    """Return the operator of a row."""
    from tests.storms.scopes_operator import ScopesOperator

    return ScopesOperator, operator_arguments(config)


TASK_TYPE = TaskType(name=NAME, config_model=ScopesConfig, operator=operator)
