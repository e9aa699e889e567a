"""Task type ``dataform``: one workflow invocation of a Dataform repository."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictStr, model_validator

from dag_factory.specs import Spec
from dag_factory.task_types import TaskType
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, RemoteJobConfig, Text, Texts, exactly_one

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


def _target(value: Any) -> Any:
    """Take ``database.schema.name`` apart; database and schema may be left out."""
    if not isinstance(value, str):
        return value
    parts = value.split(".")
    return dict(zip(("database", "schema", "name")[-len(parts) :], parts, strict=True)) if len(parts) <= 3 else value


class Target(Spec):
    """
    An action of the repository, by the table it makes.

    .. seealso:: https://cloud.google.com/dataform/reference/rest/v1/Target
    """

    database: Text | None = None
    schema_: Text | None = Field(default=None, alias="schema")
    name: Text


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
    included_targets: Annotated[tuple[Annotated[Target, BeforeValidator(_target)], ...], Field(min_length=1)] | None = None
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
