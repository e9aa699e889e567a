"""
Running tasks of a batch again, those that failed or from one on: what that would do, worked out from the record beforehand.

Airflow does it, by ``POST /api/v2/dags/{dag_id}/clearTaskInstances``, so that it checks the person's right and writes its audit
log. The page and the command send the same body.

.. seealso:: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from provider.airflow_internals.secrets import redact
from provider.exceptions import AcceleratorError
from provider.metadata.rows import StoredTaskBatch, StoredTaskLog
from provider.metadata.states import BLOCKED, DELETED, ERROR, NEW, PROCESSING, SCOPE, SUCCESS
from provider.run_conf import downstream_of
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
    :param follows: a sentence for each workflow that comes after this one, directly or by way of others.
    :param body: what Airflow is to be sent.
    """

    workflow_id: str
    batch_id: str
    runs: tuple[TaskAgain, ...]
    keeps: int
    repeats: tuple[str, ...]
    follows: tuple[str, ...]
    body: dict[str, Any]


class NothingToRestartError(AcceleratorError):
    """No task of the batch has failed or is blocked, or its DAG run is gone."""


def plan_restart(
    batch: StoredTaskBatch,
    tries: Iterable[StoredTaskLog],
    edges: Iterable[tuple[str, str]] = (),
    tasks: Collection[str] = (),
    predecessors: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> RestartPlan:
    """
    Return what running the failed and blocked tasks of a batch again would do.

    A failed try that Airflow will retry by itself is left to it.

    :param tries: all tries of the batch, those of one task instance in their order.
    :param edges: pairs of parent and child, of the workflow; asked for with *tasks* alone.
    :param tasks: only these of the failed and blocked tasks, and what is blocked behind them.
    :param predecessors: workflow id → what it comes after, of all workflows.
    :raises NothingToRestartError: nothing has failed or is blocked, or the DAG run was deleted.
    :raises AcceleratorError: one of *tasks* has neither failed nor is it blocked.
    """
    newest = _newest_of(batch, tries)
    again = [one for one in newest if one["status"] in (ERROR, BLOCKED) and one["airflow_state"] != _WILL_BE_RETRIED]
    own = [one for one in again if one["task_id"] in OWN_TASKS]
    chosen = [one for one in again if one["task_id"] not in OWN_TASKS]
    if tasks:
        chosen = _only(chosen, edges, tasks, batch)
    if not (chosen or own):
        raise NothingToRestartError(f"no task of batch {batch['batch_id']} of {batch['workflow_id']} has failed or is blocked.")
    return _plan(batch, newest, chosen, predecessors, {"task_ids": [_marker(one) for one in (*own, *chosen)]})


def plan_rerun(
    batch: StoredTaskBatch,
    tries: Iterable[StoredTaskLog],
    edges: Iterable[tuple[str, str]],
    tasks: Collection[str],
    predecessors: Mapping[str, Collection[str]],
) -> RestartPlan:
    """
    Return what running tasks of a batch again would do, with everything behind them, whether or not it has succeeded.

    :param tries: all tries of the batch, those of one task instance in their order.
    :param edges: pairs of parent and child, of the workflow.
    :param predecessors: workflow id → what it comes after, of all workflows.
    :raises NothingToRestartError: the DAG run was deleted.
    :raises AcceleratorError: one of *tasks* is not in the batch, or something of it still runs.
    """
    newest = _newest_of(batch, tries)
    there = {one["task_id"] for one in newest if one["end_cause"] != SCOPE} - OWN_TASKS
    if unfit := sorted(set(tasks) - there):
        raise AcceleratorError(
            f"batch {batch['batch_id']} of {batch['workflow_id']} has not run {', '.join(unfit)}. Its tasks are: "
            f"{', '.join(sorted(there)) or 'none'}."
        )
    wanted = there.intersection(downstream_of(tasks, _children(edges)))
    chosen = [one for one in newest if one["task_id"] in wanted]
    if running := sorted({one["task_id"] for one in chosen if one["status"] in (NEW, PROCESSING)}):
        raise AcceleratorError(
            f"{', '.join(running)} of batch {batch['batch_id']} still runs; wait for its end, or cancel the batch."
        )
    return _plan(batch, newest, chosen, predecessors, {"task_ids": sorted(tasks), "include_downstream": True})


def _newest_of(batch: StoredTaskBatch, tries: Iterable[StoredTaskLog]) -> list[StoredTaskLog]:
    if batch["end_cause"] == DELETED:
        raise NothingToRestartError(
            f"the DAG run of batch {batch['batch_id']} of {batch['workflow_id']} was deleted; start a new batch."
        )
    return newest_tries(tries)


def _plan(
    batch: StoredTaskBatch,
    newest: Sequence[StoredTaskLog],
    chosen: Sequence[StoredTaskLog],
    predecessors: Mapping[str, Collection[str]],
    what: Mapping[str, Any],
) -> RestartPlan:
    again = {(one["task_id"], one["map_index"]) for one in chosen}
    kept = [one for one in newest if one["status"] == SUCCESS and (one["task_id"], one["map_index"]) not in again]
    return RestartPlan(
        workflow_id=batch["workflow_id"],
        batch_id=batch["batch_id"],
        runs=tuple(TaskAgain(one["task_id"], one["map_index"], one["status"], _why(one)) for one in chosen),
        keeps=sum(one["task_id"] not in OWN_TASKS for one in kept),
        repeats=tuple(_repeated(one) for one in chosen if one["remote_job_id"]),
        follows=tuple(_followers(batch["workflow_id"], predecessors)),
        body={
            "dry_run": False,
            "dag_run_id": batch["batch_id"],
            **what,
            "only_failed": False,
            "reset_dag_runs": True,
            # What has begun to run since the record was written is not to be ended.
            "prevent_running_task": True,
        },
    )


def _followers(workflow_id: str, predecessors: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield a sentence for each workflow that may start when this one has succeeded, the nearest first."""
    children = _children((before, name) for name, said in sorted(predecessors.items()) for before in said)
    for name in downstream_of([workflow_id], children)[1:]:
        yield f"{name} starts a new batch once all that it comes after has succeeded anew: {', '.join(predecessors[name])}."


def _children(edges: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    for parent, child in edges:
        children.setdefault(parent, []).append(child)
    return children


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
            f"{', '.join(unfit)}. Those that have or are: {', '.join(sorted(there)) or 'none'}. With --from a task "
            "that has succeeded runs again, and all that is behind it."
        )
    # A task that is out of scope or disabled blocks nothing: what comes after it and is blocked, others have blocked.
    blocked = {one["task_id"] for one in found if one["status"] == BLOCKED}
    wanted = downstream_of(tasks, _children((parent, child) for parent, child in edges if child in blocked))
    return [one for one in found if one["task_id"] in tasks or (one["task_id"] in wanted and one["status"] == BLOCKED)]


def _why(one: StoredTaskLog) -> str:
    # Masked before it is cut: of a secret that is, nothing would be found.
    return first_line(redact(one["error_message"] or ""), _WHY)


def _repeated(one: StoredTaskLog) -> str:
    return f"{task_name(one['task_id'], one['map_index'])} starts its remote job anew; the last one was {one['remote_job_id']}."


def _marker(one: StoredTaskLog) -> str | list[str | int]:
    """Return how Airflow is told of a task instance: without a map index it would take all instances of a mapped task."""
    return one["task_id"] if one["map_index"] < 0 else [one["task_id"], one["map_index"]]
