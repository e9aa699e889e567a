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
#: Airflow's words for what has failed, and for what is blocked by that.
_FAILED, _BLOCKED = "failed", "upstream_failed"
_WHY = 300
#: Most names in a sentence.
_NAMES = 5


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
    :param stays: a sentence for each task that would be cleared and then be blocked again.
    :param keeps: number of task instances that have succeeded and stay as they are.
    :param repeats: a sentence for each remote job that would be started anew.
    :param follows: a sentence for each workflow that comes after this one, directly or by way of others.
    :param body: what Airflow is to be sent.
    """

    workflow_id: str
    batch_id: str
    runs: tuple[TaskAgain, ...]
    stays: tuple[str, ...]
    keeps: int
    repeats: tuple[str, ...]
    follows: tuple[str, ...]
    body: dict[str, Any]


class NothingToRestartError(AcceleratorError):
    """No task of the batch has failed or is blocked, or those that are chosen would be blocked again, or its DAG run is gone."""


def plan_restart(
    batch: StoredTaskBatch,
    tries: Iterable[StoredTaskLog],
    edges: Collection[tuple[str, str]] = (),
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
    return _plan(batch, newest, chosen, edges, predecessors, {"task_ids": [_marker(one) for one in (*own, *chosen)]})


def plan_rerun(
    batch: StoredTaskBatch,
    tries: Iterable[StoredTaskLog],
    edges: Collection[tuple[str, str]],
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
    return _plan(batch, newest, chosen, edges, predecessors, {"task_ids": sorted(tasks), "include_downstream": True})


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
    edges: Collection[tuple[str, str]],
    predecessors: Mapping[str, Collection[str]],
    what: Mapping[str, Any],
) -> RestartPlan:
    again = {(one["task_id"], one["map_index"]) for one in chosen}
    blockers = _blockers(newest, again, edges)
    held: list[StoredTaskLog] = []
    runs: list[StoredTaskLog] = []
    for one in chosen:
        (held if one["airflow_state"] == _BLOCKED and one["task_id"] in blockers else runs).append(one)
    stays = tuple(_stays(one, blockers[one["task_id"]]) for one in held)
    if held and not runs:
        raise NothingToRestartError(f"nothing of batch {batch['batch_id']} of {batch['workflow_id']} would run again: {stays[0]}")
    kept = [one for one in newest if one["status"] == SUCCESS and (one["task_id"], one["map_index"]) not in again]
    return RestartPlan(
        workflow_id=batch["workflow_id"],
        batch_id=batch["batch_id"],
        runs=tuple(TaskAgain(one["task_id"], one["map_index"], one["status"], _why(one)) for one in runs),
        stays=stays,
        keeps=sum(one["task_id"] not in OWN_TASKS for one in kept),
        repeats=tuple(_repeated(one) for one in runs if one["remote_job_id"]),
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


def _blockers(
    newest: Iterable[StoredTaskLog], again: Collection[tuple[str, int]], edges: Collection[tuple[str, str]]
) -> dict[str, list[str]]:
    """
    Return task id → what has failed above it and does not run again, of each task that this keeps blocked.

    Every task that rows define has the trigger rule ``none_failed``, so one failed parent is enough. What Airflow is not known to
    have ended blocks nothing: it may come to a good end.
    """
    children = _children(edges)
    left: dict[str, set[str]] = {_FAILED: set(), _BLOCKED: set()}
    blocked = set()
    for one in newest:
        state = one["airflow_state"] or ""
        if state == _BLOCKED:
            blocked.add(one["task_id"])
        if state in left and (one["task_id"], one["map_index"]) not in again and one["task_id"] not in OWN_TASKS:
            left[state].add(one["task_id"])
    # Each task is gone through once, whatever else is above it: a batch may have thousands.
    source: dict[str, str] = {}
    for root in (*sorted(left[_FAILED]), *sorted(left[_BLOCKED])):
        waiting = [root]
        while waiting:
            if (name := waiting.pop()) not in source:
                source[name] = root
                waiting += [child for child in children.get(name, ()) if child in blocked]
    found: dict[str, set[str]] = {}
    for parent, child in edges:
        if parent in source:
            found.setdefault(child, set()).add(source[parent])
    return {child: sorted(names) for child, names in found.items()}


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


def _stays(one: StoredTaskLog, blockers: Sequence[str]) -> str:
    more = f" and {len(blockers) - _NAMES} more" if len(blockers) > _NAMES else ""
    names = ", ".join(blockers[:_NAMES])
    return f"{task_name(one['task_id'], one['map_index'])} stays blocked by {names}{more}, failed and not chosen."


def _why(one: StoredTaskLog) -> str:
    # Masked before it is cut: of a secret that is, nothing would be found.
    return first_line(redact(one["error_message"] or ""), _WHY)


def _repeated(one: StoredTaskLog) -> str:
    return f"{task_name(one['task_id'], one['map_index'])} starts its remote job anew; the last one was {one['remote_job_id']}."


def _marker(one: StoredTaskLog) -> str | list[str | int]:
    """Return how Airflow is told of a task instance: without a map index it would take all instances of a mapped task."""
    return one["task_id"] if one["map_index"] < 0 else [one["task_id"], one["map_index"]]
