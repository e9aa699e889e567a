"""Task type ``power_bi_refresh``: refresh of a Power BI semantic model or dataflow."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ValidationError, model_validator

from dag_factory.problems import describe
from dag_factory.task_types import OperatorCall, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, RemoteJobConfig, Text
from dag_factory.templates import contains_template
from provider.hooks.powerbi.enhanced_refresh import EnhancedRefresh
from provider.plain_data import exactly_one


def _check_refresh(value: Any) -> Any:
    """Check the body as far as it is known now; the operator checks what its templates become."""
    if not isinstance(value, dict):
        raise ValueError('must be an object, such as {"type": "full"}')
    try:
        EnhancedRefresh.model_validate({key: item for key, item in value.items() if not contains_template(item)})
    except ValidationError as error:
        raise ValueError("; ".join(describe(error, EnhancedRefresh))) from None
    return value


class PowerBIRefreshConfig(RemoteJobConfig):
    """
    Configuration of a Power BI refresh.

    Parameters: see :class:`provider.operators.powerbi.PowerBISemanticModelRefreshOperator` and
    :class:`provider.operators.powerbi.PowerBIDataflowRefreshOperator`. Exactly one of ``semantic_model``, ``report`` and
    ``dataflow`` is given.
    """

    workspace: Templated[Text]
    semantic_model: Templated[Text | None] = None
    report: Templated[Text | None] = None
    dataflow: Templated[Text | None] = None
    refresh: Templated[Annotated[dict[str, Any], BeforeValidator(_check_refresh)] | None] = None
    notify_option: Literal["NoNotification", "MailOnFailure", "MailOnCompletion"] | None = None
    if_running: Literal["wait", "adopt", "skip", "fail", "cancel"] | None = None
    powerbi_conn_id: Templated[Text | None] = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if exactly_one(dict(self), ("semantic_model", "report", "dataflow")) == "dataflow" and self.refresh is not None:
            raise ValueError("refresh: a dataflow has no enhanced refresh; remove it")
        if self.refresh is not None and self.notify_option is not None:
            raise ValueError("notify_option: an enhanced refresh sends no mail; remove notify_option or refresh")
        return self


def operator(config: PowerBIRefreshConfig) -> OperatorCall:
    """Return the operator of a ``power_bi_refresh`` task."""
    from provider.operators import powerbi

    if config.dataflow is not None:
        return powerbi.PowerBIDataflowRefreshOperator, operator_arguments(config)
    return powerbi.PowerBISemanticModelRefreshOperator, operator_arguments(config)


#: The API of Power BI calls a semantic model a dataset and a workspace a group.
_OTHER_NAMES = {
    **dict.fromkeys(("dataset", "dataset_id", "dataset_name"), "semantic_model"),
    **dict.fromkeys(("group", "group_id", "group_name"), "workspace"),
}

TASK_TYPE = TaskType(
    "power_bi_refresh", PowerBIRefreshConfig, operator, REMOTE_JOB_DEFAULTS, keeps_templates=True, other_names=_OTHER_NAMES
)
