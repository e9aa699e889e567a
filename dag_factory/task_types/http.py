"""Task type ``http``: a request to an HTTP service, over a connection of Airflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from dag_factory.task_types import OperatorCall, TaskConfig, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import Scalar, Text
from dag_factory.templates import is_template
from provider.exceptions import ConfigurationError
from provider.hooks.http_request import check_body, check_headers, check_kept, check_package, filled, placeholders


def _told(check: Callable[[], object]) -> None:
    """Tell what a check refuses as pydantic wants it."""
    try:
        check()
    except ConfigurationError as error:
        raise ValueError(str(error).rstrip(".")) from None


def _endpoint(value: str) -> str:
    if is_template(value):
        raise ValueError("is no template, so that no value can become another path; write {name} and give it in path_parameters")
    _told(lambda: placeholders(value))
    return value


def _headers(value: dict[str, str]) -> dict[str, str]:
    _told(lambda: check_headers(value, values=False))
    _told(lambda: check_headers({name: one for name, one in value.items() if not is_template(one)}))
    return value


def _single(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Status = Annotated[StrictInt, Field(ge=100, le=599)]
Statuses = Annotated[
    tuple[Status, ...], BeforeValidator(_single, json_schema_input_type=Status | tuple[Status, ...]), Field(min_length=1)
]
PathParameters = dict[StrictStr, StrictInt | Text]
QueryParameters = dict[Text, Scalar | tuple[Scalar, ...]]


class HttpConfig(TaskConfig):
    """
    Configuration of a request.

    Parameters: see :class:`provider.operators.http.HttpRequestOperator`.
    """

    endpoint: Annotated[StrictStr, AfterValidator(_endpoint)]
    path_parameters: Templated[PathParameters | None] = None
    query_parameters: Templated[QueryParameters | None] = None
    method: Method = "GET"
    headers: Templated[Annotated[dict[StrictStr, StrictStr], AfterValidator(_headers)] | None] = None
    json_body: Templated[JsonValue] = Field(default=None, alias="json")
    data: Templated[Text | Annotated[dict[Text, Scalar], Field(min_length=1)] | None] = None
    http_conn_id: Templated[Text | None] = None
    expected_status: Statuses | None = None
    response_timeout: Annotated[StrictFloat, Field(gt=0, le=86_400)] | None = None
    max_answer_bytes: Annotated[StrictInt, Field(ge=0, le=100 * 2**20)] | None = None
    keep_answer: StrictBool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = self.path_parameters or {}
        _told(lambda: check_body(self.method, self.json_body, self.data))
        _told(lambda: check_kept(self.keep_answer, self.max_answer_bytes or 0))
        # What a template gives is known in the run alone, and looked at there.
        _told(lambda: filled(self.endpoint, {name: "x" if is_template(str(value)) else value for name, value in given.items()}))
        return self


def operator(config: HttpConfig) -> OperatorCall:
    """
    Return the operator of an ``http`` task.

    :raises ConfigurationError: the package with Airflow's hook is not installed.
    """
    from provider.operators.http import HttpRequestOperator

    check_package()
    return HttpRequestOperator, operator_arguments(config)


# Whether a request may be repeated is for whoever writes it to say.
TASK_TYPE = TaskType("http", HttpConfig, operator)
