"""Task type ``dataform``: one workflow invocation of a Dataform repository."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr, ValidationError, model_validator

from dag_factory.problems import describe
from dag_factory.specs import Spec
from dag_factory.task_types import OperatorCall, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, RemoteJobConfig, Text, Texts
from dag_factory.templates import is_template
from provider.hooks.dataform import parameters
from provider.plain_data import as_list
from provider.texts import quoted


class Target(Spec):
    """
    An action of the repository, by the table it makes.

    .. seealso:: https://cloud.google.com/dataform/reference/rest/v1/Target
    """

    database: Text | None = None
    schema_: Text | None = Field(default=None, alias="schema")
    name: Text


def _check_target(value: Any) -> Any:
    """Check one target; a text is taken apart by the operator, once its templates are rendered."""
    if isinstance(value, str):
        # A project may belong to a domain: example.com:project.schema.name.
        parts = value.rpartition(":")[2].split(".")
        if not is_template(value) and (len(parts) > 3 or not all(parts) or (":" in value and len(parts) < 3)):
            raise ValueError(f"must look like database.schema.name, schema.name or name, not {quoted(value)}")
        return value
    try:
        return Target.model_validate(value).model_dump(by_alias=True, exclude_none=True)
    except ValidationError as error:
        raise ValueError("; ".join(describe(error, Target))) from None


Targets = Annotated[
    tuple[Annotated[Any, BeforeValidator(_check_target)], ...],
    BeforeValidator(as_list, json_schema_input_type=Any),
    Field(min_length=1),
]


def _check_compilation_fields(value: dict[str, str]) -> dict[str, str]:
    parameters.check_compilation_fields(value)
    return value


class DataformConfig(RemoteJobConfig):
    """
    Configuration of a Dataform task.

    Parameters: see :class:`provider.operators.dataform.DataformWorkflowInvocationOperator`. What goes together is said by
    :mod:`provider.hooks.dataform.parameters`.
    """

    project_id: Templated[Text]
    region: Templated[Text]
    repository_id: Templated[Text]
    git_commitish: Templated[Text | None] = None
    workspace: Templated[Text | None] = None
    release_config: Templated[Text | None] = None
    workflow_config: Templated[Text | None] = None
    vars: Templated[dict[StrictStr, StrictStr] | None] = None
    compilation_config: Templated[Annotated[dict[StrictStr, StrictStr], AfterValidator(_check_compilation_fields)] | None] = None
    included_targets: Templated[Targets | None] = None
    included_tags: Templated[Texts | None] = None
    transitive_dependencies_included: StrictBool | None = None
    transitive_dependents_included: StrictBool | None = None
    fully_refresh_incremental_tables_enabled: StrictBool | None = None
    service_account: Templated[Text | None] = None
    query_priority: Literal["INTERACTIVE", "BATCH"] | None = None
    allow_empty: StrictBool | None = None
    emit_assets: StrictBool | None = None
    gcp_conn_id: Templated[Text | None] = None
    impersonation_chain: Templated[Texts | None] = None

    @model_validator(mode="after")
    def _sources(self) -> Self:
        parameters.chosen_source(vars(self))
        return self


def operator(config: DataformConfig) -> OperatorCall:
    """Return the operator of a ``dataform`` task."""
    from provider.operators.dataform import DataformWorkflowInvocationOperator

    return DataformWorkflowInvocationOperator, operator_arguments(config)


TASK_TYPE = TaskType("dataform", DataformConfig, operator, REMOTE_JOB_DEFAULTS, keeps_templates=True)
