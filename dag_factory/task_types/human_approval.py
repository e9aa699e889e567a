"""Task type ``human_approval``: a question that a person answers in Airflow."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from dag_factory.specs import Spec, TaskOptions
from dag_factory.task_types import OperatorCall, TaskConfig, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import Seconds, Text

_DEFAULTS = {"approve": "Approve", "reject": "Reject"}


class Approver(Spec):
    """
    Somebody who may answer, as the auth manager knows them.

    :param id: what the auth manager calls the user.
    :param name: what people call them.
    """

    id: Text
    name: Text


class HumanApprovalConfig(TaskConfig):
    """
    Configuration of a question.

    :param subject: the question.
    :param body: Markdown that helps to decide.
    :param response_timeout: seconds to wait for an answer; for ever where it is left out.
    :param on_timeout: what happens then.
    :param on_reject: ``skip`` skips what is behind the task, ``fail`` fails the task and so the batch.
    :param approvers: who may answer; everybody who may edit the run, where it is left out.

    .. seealso:: https://airflow.apache.org/docs/apache-airflow-providers-standard/stable/operators/hitl.html
    """

    subject: Templated[Text]
    body: Templated[Text | None] = None
    response_timeout: Seconds | None = None
    on_timeout: Literal["fail", "approve", "reject"] = "fail"
    on_reject: Literal["skip", "fail"] = "skip"
    approvers: Annotated[tuple[Approver, ...], Field(min_length=1, max_length=100)] | None = None


def operator(config: HumanApprovalConfig) -> OperatorCall:
    """Return the operator of a ``human_approval`` task."""
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    own = operator_arguments(config)
    given: dict[str, Any] = {name: own[name] for name in ("subject", "body") if name in own}
    if config.response_timeout is not None:
        given["response_timeout"] = timedelta(seconds=config.response_timeout)
    if config.on_timeout in _DEFAULTS:
        given["defaults"] = _DEFAULTS[config.on_timeout]
    if config.approvers is not None:
        given["assigned_users"] = own["approvers"]
    return ApprovalOperator, {**given, "fail_on_reject": config.on_reject == "fail"}


# A rejection is an answer: nobody is asked again.
TASK_TYPE = TaskType("human_approval", HumanApprovalConfig, operator, TaskOptions(retries=0))
