"""Operator that runs a Dataform workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from airflow.sdk import AssetAlias

from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.dataform import parameters
from provider.links import DataformInvocationLink
from provider.operators.lineage import job_lineage, made_table, read_table
from provider.operators.remote_job import RemoteJobOperator
from provider.plain_data import as_list
from provider.texts import quoted

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Asset, BaseOperatorLink, Context

    from provider.hooks.dataform.hook import DataformInvocationHook, InvocationRequest
    from provider.hooks.remote_job import JobStatus, RemoteCallError, RemoteJob

__all__ = ["DataformWorkflowInvocationOperator"]

#: What the account must be allowed to, so that the actions of a run can be read.
QUERY_ACTIONS = "dataform.workflowInvocations.query"
#: Assets of one run that Airflow is told of; each is a row or more in its database.
MOST_ASSETS = 1000


class DataformWorkflowInvocationOperator(RemoteJobOperator):
    """
    Compiles a Dataform repository, runs the compiled workflow, and waits for its end.

    The compilation result is what makes the start safe to repeat: compiling runs no SQL, its name is recorded first,
    and an invocation is created only if none exists for it. A compilation with errors fails the task at once.

    Give exactly one of ``git_commitish``, ``workspace``, ``release_config`` and ``workflow_config``. A release config brings its
    own settings for the compilation, so it goes with neither ``vars`` nor ``compilation_config``. A workflow config brings its
    own release and its own selection of actions, so it goes with none of the other parameters of the run.

    Returns ``{"workflow_invocation": name, "state": …, "actions": [{"target", "state", "failure_reason", "job_id"}]}``.

    :param project_id: Google Cloud project of the repository. (templated)
    :param region: location of the repository. (templated)
    :param repository_id: id of the Dataform repository. (templated)
    :param git_commitish: branch, tag or commit to compile. (templated)
    :param workspace: id or full name of the workspace to compile. (templated)
    :param release_config: id or full name of the release configuration to compile. (templated)
    :param workflow_config: id or full name of the workflow configuration to run. (templated)
    :param vars: variables for the compilation; they override those of the project's settings. (templated)
    :param compilation_config: what else of the project's settings is overridden: ``default_database``, ``default_schema``,
        ``default_location``, ``assertion_schema``, ``database_suffix``, ``schema_suffix``, ``table_prefix``, each a text. An
        empty text overrides nothing. (templated)
    :param included_targets: actions to run, as ``{"database", "schema", "name"}`` or ``"database.schema.name"`` (database
        and schema may be left out), or a single one. None for all. (templated)
    :param included_tags: tags of the actions to run, or a single one. (templated)
    :param transitive_dependencies_included: run what the selected actions depend on, too.
    :param transitive_dependents_included: run what depends on the selected actions, too.
    :param fully_refresh_incremental_tables_enabled: rebuild incremental tables from scratch.
    :param service_account: account BigQuery runs the actions as. (templated)
    :param query_priority: ``INTERACTIVE`` or ``BATCH``.
    :param allow_empty: succeed, too, where no action fits the selection, so that nothing ran. Otherwise that is an error.
    :param emit_assets: in Airflow each action that has succeeded has made its asset, ``bigquery://database/schema/name``, so that
        DAGs and workflows can come after it. Which actions these are is known at the end of the run alone: Airflow has an alias
        for them until then, ``dataform:`` and the task's id. Where the actions of a run that has succeeded cannot be read, this
        try fails, and a retry reads them again.
    :param gcp_conn_id: connection to Google Cloud.
    :param impersonation_chain: service account to act as, or a chain of them. (templated)
    :raises RemoteJobError: the invocation failed; AirflowFailException with the same text where a retry cannot help.

    .. seealso:: https://cloud.google.com/dataform/reference/rest/v1/projects.locations.repositories.workflowInvocations
    """

    ui_color = "#4285f4"
    ui_fgcolor = "#ffffff"
    service_name: ClassVar[str] = "dataform"
    job_noun: ClassVar[str] = "Dataform workflow invocation"
    operator_extra_links: Sequence[BaseOperatorLink] = (DataformInvocationLink(),)
    template_fields: Sequence[str] = (
        "project_id",
        "region",
        "repository_id",
        *parameters.SOURCES,
        *parameters.COMPILATION,
        "included_targets",
        "included_tags",
        "service_account",
        "gcp_conn_id",
        "impersonation_chain",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys((*parameters.COMPILATION, "included_targets"), "json")

    def __init__(
        self,
        *,
        project_id: str,
        region: str,
        repository_id: str,
        git_commitish: str | None = None,
        workspace: str | None = None,
        release_config: str | None = None,
        workflow_config: str | None = None,
        vars: Mapping[str, str] | None = None,
        compilation_config: Mapping[str, str] | None = None,
        included_targets: str | Mapping[str, str] | Sequence[str | Mapping[str, str]] | None = None,
        included_tags: str | Sequence[str] | None = None,
        transitive_dependencies_included: bool = False,
        transitive_dependents_included: bool = False,
        fully_refresh_incremental_tables_enabled: bool = False,
        service_account: str | None = None,
        query_priority: Literal["INTERACTIVE", "BATCH"] | None = None,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        allow_empty: bool = False,
        emit_assets: bool = False,
        **kwargs: Any,
    ) -> None:
        self._made = AssetAlias(f"dataform:{kwargs.get('task_id')}") if emit_assets else None
        if self._made is not None:
            kwargs["outlets"] = [*as_list(kwargs.get("outlets") or ()), self._made]
        super().__init__(**kwargs)
        self.project_id = project_id
        self.region = region
        self.repository_id = repository_id
        self.git_commitish = git_commitish
        self.workspace = workspace
        self.release_config = release_config
        self.workflow_config = workflow_config
        self.vars = vars
        self.compilation_config = compilation_config
        self.included_targets = included_targets
        self.included_tags = included_tags
        self.transitive_dependencies_included = transitive_dependencies_included
        self.transitive_dependents_included = transitive_dependents_included
        self.fully_refresh_incremental_tables_enabled = fully_refresh_incremental_tables_enabled
        self.service_account = service_account
        self.query_priority = query_priority
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.allow_empty = allow_empty
        self.emit_assets = emit_assets
        self._source()

    def _source(self) -> str:
        """Return which source is given, once it is known that the parameters go together."""
        names = (*parameters.SOURCES, *parameters.COMPILATION, *parameters.INVOCATION)
        try:
            source = parameters.chosen_source({name: getattr(self, name) for name in names})
            if isinstance(self.compilation_config, Mapping):  # and not the result of another task, which is not known yet
                parameters.check_compilation_fields(self.compilation_config)
        except ValueError as error:
            raise ConfigurationError(f"Task {self.task_id}: {error}.") from error
        return source

    def _invocation_config(self) -> dict[str, Any]:
        """Return the fields of ``InvocationConfig`` that were given; of a list, one text or target stands for a list of one."""
        lists = ("included_targets", "included_tags")
        return {
            name: as_list(value) if name in lists else value for name in parameters.INVOCATION if (value := getattr(self, name))
        }

    def judged(self, job: RemoteJob, status: JobStatus) -> JobStatus:
        """
        Take an invocation for failed that has succeeded without an action; actions that could not be read may be many.

        :raises RemoteJobError: they are the assets to tell of. The end is not recorded then, so that a retry re-attaches.
        """
        if self.emit_assets and status.state == "done" and status.incomplete is not None:
            raise self._assets_unknown(job, status.incomplete)
        if self.allow_empty or status.state != "done" or status.incomplete is not None or status.result.get("actions") != []:
            return status
        given = {name: getattr(self, name) for name in ("workflow_config", "included_targets", "included_tags")}
        selection = ", ".join(f"{name} {quoted(value)}" for name, value in given.items() if value)
        fits = f"fits {selection}: correct it" if selection else "is in the repository: look at what was compiled"
        error = f"{self.job_noun} {job['id']} ran nothing. No action {fits}, or set `allow_empty`. See {job['url']}"
        return replace(status, state="failed", error=error, retryable=False)

    def _assets_unknown(self, job: RemoteJob, why: RemoteCallError) -> RemoteJobError:
        missing = f" The permission is {QUERY_ACTIONS}." if why.status_code == HTTPStatus.FORBIDDEN else ""
        return RemoteJobError(
            f"{self.job_noun} {job['id']} has succeeded, and which assets it has made cannot be read: {why}{missing} "
            f"A retry reads them again, and starts nothing. See {job['url']}"
        )

    def finish(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        """Tell Airflow which assets the run has made."""
        if self._made is None:
            return result
        events = context["outlet_events"][self._made]
        made = [action["target"] for action in result["actions"] if action["state"] == "SUCCEEDED"]
        for target in made[:MOST_ASSETS]:
            try:
                events.add(_asset(target))
            except ValueError as error:
                self.log.warning("The action %s has no asset: %s", target, error)
        if len(made) > MOST_ASSETS:
            self.log.warning("Of %d assets that were made Airflow was told of the first %d.", len(made), MOST_ASSETS)
        return result

    def get_openlineage_facets_on_complete(
        self,
        task_instance: Any,  # noqa: ARG002 - OpenLineage gives it
    ) -> OperatorLineage[Any, Any] | None:
        """Return the tables that the actions of the run have made and read, for OpenLineage; None where there was no run."""
        if (job := self.job_handle) is None:
            return None
        found = cast("DataformInvocationHook", self.service).lineage(job)
        return job_lineage(job, self.service_name, map(read_table, found.read), map(made_table, found.made))

    def request(self, context: Context, earlier: RemoteJob | None) -> InvocationRequest:  # noqa: ARG002 - others need them
        """Return the invocation to ask for."""
        source = self._source()
        return {
            "project_id": self.project_id,
            "region": self.region,
            "repository_id": self.repository_id,
            "source": {source: getattr(self, source)},
            "vars": self.vars,
            "compilation_config": self.compilation_config,
            "invocation_config": self._invocation_config(),
        }


def _asset(target: str) -> Asset:
    """
    Return the asset of a table.

    :raises ValueError: there is none for such a name. Airflow would cut it, say at a ``?``, and it would be another table's.
    """
    from airflow.sdk import Asset

    uri = f"bigquery://{'/'.join(target.rsplit('.', 2))}"
    made = Asset(uri)
    if made.uri != uri:
        raise ValueError(f"Airflow would take {quoted(uri)} for {quoted(made.uri)}")
    return made
