"""Task type ``bigquery_check``: a statement in BigQuery whose first row says whether data are as they should be."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictFloat, model_validator

from dag_factory.task_types import OperatorCall, TaskType, Templated, operator_arguments
from dag_factory.task_types.bigquery_query import StatementConfig
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, Scalar
from dag_factory.templates import contains_template
from provider.plain_data import number_in


class BigQueryCheckConfig(StatementConfig):
    """
    Configuration of a check.

    :param pass_value: what each value of the first row has to be; where it is left out, each has to be true.
    :param tolerance: so much may a number be away from ``pass_value``, as a share of it.

    Other parameters: see :class:`provider.operators.bigquery_check.BigQueryDataCheckOperator`.
    """

    pass_value: Templated[Scalar] = None
    tolerance: Annotated[StrictFloat, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _of_a_number(self) -> Self:
        if self.tolerance is None or contains_template(self.pass_value):
            return self
        if number_in(self.pass_value) is None:
            raise ValueError("tolerance: needs a pass_value that is a number")
        return self


def operator(config: BigQueryCheckConfig) -> OperatorCall:
    """Return the operator of a ``bigquery_check`` task."""
    from provider.operators.bigquery_check import BigQueryDataCheckOperator

    return BigQueryDataCheckOperator, operator_arguments(config)


TASK_TYPE = TaskType("bigquery_check", BigQueryCheckConfig, operator, REMOTE_JOB_DEFAULTS, keeps_templates=True)
