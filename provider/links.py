"""Links from a task instance to its remote job in the console of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

from provider.airflow_internals.xcom import xcom_value
from provider.task_reports import TellsRemoteJob

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

__all__ = ["BigQueryJobLink", "DataformInvocationLink", "PowerBILink", "RemoteJobLink"]


class RemoteJobLink(BaseOperatorLink):
    """
    Shows the XCom ``remote_job_url``, which the operator pushes as soon as the job is known.

    Airflow 3 shows a link's XCom as it is, and asks :meth:`get_link` only when the task's process ends.
    """

    @property
    def name(self) -> str:
        """Name on the button."""
        return "Remote job"

    @property
    def xcom_key(self) -> str:
        """Key of the XCom that is the link."""
        return "remote_job_url"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the job's address in its service's console; empty as long as there is no job."""
        job = operator.remote_job if isinstance(operator, TellsRemoteJob) else None
        if job:
            return job["url"]
        return xcom_value(ti_key, self.xcom_key) or ""


class BigQueryJobLink(RemoteJobLink):
    """Opens the job in the Google Cloud console."""

    @property
    def name(self) -> str:
        """Name on the button."""
        return "BigQuery job"


class DataformInvocationLink(RemoteJobLink):
    """Opens the workflow invocation, with its actions, in the Google Cloud console."""

    @property
    def name(self) -> str:
        """Name on the button."""
        return "Dataform workflow invocation"


class PowerBILink(RemoteJobLink):
    """Opens the semantic model or the dataflow in the Power BI service of the connection's cloud."""

    @property
    def name(self) -> str:
        """Name on the button."""
        return "Power BI"
