"""Task type ``bigquery_query``: run a statement in BigQuery."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, StrictStr, model_validator

from dag_factory.specs import Spec
from dag_factory.task_types import OperatorCall, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import (
    REMOTE_JOB_DEFAULTS,
    Labels,
    RemoteJobConfig,
    Scalar,
    Table,
    Text,
    Texts,
    plain_statement,
)
from dag_factory.templates import is_template
from provider.texts import quoted

_check_sql = plain_statement("write @name and give the value in query_parameters")


def _check_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", value):
        raise ValueError(f"must be letters, digits and _, not beginning with a digit; not {quoted(value)}")
    return value


def _whole(value: Any) -> bool:
    return not isinstance(value, bool) and re.fullmatch(r"[+-]?\d+", str(value)) is not None and -(2**63) <= int(value) < 2**63


def _number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return Decimal(str(value)) is not None
    except InvalidOperation:
        return False


def _parses(parse: Callable[[str], Any]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        try:
            return isinstance(value, str) and parse(value) is not None
        except ValueError:
            return False

    return check


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "STRING": lambda value: isinstance(value, str),
    "BYTES": _parses(lambda text: base64.b64decode(text, validate=True)),
    "BOOL": lambda value: isinstance(value, bool),
    "INT64": _whole,
    "FLOAT64": _number,
    "NUMERIC": _number,
    "BIGNUMERIC": _number,
    "DATE": _parses(date.fromisoformat),
    "TIME": _parses(time.fromisoformat),
    "DATETIME": _parses(datetime.fromisoformat),
    "TIMESTAMP": _parses(datetime.fromisoformat),
}


class QueryParameter(Spec):
    """
    A value for ``@name`` in the statement.

    :param type: a scalar type of GoogleSQL.
    :param value: the value; null is SQL's NULL. Bytes are written in base64, times as ISO 8601.
    :param values: instead of ``value``: the elements of an array.

    .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter
    """

    name: Annotated[StrictStr, AfterValidator(_check_name)]
    type: Literal["STRING", "BYTES", "BOOL", "INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "DATE", "TIME", "DATETIME", "TIMESTAMP"]
    value: Scalar = None
    values: tuple[Scalar, ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if ("value" in self.model_fields_set) == ("values" in self.model_fields_set):
            raise ValueError("give exactly one of value, values")
        if self.values is None:
            self._check(self.value)
            return self
        if None in self.values:
            raise ValueError("values: an array of BigQuery has no null in it")
        for value in self.values:
            self._check(value)
        return self

    def _check(self, value: Any) -> None:
        template = isinstance(value, str) and is_template(value)
        if value is not None and not template and not _CHECKS[self.type](value):
            raise ValueError(f"is no {self.type}: {quoted(str(value))}")


class StatementConfig(RemoteJobConfig):
    """Configuration of a job that runs a statement, whatever becomes of its result."""

    sql: Annotated[Text, AfterValidator(_check_sql)]
    query_parameters: Templated[Annotated[tuple[QueryParameter, ...], Field(min_length=1)] | None] = None
    priority: Literal["INTERACTIVE", "BATCH"] | None = None
    maximum_bytes_billed: Annotated[StrictInt, Field(gt=0)] | None = None
    labels: Labels | None = None
    project_id: Text | None = None
    location: Text | None = None
    gcp_conn_id: Templated[Text | None] = None
    impersonation_chain: Templated[Texts | None] = None

    @model_validator(mode="after")
    def _names(self) -> Self:
        # BigQuery tells parameters apart without regard to case.
        counts = Counter(parameter.name.lower() for parameter in self.query_parameters or ())
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise ValueError(f"query_parameters: given twice: {', '.join(twice)}")
        return self


class BigQueryQueryConfig(StatementConfig):
    """
    Configuration of a query job.

    Parameters: see :class:`provider.operators.bigquery_query.BigQueryQueryOperator`.

    .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationQuery
    """

    destination_table: Templated[Table | None] = None
    write_disposition: Literal["WRITE_EMPTY", "WRITE_APPEND", "WRITE_TRUNCATE"] | None = None
    create_disposition: Literal["CREATE_IF_NEEDED", "CREATE_NEVER"] | None = None

    @model_validator(mode="after")
    def _together(self) -> Self:
        dispositions = [name for name in ("write_disposition", "create_disposition") if getattr(self, name) is not None]
        if dispositions and self.destination_table is None:
            raise ValueError(f"{', '.join(dispositions)}: needs destination_table")
        return self


def operator(config: BigQueryQueryConfig) -> OperatorCall:
    """Return the operator of a ``bigquery_query`` task."""
    from provider.operators.bigquery_query import BigQueryQueryOperator

    return BigQueryQueryOperator, operator_arguments(config)


TASK_TYPE = TaskType("bigquery_query", BigQueryQueryConfig, operator, REMOTE_JOB_DEFAULTS, keeps_templates=True)
