"""Operator that waits for the end of a batch of another workflow, which somebody else starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.paths import is_part
from provider.operators.remote_job import RemoteJobOperator
from provider.texts import quoted

if TYPE_CHECKING:
    from airflow.sdk import Context

    from provider.hooks.remote_job import RemoteJob
    from provider.hooks.wait_budget import WaitBudget
    from provider.operators.job_ledger import JobLedger

__all__ = ["WaitForWorkflowOperator"]


class WaitForWorkflowOperator(RemoteJobOperator):
    """
    Waits for the end of a batch of another workflow, and succeeds or fails with it.

    Airflow's ``ExternalTaskSensor`` finds the other run by its logical date, which a run that a message started does not have.
    Here it is found by its batch id, whether it is there already or comes later. It is somebody else's: nothing that happens to
    this task ends it.

    Returns ``{"workflow_id", "batch_id"}``.

    :param workflow_id: DAG id of the workflow.
    :param batch_id: id of the batch; default: that of the batch this task is in. (templated)
    :param airflow_conn_id: connection of type ``airflow_api`` to this Airflow's own REST API. (templated)
    :raises ConfigurationError: *batch_id* is none, or the batch is the one that this task is in.
    :raises AirflowFailException: the batch failed; the text has the tasks that did.
    :raises RemoteJobError: it has not ended within ``wait_timeout``.

    Other parameters: see :class:`~provider.operators.remote_job.RemoteJobOperator`, without ``cancel_on_kill`` and
    ``cancel_on_timeout``.
    """

    ui_color = "#dfe8f7"
    service_name: ClassVar[str] = "airflow"
    job_noun: ClassVar[str] = "batch of another workflow"
    template_fields: Sequence[str] = ("batch_id", "airflow_conn_id")

    def __init__(
        self, *, workflow_id: str, batch_id: str | None = None, airflow_conn_id: str = "airflow_api", **kwargs: Any
    ) -> None:
        super().__init__(cancel_on_kill=False, cancel_on_timeout=False, **kwargs)
        self.workflow_id = workflow_id
        self.batch_id = batch_id
        self.airflow_conn_id = airflow_conn_id

    def request(self, context: Context, earlier: RemoteJob | None) -> dict[str, str]:  # noqa: ARG002 - others need it
        """Return the names of the batch to wait for."""
        ti = context["ti"]
        batch_id = ti.run_id if self.batch_id is None else self.batch_id
        if not is_part(batch_id):
            raise ConfigurationError(f"Task {self.task_id}: {quoted(batch_id)} is no id of a batch; correct batch_id.")
        if (self.workflow_id, batch_id) == (ti.dag_id, ti.run_id):
            raise ConfigurationError(f"Task {self.task_id}: waits for the batch it is in; name another workflow, or batch_id.")
        return {"workflow_id": self.workflow_id, "batch_id": batch_id}

    def _own_job(self, context: Context, ledger: JobLedger, budget: WaitBudget, ended: str | None) -> RemoteJob:  # noqa: ARG002
        service: Any = self.service
        job: RemoteJob = service.awaited(**self.request(context, None))
        self.log.info("Waiting for the end of batch %s of the workflow %s.", job["batch_id"], job["workflow_id"])
        return job

    def _time_out(self, ledger: JobLedger, job: RemoteJob, error: TimeoutError) -> NoReturn:  # noqa: ARG002 - of the base
        raise RemoteJobError(
            f"{error} Start or restart batch {job['batch_id']} of the workflow {job['workflow_id']}, then clear this task; "
            "or raise `wait_timeout`."
        ) from error
