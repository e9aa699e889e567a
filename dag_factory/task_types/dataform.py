"""Task type ``dataform``: one workflow invocation of a Dataform repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictStr, ValidationError, model_validator

from dag_factory.problems import describe
from dag_factory.specs import Spec
from dag_factory.task_types import BaseOperatorArguments, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, RemoteJobConfig, Text, Texts, exactly_one
from dag_factory.templates import is_template
from provider.plain_data import as_list
from provider.texts import quoted

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

SOURCES = ("git_commitish", "workspace", "release_config", "workflow_config")
_BELONGS_TO_WORKFLOW_CONFIG = (
    "vars",
    "included_targets",
    "included_tags",
    "transitive_dependencies_included",
    "transitive_dependents_included",
    "fully_refresh_incremental_tables_enabled",
    "service_account",
    "query_priority",
)


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


Targets = Annotated[tuple[Annotated[Any, BeforeValidator(_check_target)], ...], BeforeValidator(as_list), Field(min_length=1)]


class DataformConfig(RemoteJobConfig):
    """
    Configuration of a Dataform task.

    Parameters: see :class:`provider.operators.dataform.DataformWorkflowInvocationOperator`. Exactly one of ``git_commitish``,
    ``workspace``, ``release_config`` and ``workflow_config`` is given.
    """

    project_id: Templated[Text]
    region: Templated[Text]
    repository_id: Templated[Text]
    git_commitish: Templated[Text | None] = None
    workspace: Templated[Text | None] = None
    release_config: Templated[Text | None] = None
    workflow_config: Templated[Text | None] = None
    vars: Templated[dict[StrictStr, StrictStr] | None] = None
    included_targets: Templated[Targets | None] = None
    included_tags: Templated[Texts | None] = None
    transitive_dependencies_included: StrictBool | None = None
    transitive_dependents_included: StrictBool | None = None
    fully_refresh_incremental_tables_enabled: StrictBool | None = None
    service_account: Templated[Text | None] = None
    query_priority: Literal["INTERACTIVE", "BATCH"] | None = None
    gcp_conn_id: Templated[Text | None] = None
    impersonation_chain: Templated[Texts | None] = None

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if exactly_one(self, *SOURCES) == "workflow_config" and (
            extra := [name for name in _BELONGS_TO_WORKFLOW_CONFIG if getattr(self, name)]
        ):
            raise ValueError(f"workflow_config brings its own {', '.join(extra)}; remove them here")
        return self


def build(config: DataformConfig, arguments: BaseOperatorArguments) -> BaseOperator:
    """Make the operator of a ``dataform`` task."""
    from provider.operators.dataform import DataformWorkflowInvocationOperator

    return DataformWorkflowInvocationOperator(**operator_arguments(config), **arguments)


TASK_TYPE = TaskType("dataform", DataformConfig, build, REMOTE_JOB_DEFAULTS)
