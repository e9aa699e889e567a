"""
Cancelling a batch: what runs in it and which remote jobs that ends, worked out from the record before it is done.

Airflow does it, by ``PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}``: it marks the run failed and ends its tasks, whose own
processes cancel their remote jobs, or else the reconciler.

.. seealso:: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider.exceptions import AcceleratorError
from provider.metadata.batch_queries import task_logs_of
from provider.metadata.definitions import parameters_of_tasks
from provider.metadata.rows import StoredTaskBatch, StoredTaskLog
from provider.metadata.states import NEW, PROCESSING, UNFINISHED
from provider.restart import OWN_TASKS, newest_tries
from provider.texts import one_line, storable, task_name

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: Airflow's longest note.
_LONGEST_NOTE = 1000
#: Every remote job is cancelled.
NOTHING_KEPT: Mapping[str, str] = {}


@dataclass(frozen=True)
class CancelPlan:
    """
    What cancelling a batch would do.

    :param running: names of the task instances that run now; the tasks that every workflow has are left out.
    :param waiting: how many have not begun.
    :param jobs: a sentence for each remote job that runs.
    """

    workflow_id: str
    batch_id: str
    running: tuple[str, ...]
    waiting: int
    jobs: tuple[str, ...]


def plan_cancel(
    batch: StoredTaskBatch, tries: Iterable[StoredTaskLog], keep_jobs: Mapping[str, str] = NOTHING_KEPT
) -> CancelPlan:
    """
    Return what cancelling a batch would do.

    :param tries: all tries of the batch, those of one task instance in their order.
    :param keep_jobs: tasks of which the remote job goes on, and why: see :func:`why_job_goes_on`.
    :raises AcceleratorError: the batch has ended.
    """
    if batch["status"] not in UNFINISHED:
        raise has_ended(batch["batch_id"], batch["workflow_id"], batch["status"])
    tasks = [one for one in newest_tries(tries) if one["task_id"] not in OWN_TASKS]
    running = [one for one in tasks if one["status"] == PROCESSING]
    return CancelPlan(
        workflow_id=batch["workflow_id"],
        batch_id=batch["batch_id"],
        running=tuple(task_name(one["task_id"], one["map_index"]) for one in running),
        waiting=sum(one["status"] == NEW for one in tasks),
        jobs=tuple(_job(one, keep_jobs.get(one["task_id"], "")) for one in running if one["remote_job_id"]),
    )


def read_cancel_plan(session: Session, batch: StoredTaskBatch) -> CancelPlan:
    """
    Return what cancelling a batch would do, by its rows.

    :raises AcceleratorError: the batch has ended.
    """
    tries = task_logs_of(session, batch["workflow_id"], batch["batch_id"])
    with_job = {one["task_id"] for one in tries if one["remote_job_id"]}
    found = parameters_of_tasks(session, batch["workflow_id"], with_job)
    return plan_cancel(batch, tries, {task_id: why for task_id, said in found.items() if (why := why_job_goes_on(said))})


def has_ended(batch_id: str, workflow_id: str, state: str) -> AcceleratorError:
    """Return the error for a batch of which nothing runs any more."""
    return AcceleratorError(
        f"batch {batch_id} of {workflow_id} has ended already ({one_line(state, 50)}); there is nothing to cancel."
    )


def cancel_body(by: str) -> dict[str, Any]:
    """Return what Airflow is to be sent; *by* is who cancels, and with what, for the note on the run."""
    return {"state": "failed", "note": storable(f"Cancelled by {by}.", _LONGEST_NOTE)}


def why_job_goes_on(parameters: Mapping[str, Any]) -> str:
    """
    Return why cancelling a task does not cancel its remote job; empty where it does.

    :param parameters: what the task's row says of its operator.
    """
    if parameters.get("cancel_on_kill") is False:
        return "its task has cancel_on_kill: false"
    if (parameters.get("semantic_model") or parameters.get("report")) and not parameters.get("refresh"):
        return "Power BI cancels enhanced refreshes only"
    return ""


def _job(one: StoredTaskLog, goes_on: str) -> str:
    what = f"goes on, as {goes_on}" if goes_on else "will be cancelled"
    return f"{task_name(one['task_id'], one['map_index'])}: remote job {one_line(one['remote_job_id'])} {what}."
