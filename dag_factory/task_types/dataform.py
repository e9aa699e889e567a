"""Task type ``dataform``: one workflow invocation of a Dataform repository."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictStr, ValidationError, model_validator

from dag_factory.problems import describe
from dag_factory.specs import Spec
from dag_factory.task_types import TaskType
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, RemoteJobConfig, Text, Texts, exactly_one
from dag_factory.templates import is_template

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
        parts = value.split(".")
        if not is_template(value) and (len(parts) > 3 or not all(parts)):
            raise ValueError(f"must look like database.schema.name, schema.name or name, not {value[:80]!r}")
        return value
    try:
        return Target.model_validate(value).model_dump(by_alias=True, exclude_none=True)
    except ValidationError as error:
        raise ValueError("; ".join(describe(error, Target))) from None


class DataformConfig(RemoteJobConfig):
    """
    Configuration of a Dataform task.

    Parameters: see :class:`provider.operators.dataform.DataformWorkflowInvocationOperator`. Exactly one of ``git_commitish``,
    ``workspace``, ``release_config`` and ``workflow_config`` is given.
    """

    templated: ClassVar[frozenset[str]] = frozenset(
        {
            "project_id",
            "region",
            "repository_id",
            *SOURCES,
            "vars",
            "included_targets",
            "included_tags",
            "service_account",
            "gcp_conn_id",
            "impersonation_chain",
        }
    )

    project_id: Text
    region: Text
    repository_id: Text
    git_commitish: Text | None = None
    workspace: Text | None = None
    release_config: Text | None = None
    workflow_config: Text | None = None
    vars: dict[StrictStr, StrictStr] | None = None
    included_targets: Annotated[tuple[Annotated[Any, BeforeValidator(_check_target)], ...], Field(min_length=1)] | None = None
    included_tags: Texts | None = None
    transitive_dependencies_included: StrictBool | None = None
    transitive_dependents_included: StrictBool | None = None
    fully_refresh_incremental_tables_enabled: StrictBool | None = None
    service_account: Text | None = None
    query_priority: Literal["INTERACTIVE", "BATCH"] | None = None
    gcp_conn_id: Text | None = None
    impersonation_chain: Texts | None = None

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if exactly_one(self, *SOURCES) == "workflow_config" and (
            extra := [name for name in _BELONGS_TO_WORKFLOW_CONFIG if getattr(self, name)]
        ):
            raise ValueError(f"workflow_config brings its own {', '.join(extra)}; remove them here")
        return self


TASK_TYPE = TaskType("dataform", DataformConfig, "dag_factory.task_types.operators:dataform", REMOTE_JOB_DEFAULTS)
