"""Why a batch, or one of its tasks, does not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provider.airflow_view.view import MOST, RunsView
from provider.batch_ids import as_arguments
from provider.exceptions import AcceleratorError
from provider.explain.answers import Answer, because, cause, listed, moment, passes, stops, time_of
from provider.explain.dags import explain_dag
from provider.explain.tasks import AT_ONCE, TaskFacts, explain_task
from provider.hooks.remote_job import ENDED_STATES
from provider.metadata.batch_queries import batches_with_id, task_logs_of
from provider.metadata.definitions import edges_of, limits_of, task_types_of, waiting_for_past
from provider.metadata.renaming import called_now
from provider.metadata.rows import StoredTaskBatch, StoredTaskLog
from provider.metadata.states import BLOCKED, ENDS, ERROR
from provider.restart import OWN_TASKS
from provider.texts import task_name

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: Task instances of a batch that are explained.
_TASKS = 20
#: Characters of an error: what to do about it stands at its end.
_LONGEST_ERROR = 1500
#: States of a task instance from which the scheduler alone takes it on.
_SCHEDULERS = (None, "scheduled", "queued", "up_for_retry", "up_for_reschedule")


@dataclass(frozen=True)
class BatchFacts:
    """
    What the application database knows of a batch.

    :param logs: all tries, those of one task instance in their order.
    :param edges: pairs of parent and child.
    :param task_types: task id → type, as the rows are now.
    :param limits: task id → column → how many tasks may run at once.
    :param past: the tasks that depend on the run before → whether the workflow catches up.
    :param shares_id: a batch of another workflow has the same id, as those that one file has started.
    :param renamed: what its workflow is called now, empty where whoever asks may not see that; None where that is as it was.
    """

    batch: StoredTaskBatch
    logs: Sequence[StoredTaskLog]
    edges: Sequence[tuple[str, str]]
    task_types: Mapping[str, str]
    limits: Mapping[str, Mapping[str, int]]
    past: Mapping[str, bool]
    renamed: str | None = None
    shares_id: bool = False

    @classmethod
    def read(cls, session: Session, batch: StoredTaskBatch) -> BatchFacts:
        """Read what is known of a batch that there is."""
        workflow_id = batch["workflow_id"]
        tries = task_logs_of(session, workflow_id, batch["batch_id"])
        edges, types = edges_of(session, workflow_id), task_types_of(session, workflow_id)
        shares_id = len(batches_with_id(session, batch["batch_id"])) > 1
        limits, past = limits_of(session, workflow_id), waiting_for_past(session, workflow_id)
        return cls(batch, tries, edges, types, limits, past, called_now(session, workflow_id), shares_id)

    @property
    def ended(self) -> bool:
        """Whether the batch will not go on by itself."""
        return self.batch["status"] in ENDS


def explain_batch(facts: BatchFacts, view: RunsView) -> list[Answer]:
    """
    Return the answers of the rules for a batch; where its run runs, one for each open task.

    :raises RemoteCallError: Airflow could not be asked.
    """
    batch = facts.batch
    if facts.ended:
        return [explain_end(facts)]
    run = view.run(batch["workflow_id"], batch["batch_id"])
    if run is None:
        remedy = "Send a message with a new batch_id; the record follows by itself."
        return [stops("run", f"Airflow has no run {batch['batch_id']} of {batch['workflow_id']} any more.", remedy)]
    answers = explain_dag(batch["workflow_id"], view)
    if any(not one.passed for one in answers):
        return answers
    if run.get("state") == "queued":
        return [*answers, _queued(batch, view)]
    instances = view.task_instances(batch["workflow_id"], batch["batch_id"])
    open_ = [one for one in instances if one.get("state") not in ENDED_STATES and one["task_id"] != "batch_watcher"]
    # What has come furthest keeps the others waiting.
    open_.sort(key=lambda one: one.get("state") in (None, "scheduled"))
    firsts = [cause(explain_task(_task_facts(facts, one, instances), view)) for one in open_[:_TASKS]]
    # Whoever waits for tasks before it waits for what is said of these.
    firsts = [one for one in firsts if one.passed or one.name != "parents"] or firsts
    if len(open_) > _TASKS:
        firsts.append(passes("more", f"{len(open_) - _TASKS} more tasks are open."))
    return [*answers, *(firsts or [passes("tasks", "All tasks have ended; the run is about to.")])]


def _queued(batch: StoredTaskBatch, view: RunsView) -> Answer:
    """Say why a run has not begun: as many run as may, or the scheduler alone knows. Without a number any number may run."""
    dag = view.dag(batch["workflow_id"])
    most, running = (dag.max_active_runs, dag.running) if dag is not None else (None, 0)
    if most and running >= most and (active := view.active_runs(batch["workflow_id"])):
        # Of many not all are asked for, and the number of those that are not named is to be right.
        others = listed([*active, *[""] * (running - len(active) if len(active) >= MOST else 0)])
        remedy = "Wait for one of them, or raise max_active_batches in table workflows."
        return stops("active runs", f"The run is queued while others run: {others}.", remedy)
    while_ = f", while {running} of {most} that may run do" if most and running else ""
    created = time_of(batch["created_at"])
    is_new = created is not None and datetime.now(UTC) - created < AT_ONCE
    remedy = "That takes seconds: ask again." if is_new else "The scheduler's log says why; `accelerator doctor` looks at it."
    return stops("scheduler", f"The run is queued and the scheduler has not begun it yet{while_}.", remedy)


def explain_task_of(facts: BatchFacts, task_id: str, view: RunsView) -> list[Answer]:
    """
    Return the answers of the rules for one task of a batch.

    :raises AcceleratorError: the batch has no such task.
    :raises RemoteCallError: Airflow could not be asked.
    """
    instances = view.task_instances(facts.batch["workflow_id"], facts.batch["batch_id"])
    found = [one for one in instances if one["task_id"] == task_id]
    if not found:
        known = sorted({str(one["task_id"]) for one in instances} - OWN_TASKS)
        raise AcceleratorError(f"batch {facts.batch['batch_id']} has no task {task_id}; it has {listed(known) or 'none'}.")
    if not facts.ended and any(one.get("state") in _SCHEDULERS for one in found):
        before = explain_dag(facts.batch["workflow_id"], view)
        if any(not one.passed for one in before):
            return before
    answered = [explain_task(_task_facts(facts, one, instances), view) for one in found[:_TASKS]]
    return answered[0] if len(answered) == 1 else [cause(answers) for answers in answered]


def explain_end(facts: BatchFacts) -> Answer:
    """Say how a batch has ended, without asking Airflow."""
    batch = facts.batch
    how = f"The batch has ended as {batch['status']} at {moment(batch['ended_at'])}"
    who = f", by {batch['ended_by']}" if batch["ended_by"] else ""
    # That a task ended it, the error says.
    what = f" ({batch['end_cause']})" if batch["end_cause"] not in (None, "task") else ""
    return stops(
        "ended",
        f"{how}{who}{what}{because(batch['error'], _LONGEST_ERROR)}",
        _remedy(facts) if batch["status"] == "ERROR" else "",
    )


def _remedy(facts: BatchFacts) -> str:
    """Say how what a failed batch has not done gets done; Airflow runs nothing again of a run or a name that is gone."""
    if facts.batch["end_cause"] == "deleted":
        return "Its DAG run was deleted: mend the cause, then start a new batch."
    if facts.renamed is None:
        if not any(one["status"] in (ERROR, BLOCKED) for one in facts.logs):
            return "No task of it has failed, so nothing of it can run again: mend the cause, then start a new batch."
        batch = as_arguments(facts.batch["batch_id"], facts.batch["workflow_id"] if facts.shares_id else None)
        return f"Mend the cause, then `accelerator restart {batch}` runs what failed again."
    if not facts.renamed:
        return "Its workflow is called otherwise now: mend the cause, and let somebody who may see that start a new batch."
    return f"Its workflow is called {facts.renamed} now: mend the cause, then `accelerator run {facts.renamed}`."


def _task_facts(facts: BatchFacts, instance: Mapping[str, Any], instances: Sequence[Mapping[str, Any]]) -> TaskFacts:
    task_id, map_index = str(instance["task_id"]), int(instance["map_index"])
    above = {parent for parent, child in facts.edges if child == task_id} or ({"start_batch"} - {task_id})
    before = [(task_name(str(one["task_id"]), int(one["map_index"])), one) for one in instances if one["task_id"] in above]
    parents = [(name, one.get("state")) for name, one in before]
    began = facts.batch["started_at"] or facts.batch["created_at"]
    ends = [(at, f"{name} ended") for name, one in before if (at := time_of(one.get("end_date"))) is not None]
    ready = max([(began, "its batch began"), *ends])
    logs = [one for one in facts.logs if (one["task_id"], one["map_index"]) == (task_id, map_index)]
    log, limits = logs[-1] if logs else None, facts.limits.get(task_id, {})
    return TaskFacts(instance, log, facts.task_types.get(task_id), parents, limits, ready, facts.past.get(task_id))
