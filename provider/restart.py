"""
Running the failed and blocked tasks of a batch again: what that would do, worked out from the record before it is done.

Airflow does it, by ``POST /api/v2/dags/{dag_id}/clearTaskInstances``, so that it checks the person's right and writes its audit
log. The page and the command send the same body.

.. seealso:: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from provider.exceptions import AcceleratorError
from provider.metadata.rows import StoredTaskBatch, StoredTaskLog
from provider.metadata.states import BLOCKED, DELETED, ERROR, SUCCESS
from provider.texts import first_line, task_name

#: Tasks that every workflow has and nobody has defined.
OWN_TASKS = frozenset({"start_batch", "batch_watcher"})
#: Airflow will run such a try again by itself.
_WILL_BE_RETRIED = "up_for_retry"
_WHY = 300


@dataclass(frozen=True)
class TaskAgain:
    """
    A task instance that would run again.

    :param why: the first line of what it failed or is blocked by; empty where nobody knows.
    """

    task_id: str
    map_index: int
    status: str
    why: str


@dataclass(frozen=True)
class RestartPlan:
    """
    What running a batch again would do.

    :param runs: what would run, in the order in which it ran; the tasks that every workflow has are left out.
    :param keeps: number of task instances that have succeeded and stay as they are.
    :param repeats: a sentence for each remote job that would be started anew.
    :param body: what Airflow is to be sent.
    """

    workflow_id: str
    batch_id: str
    runs: tuple[TaskAgain, ...]
    keeps: int
    repeats: tuple[str, ...]
    body: dict[str, Any]


class NothingToRestartError(AcceleratorError):
    """No task of the batch has failed or is blocked, or its DAG run is gone."""


def plan_restart(
    batch: StoredTaskBatch, tries: Iterable[StoredTaskLog], edges: Iterable[tuple[str, str]] = (), tasks: Collection[str] = ()
) -> RestartPlan:
    """
    Return what running the failed and blocked tasks of a batch again would do.

    A failed try that Airflow will retry by itself is left to it.

    :param tries: all tries of the batch, those of one task instance in their order.
    :param edges: pairs of parent and child, of the workflow; asked for with *tasks* alone.
    :param tasks: only these of the failed and blocked tasks, and what is blocked behind them.
    :raises NothingToRestartError: nothing has failed or is blocked, or the DAG run was deleted.
    :raises AcceleratorError: one of *tasks* has neither failed nor is it blocked.
    """
    if batch["end_cause"] == DELETED:
        raise NothingToRestartError(
            f"the DAG run of batch {batch['batch_id']} of {batch['workflow_id']} was deleted; start a new batch."
        )
    newest = newest_tries(tries)
    again = [one for one in newest if one["status"] in (ERROR, BLOCKED) and one["airflow_state"] != _WILL_BE_RETRIED]
    own = [one for one in again if one["task_id"] in OWN_TASKS]
    chosen = [one for one in again if one["task_id"] not in OWN_TASKS]
    if tasks:
        chosen = _only(chosen, edges, tasks, batch)
    if not (chosen or own):
        raise NothingToRestartError(f"no task of batch {batch['batch_id']} of {batch['workflow_id']} has failed or is blocked.")
    return RestartPlan(
        workflow_id=batch["workflow_id"],
        batch_id=batch["batch_id"],
        runs=tuple(TaskAgain(one["task_id"], one["map_index"], one["status"], _why(one)) for one in chosen),
        keeps=sum(one["status"] == SUCCESS and one["task_id"] not in OWN_TASKS for one in newest),
        repeats=tuple(_repeated(one) for one in chosen if one["remote_job_id"]),
        body={
            "dry_run": False,
            "dag_run_id": batch["batch_id"],
            "task_ids": [_marker(one) for one in (*own, *chosen)],
            "only_failed": False,
            "reset_dag_runs": True,
            # What has begun to run since the record was written is not to be ended.
            "prevent_running_task": True,
        },
    )


def newest_tries(tries: Iterable[StoredTaskLog]) -> list[StoredTaskLog]:
    """Return the last try of each task instance; a task that was expanded has instances, and is none by itself any more."""
    last = {(one["task_id"], one["map_index"]): one for one in tries}
    expanded = {task_id for task_id, map_index in last if map_index >= 0}
    return [one for (task_id, map_index), one in last.items() if map_index >= 0 or task_id not in expanded]


def _only(
    found: Sequence[StoredTaskLog], edges: Iterable[tuple[str, str]], tasks: Collection[str], batch: StoredTaskBatch
) -> list[StoredTaskLog]:
    there = {one["task_id"] for one in found}
    if unfit := sorted(set(tasks) - there):
        raise AcceleratorError(
            f"in batch {batch['batch_id']} of {batch['workflow_id']} these have neither failed nor are they blocked: "
            f"{', '.join(unfit)}. Those that have or are: {', '.join(sorted(there)) or 'none'}. To run a task again that has "
            "succeeded, clear it in Airflow."
        )
    # A task that is out of scope or disabled blocks nothing: what comes after it and is blocked, others have blocked.
    blocked = {one["task_id"] for one in found if one["status"] == BLOCKED}
    children: dict[str, set[str]] = {}
    for parent, child in edges:
        if child in blocked:
            children.setdefault(parent, set()).add(child)
    wanted, open_ = set(tasks), list(tasks)
    while open_:
        behind = children.get(open_.pop(), set()) - wanted
        wanted |= behind
        open_ += behind
    return [one for one in found if one["task_id"] in tasks or (one["task_id"] in wanted and one["status"] == BLOCKED)]


def _why(one: StoredTaskLog) -> str:
    return first_line(one["error_message"] or "", _WHY)


def _repeated(one: StoredTaskLog) -> str:
    return f"{task_name(one['task_id'], one['map_index'])} starts its remote job anew; the last one was {one['remote_job_id']}."


def _marker(one: StoredTaskLog) -> str | list[str | int]:
    """Return how Airflow is told of a task instance: without a map index it would take all instances of a mapped task."""
    return one["task_id"] if one["map_index"] < 0 else [one["task_id"], one["map_index"]]
