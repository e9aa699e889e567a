"""
What the emulators know: repositories, workspaces, topics, clients and faults, read from one YAML file.

Durations are in seconds. The models refuse unknown keys, so that a typing error is found at the start and not by a
refresh that never fails.
"""

from __future__ import annotations

import uuid
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from provider.emulators.rules import Rule
from provider.exceptions import ConfigurationError, DefinitionError
from provider.input_files import read_file

#: So many mistakes of a scenario are listed at once.
_LISTED = 20

REPOSITORY_NAME = r"^projects/[^/]+/locations/[^/]+/repositories/[^/]+$"
DEFAULT_PROJECT = "demo-project"
# Ids that a fresh scenario without a file declares, so that the connections that are printed work at once.
DEFAULT_TENANT_ID = "99999999-9999-4999-8999-999999999999"
DEFAULT_CLIENT_ID = "55555555-5555-4555-8555-555555555555"
DEFAULT_CLIENT_SECRET = "emulator-only-secret"  # noqa: S105 - opens nothing but this emulator

Seconds = Annotated[float, Field(ge=0)]
RepositoryName = Annotated[str, Field(pattern=REPOSITORY_NAME)]
RefreshIdHeader = Literal["location", "x-ms-request-id", "RequestId"]


class Section(BaseModel):
    """Base of every part of a scenario: unknown keys are an error."""

    model_config = ConfigDict(extra="forbid")


class TargetSpec(Section):
    """The identity of a Dataform action; empty parts take the repository's defaults."""

    name: str = Field(min_length=1)
    database: str = ""
    schema_: str = Field(default="", alias="schema")

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class ActionSpec(Section):
    """
    One Dataform action.

    :param depends_on: names of actions in the same repository.
    :param seconds: how long it runs.
    :param failure_reason: None succeeds, a text fails with it.
    :param failing_runs: how many invocations of it fail before it succeeds; None: all of them.
    :param kind: what it is, as the field of its compilation result; a declaration only names a table, and never runs.
    :param has_output: whether operations make the target.
    :param columns: descriptions by the names of columns; a nested one's name has dots.
    """

    target: TargetSpec
    kind: Literal["relation", "operations", "assertion", "declaration"] = "relation"
    has_output: bool = False
    description: str = ""
    columns: dict[str, str] = {}
    tags: list[str] = []
    depends_on: list[str] = []
    seconds: Seconds = 1.0
    failure_reason: str | None = None
    failing_runs: int | None = Field(default=None, ge=1)
    disabled: bool = False


class CompilationErrorSpec(Section):
    """One entry of a compilation result's ``compilation_errors``."""

    message: str
    path: str = ""


class ReleaseConfigSpec(Section):
    """A release configuration, by its id in the repository."""

    name: str
    git_commitish: str = "main"
    vars: dict[str, str] = {}


class WorkflowConfigSpec(Section):
    """A workflow configuration: a release configuration and what of it is run."""

    name: str
    release_config: str
    included_targets: list[str] = []
    included_tags: list[str] = []
    transitive_dependencies_included: bool = False
    transitive_dependents_included: bool = False


class RepositorySpec(Section):
    """
    A Dataform repository.

    :param empty_selection: what becomes of an invocation that no action fits: it ``succeeds`` without having run anything, or
        is ``refused``. The vendor's reference leaves it open.
    """

    default_database: str = DEFAULT_PROJECT
    default_schema: str = "dataform"
    actions: list[ActionSpec] = []
    compilation_errors: list[CompilationErrorSpec] = []
    release_configs: list[ReleaseConfigSpec] = []
    workflow_configs: list[WorkflowConfigSpec] = []
    cancel_seconds: Seconds = 0.2
    empty_selection: Literal["succeeds", "refused"] = "refused"

    @model_validator(mode="after")
    def _actions_form_a_graph(self) -> Self:
        names = [action.target.name for action in self.actions]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"actions appear twice: {', '.join(sorted(twice))}; give each target.name once")
        for action in self.actions:
            if unknown := set(action.depends_on) - set(names):
                raise ValueError(
                    f"action {action.target.name!r} depends on {', '.join(sorted(unknown))}, which the repository lacks"
                )
        try:
            TopologicalSorter({action.target.name: action.depends_on for action in self.actions}).prepare()
        except CycleError as error:
            raise ValueError(f"actions depend on each other in a circle: {' -> '.join(error.args[1])}") from error
        releases = {release.name for release in self.release_configs}
        for config in self.workflow_configs:
            if config.release_config not in releases:
                raise ValueError(f"workflow config {config.name!r}: no release config {config.release_config!r}")
        return self


class DataformScenario(Section):
    """The Dataform side, repositories by their full resource name."""

    repositories: dict[RepositoryName, RepositorySpec] = {}


class FailureSpec(Section):
    """Why a refresh fails, in the two fields of ``serviceExceptionJson``."""

    errorCode: str = "ModelRefreshFailed_CredentialsNotSpecified"  # noqa: N815 - the vendor's field name
    errorDescription: str = ""  # noqa: N815


