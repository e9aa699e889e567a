"""Operator that runs another workflow as a batch of its own, and waits for its end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from provider.exceptions import ConfigurationError
from provider.operators.remote_job import RemoteJobOperator
from provider.run_conf import ScopeName, chain_of, reserved_among

if TYPE_CHECKING:
    from airflow.sdk import Context

    from provider.hooks.airflow_runs import RunRequest
    from provider.hooks.remote_job import RemoteJob

__all__ = ["RunWorkflowOperator"]

#: Workflows that may start one another.
LONGEST_CHAIN = 20
#: A value that is a param and nothing else: rendered it would be text, whatever it was.
_PARAM = re.compile(r"\{\{\s*params\.(\w+)\s*\}\}")


class RunWorkflowOperator(RemoteJobOperator):
    """
    Runs another workflow as a batch of its own, and waits for its end.

    ``TriggerDagRunOperator`` fails in a retry that finds its run, or starts that run again while it runs; it does not end the
    run when a person ends the task, and nobody knows its run where a worker died. This one is a remote job like all others.

    The batch id is ``<task id>.<batch id of this batch>``; a second batch, after a clear, has ``.2`` behind it.

    Returns ``{"workflow_id", "batch_id"}``.

    :param workflow_id: DAG id of the workflow.
    :param conf: values for its parameters. A value ``{{ params.NAME }}`` keeps the type of that param. (templated)
    :param start_task_ids: where it starts; None for the whole workflow.
    :param scope: how much runs from there, as in a message; default: everything downstream.
    :param airflow_conn_id: connection of type ``airflow_api`` to this Airflow's own REST API. (templated)
    :raises ConfigurationError: workflows start one another in a circle, or more than 20 in a row; or *conf* has a key of ours.
    :raises AirflowFailException: the batch failed.

    Other parameters: see :class:`~provider.operators.remote_job.RemoteJobOperator`.
    """

    ui_color = "#dfe8f7"
    service_name: ClassVar[str] = "airflow"
    job_noun: ClassVar[str] = "batch of another workflow"
    template_fields: Sequence[str] = ("conf", "airflow_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"conf": "json"}

    def __init__(
        self,
        *,
        workflow_id: str,
        conf: Mapping[str, Any] | None = None,
        start_task_ids: Sequence[str] | None = None,
        scope: ScopeName | None = None,
        airflow_conn_id: str = "airflow_api",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow_id = workflow_id
        self.conf = conf
        self._typed = {key: match[1] for key, value in (conf or {}).items() if (match := _PARAM.fullmatch(str(value)))}
        self.start_task_ids = start_task_ids
        self.scope = scope
        self.airflow_conn_id = airflow_conn_id
        if reserved := reserved_among(conf or {}):
            raise ConfigurationError(f"Task {self.task_id}: {reserved[0]} is no parameter of a workflow; leave it out of `conf`.")
        if scope in ("downstream", "task") and not start_task_ids:
            raise ConfigurationError(f"Task {self.task_id}: scope {scope} needs start_task_ids.")

    def request(self, context: Context, earlier: RemoteJob | None) -> RunRequest:  # noqa: ARG002 - others need them
        """Return the batch to ask for."""
        ti, dag_run = context["ti"], context["dag_run"]
        chain = [*chain_of(dag_run.conf, ti.dag_id, ti.run_id), ti.dag_id]
        if self.workflow_id in chain:
            around = " → ".join([*chain, self.workflow_id])
            raise ConfigurationError(f"Task {self.task_id}: the workflows start one another for ever: {around}; take one out.")
        if len(chain) >= LONGEST_CHAIN:
            raise ConfigurationError(f"Task {self.task_id}: more than {LONGEST_CHAIN} workflows start one another; split them.")
        map_index = -1 if ti.map_index is None else ti.map_index
        index = "" if map_index < 0 else f".{map_index}"
        return {
            "workflow_id": self.workflow_id,
            "name": f"{self.task_id}{index}.{ti.run_id}",
            "started_by": [ti.dag_id, ti.run_id, self.task_id, map_index],
            "params": dict(self.conf or {}) | {key: context["params"][name] for key, name in self._typed.items()},
            "start_task_ids": list(self.start_task_ids) if self.start_task_ids else None,
            "scope": self.scope or ("downstream" if self.start_task_ids else "workflow"),
            "chain": chain,
        }
