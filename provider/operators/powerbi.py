"""Operators that refresh Power BI semantic models and dataflows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from provider.exceptions import ConfigurationError
from provider.hooks.powerbi.enhanced_refresh import EnhancedRefresh, enhanced_refresh
from provider.links import PowerBILink
from provider.operators.lineage import job_lineage, power_bi_item
from provider.operators.remote_job import RemoteJobOperator

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperatorLink, Context

    from provider.hooks.powerbi.hook import RefreshRequest
    from provider.hooks.remote_job import RemoteJob
    from provider.operators.job_start import IfRunning

__all__ = ["PowerBIDataflowRefreshOperator", "PowerBISemanticModelRefreshOperator"]


class _PowerBIRefreshOperator(RemoteJobOperator):
    """What both Power BI operators share: the connection, and the policy for a busy place."""

    ui_color = "#f2c811"
    service_name: ClassVar[str] = "powerbi"
    operator_extra_links: Sequence[BaseOperatorLink] = (PowerBILink(),)

    def __init__(
        self,
        *,
        workspace: str,
        if_running: IfRunning = "wait",
        powerbi_conn_id: str = "powerbi_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workspace = workspace
        self.if_running = if_running
        self.powerbi_conn_id = powerbi_conn_id

    def get_openlineage_facets_on_complete(
        self,
        task_instance: Any,  # noqa: ARG002 - OpenLineage gives it
    ) -> OperatorLineage[Any, Any] | None:
        """Return what was refreshed, for OpenLineage; None where there was no refresh."""
        job = self.job_handle
        return None if job is None else job_lineage(job, self.service_name, [], [power_bi_item(job)])


class PowerBISemanticModelRefreshOperator(_PowerBIRefreshOperator):
    """
    Refreshes a Power BI semantic model (dataset), and waits for the end of the refresh.

    Give the model by ``semantic_model``, or by a report that shows it (``report``); ids and names are both accepted, and
    a name that two of them share is an error that lists the candidates.

    Without ``refresh`` the classic refresh is asked for. It works on every capacity, but the service cannot cancel it.
    With ``refresh`` an enhanced refresh is asked for: it can be cancelled and restricted to tables and partitions, and
    does not work on shared capacity.

    Returns ``{"id", "status", "type", "started_at", "ended_at", "duration", "attempts", "objects"}``, as far as the
    service tells; the duration is in seconds.

    :param workspace: id or name of the workspace (of the report, where ``report`` is given). (templated)
    :param semantic_model: id or name of the semantic model. (templated)
    :param report: id or name of a report; its semantic model is refreshed, in whichever workspace that is. (templated)
    :param refresh: parameters of an enhanced refresh, as :class:`~provider.hooks.powerbi.enhanced_refresh.EnhancedRefresh` or as
        the dict of its request body. (templated)
    :param notify_option: ``NoNotification``, ``MailOnFailure`` or ``MailOnCompletion``, of a classic refresh asked for
        by a person's account; service principals can only use the first.
    :param if_running: what to do while another refresh of the model runs. ``wait`` (default): refresh after it; ``adopt``: take
        its end for ours; ``skip``: skip the task; ``fail``: fail the task; ``cancel``: cancel it (enhanced refreshes
        only), then refresh.
    :param powerbi_conn_id: connection of type ``powerbi``.
    :raises RemoteJobError: the refresh failed; AirflowFailException with the same text where a retry cannot help.

    .. seealso:: https://learn.microsoft.com/rest/api/power-bi/datasets/refresh-dataset-in-group
    """

    job_noun: ClassVar[str] = "Power BI semantic model refresh"
    template_fields: Sequence[str] = ("workspace", "semantic_model", "report", "refresh", "powerbi_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"refresh": "json"}

    def __init__(
        self,
        *,
        workspace: str,
        semantic_model: str | None = None,
        report: str | None = None,
        refresh: EnhancedRefresh | dict[str, Any] | None = None,
        notify_option: str = "NoNotification",
        **kwargs: Any,
    ) -> None:
        super().__init__(workspace=workspace, **kwargs)
        self.semantic_model = semantic_model
        self.report = report
        # A model is no template: templates are rendered inside the body's plain form, which is checked again then.
        self.refresh = refresh.body() if isinstance(refresh, EnhancedRefresh) else refresh
        self.notify_option = notify_option
        if (semantic_model is None) == (report is None):
            raise ConfigurationError(f"Task {self.task_id}: give either `semantic_model` or `report`.")

    def request(self, context: Context, earlier: RemoteJob | None) -> RefreshRequest:  # noqa: ARG002 - others need them
        """Return the refresh to ask for."""
        if self.refresh is None:
            body, enhanced = {"notifyOption": self.notify_option}, False
        else:
            body, enhanced = enhanced_refresh(self.refresh).body(), True
        if self.report:
            return {"workspace": self.workspace, "report": self.report, "body": body, "enhanced": enhanced}
        model = self.semantic_model or ""
        return {"workspace": self.workspace, "semantic_model": model, "body": body, "enhanced": enhanced}


class PowerBIDataflowRefreshOperator(_PowerBIRefreshOperator):
    """
    Refreshes a Power BI dataflow (Gen1), and waits for the end of the refresh.

    One of Gen2 is an item of Fabric, whose API for it is a preview and takes no applications: where Power BI does not know it,
    the task says so and fails.

    The service answers a start without an id: the new transaction in the dataflow's history is taken for ours. A cancel
    is best effort.

    Returns ``{"id", "status", "type", "started_at", "ended_at", "duration"}``; the duration is in seconds.

    :param workspace: id or name of the workspace. (templated)
    :param dataflow: id or name of the dataflow. (templated)
    :param notify_option: ``NoNotification``, ``MailOnFailure`` or ``MailOnCompletion``; service principals can only use the
        first.
    :param if_running: what to do while another refresh of the dataflow runs, see
        :class:`PowerBISemanticModelRefreshOperator`.
    :param powerbi_conn_id: connection of type ``powerbi``.
    :raises RemoteJobError: the refresh failed; AirflowFailException with the same text where a retry cannot help.

    .. seealso:: https://learn.microsoft.com/rest/api/power-bi/dataflows/refresh-dataflow
    """

    job_noun: ClassVar[str] = "Power BI dataflow refresh"
    template_fields: Sequence[str] = ("workspace", "dataflow", "powerbi_conn_id")

    def __init__(self, *, workspace: str, dataflow: str, notify_option: str = "NoNotification", **kwargs: Any) -> None:
        super().__init__(workspace=workspace, **kwargs)
        self.dataflow = dataflow
        self.notify_option = notify_option

    def request(self, context: Context, earlier: RemoteJob | None) -> RefreshRequest:  # noqa: ARG002 - others need them
        """Return the refresh to ask for."""
        body = {"notifyOption": self.notify_option}
        return {"workspace": self.workspace, "dataflow": self.dataflow, "body": body, "enhanced": False}