class SemanticModelSpec(Section):
    """
    A Power BI semantic model (dataset) and how it behaves.

    :param seconds: how long one attempt of a refresh runs.
    :param fails: why its refreshes fail; None succeeds.
    :param failing_refreshes: how many refreshes fail before they succeed; None: all of them.
    :param tables: name -> partitions; empty: every name is accepted.
    :param refresh_id_headers: headers of the 202 answer that carry the refresh id; empty: none does.
    :param already_running_status: 400 (today) or 409 (older) for a refresh while another one runs.
    :param history_lag_seconds: the refresh history shows the world as it was this long ago.
    :param history_refresh_type: shown instead of the documented ``refreshType``, as live services sometimes do.
    :param extended_status_in_history: whether history entries have ``extendedStatus``.
    """

    id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    name: str
    seconds: Seconds = 1.0
    fails: FailureSpec | None = None
    failing_refreshes: int | None = Field(default=None, ge=1)
    tables: dict[str, list[str]] = {}
    refresh_id_headers: list[RefreshIdHeader] = ["location", "x-ms-request-id"]
    already_running_status: Literal[400, 409] = 400
    history_lag_seconds: Seconds = 0.0
    history_refresh_type: str | None = None
    extended_status_in_history: bool = True

    @model_validator(mode="before")
    @classmethod
    def _tables_as_list(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("tables"), list):
            return {**data, "tables": {name: [name] for name in data["tables"]}}
        return data


class DataflowSpec(Section):
    """
    A dataflow.

    :param generation: one of Gen2 is an item of Fabric, of which Power BI's API knows nothing.
    """

    id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    name: str
    seconds: Seconds = 1.0
    fails: bool = False
    generation: Literal[1, 2] = 1


class ReportSpec(Section):
    """A report; a paginated one has no ``datasetId``."""

    id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    name: str
    datasetId: str | None = None  # noqa: N815 - the vendor's field name
    datasetWorkspaceId: str | None = None  # noqa: N815


class WorkspaceSpec(Section):
    """A Power BI workspace (group)."""

    id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    name: str
    semantic_models: list[SemanticModelSpec] = []
    dataflows: list[DataflowSpec] = []
    reports: list[ReportSpec] = []


class ClientSpec(Section):
    """An application of an Entra ID tenant."""

    tenant_id: str = DEFAULT_TENANT_ID
    client_id: str = DEFAULT_CLIENT_ID
    client_secret: str = Field(default=DEFAULT_CLIENT_SECRET, repr=False)


class PowerBIScenario(Section):
    """The Power BI and Entra ID side."""

    workspaces: list[WorkspaceSpec] = []
    clients: list[ClientSpec] = [ClientSpec()]
    token_seconds: Annotated[int, Field(gt=0)] = 3599


class SubscriptionSpec(Section):
    """A pull subscription."""

    name: str
    ack_deadline_seconds: Annotated[int, Field(ge=10, le=600)] = 10


class TopicSpec(Section):
    """A topic and its subscriptions, created when the emulator is up."""

    name: str
    subscriptions: list[SubscriptionSpec] = []


class PubSubScenario(Section):
    """The Pub/Sub side."""

    project: str = DEFAULT_PROJECT
    topics: list[TopicSpec] = []


class Scenario(Section):
    """
    All the emulators know.

    :param auto_create: repositories, workspaces and semantic models that are not declared are made up on the first
        use (for people who try their own tables); False answers the vendor's 404.
    :param auto_seconds: how long the jobs of things that were made up run.
    """

    auto_create: bool = False
    auto_seconds: Seconds = 1.0
    dataform: DataformScenario = Field(default_factory=DataformScenario)
    powerbi: PowerBIScenario = Field(default_factory=PowerBIScenario)
    pubsub: PubSubScenario = Field(default_factory=PubSubScenario)
    rules: list[Rule] = []


def default_scenario() -> Scenario:
    """Return the scenario used without a file: everything is made up on the first use."""
    topic = TopicSpec(name="task-batches", subscriptions=[SubscriptionSpec(name="task-batches-airflow", ack_deadline_seconds=60)])
    return Scenario(auto_create=True, pubsub=PubSubScenario(topics=[topic]))


def load_scenario(path: Path) -> Scenario:
    """
    Read a scenario from a YAML file, or JSON where its name ends with ``.json``.

    :raises ConfigurationError: the file is missing, cannot be read as such, or names something that does not exist.
    """
    try:
        content = read_file(path)
    except DefinitionError as error:
        raise ConfigurationError(f"The scenario cannot be used: {error}") from error
    try:
        return Scenario.model_validate({} if content is None else content)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'top level'}: {_reason(item)}" for item in error.errors()[:_LISTED]
        )
        raise ConfigurationError(
            f"The scenario {path} is not usable: {reasons}. Correct that; docs/local.md lists the keys."
        ) from error


def _reason(item: ErrorDetails) -> str:
    if item["type"] == "extra_forbidden":
        return "there is no such key here"
    return item["msg"].removeprefix("Value error, ")
