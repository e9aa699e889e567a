"""Why a task of a batch does not run: rules over its row, its parents and what Airflow says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provider.airflow_view.view import RunsView
from provider.explain.answers import Answer, listed, moment, passes, stops
from provider.hooks.remote_job import ENDED_STATES
from provider.metadata.rows import StoredTaskLog
from provider.metadata.states import SCOPE_REASONS
from provider.texts import first_line, task_name


@dataclass(frozen=True)
class TaskFacts:
    """
    What is known of a task instance before Airflow is asked for more.

    :param instance: what Airflow says of it, see :data:`provider.airflow_view.view.TASK_INSTANCE`.
    :param log: its newest try on record; None where there is none.
    :param task_type: of its row; None where it is defined no more.
    :param parents: name and Airflow's state of each task instance before it.
    """

    instance: Mapping[str, Any]
    log: StoredTaskLog | None
    task_type: str | None
    parents: Sequence[tuple[str, str | None]]

    @property
    def name(self) -> str:
        """How people are told of it."""
        return task_name(str(self.instance["task_id"]), int(self.instance["map_index"]))


def explain_task(facts: TaskFacts, view: RunsView) -> list[Answer]:
    """
    Return the answers of the rules for one task instance.

    :raises RemoteCallError: Airflow could not be asked for more.
    """
    state = facts.instance.get("state")
    if state in ENDED_STATES:
        return [_ended(facts, str(state))]
    if state == "up_for_retry":
        why = first_line(facts.log["error_message"] or "", 300) if facts.log else ""
        return [stops("retry", f"{facts.name} has failed and waits for its next try{': ' if why else ''}{why}")]
    if state in (None, "scheduled"):
        return _not_queued(facts, view)
    if state == "queued":
        return [_queued(facts)]
    if state == "deferred":
        return _deferred(facts, view)
    return [passes("runs", f"{facts.name} is {state} since {moment(facts.instance.get('start_date'))}.")]


def _ended(facts: TaskFacts, state: str) -> Answer:
    log = facts.log
    reason = (log["error_message"] or "") if log else ""
    if reason in SCOPE_REASONS:
        return stops("scope", f"{facts.name} does not run in this batch: {reason}.")
    who = f" by {log['ended_by']}" if log and log["ended_by"] else ""
    because = f": {first_line(reason, 300)}" if reason else ""
    remedy = "" if state in ("success", "skipped", "removed") else "Mend that, then run it again with `accelerator restart`."
    return stops("ended", f"{facts.name} has ended as {state}{who}{because}", remedy)


def _not_queued(facts: TaskFacts, view: RunsView) -> list[Answer]:
    open_ = [f"{name} ({state or 'not begun'})" for name, state in facts.parents if state not in ENDED_STATES]
    if open_:
        return [stops("parents", f"{facts.name} waits for {listed(open_)}.", "Ask for the first of them.")]
    answers = [passes("parents", "All tasks before it have ended.")]
    pool = str(facts.instance.get("pool") or "default_pool")
    found = view.pool(pool)
    if found is None:
        remedy = "Create the pool in Airflow, or name another one in the row of the task."
        return [*answers, stops("pool", f"There is no pool {pool}.", remedy)]
    slots, occupied = int(found["slots"]), int(found["occupied_slots"])
    if 0 <= slots <= occupied:
        inside = view.occupants(pool, deferred=bool(found.get("include_deferred")))
        by = [f"{one['dag_id']} {one['task_id']} in {one['dag_run_id']}" for one in inside]
        whom = f": {listed(by)}" if by else ""
        remedy = "Give the pool more slots in Airflow." if not occupied else "Wait for one of them, or give the pool more slots."
        return [*answers, stops("pool", f"Pool {pool} is full, {occupied} of {slots} slots are taken{whom}.", remedy)]
    answers.append(passes("pool", f"Pool {pool} has room."))
    reasons = view.reasons(
        *(str(facts.instance["dag_id"]), str(facts.instance["dag_run_id"])),
        *(str(facts.instance["task_id"]), int(facts.instance["map_index"])),
    )
    if reasons:
        return [*answers, stops("airflow", f"Airflow says: {listed(list(reasons))}")]
    remedy = "Look at the concurrency limits of the DAG and of the executor."
    return [*answers, stops("scheduler", f"The scheduler has not queued {facts.name} yet.", remedy)]


def _queued(facts: TaskFacts) -> Answer:
    one = facts.instance
    where = f"executor {one.get('executor') or 'of the default'}, queue {one.get('queue') or 'default'}"
    # The LocalExecutor has no revoke_task, so scheduler.task_queued_timeout does nothing there.
    remedy = (
        "See that workers of that queue run and have room. Where a worker died, Airflow queues the task again after "
        "[scheduler] task_queued_timeout; with the LocalExecutor it does not: restart the scheduler."
    )
    return stops(
        "worker", f"{facts.name} is queued since {moment(one.get('queued_when'))} and no worker has taken it ({where}).", remedy
    )


def _deferred(facts: TaskFacts, view: RunsView) -> list[Answer]:
    triggerer = view.health().get("triggerer") or {}
    if triggerer.get("status") != "healthy":
        seen = moment(triggerer.get("latest_triggerer_heartbeat"))
        return [
            stops(
                "triggerer",
                f"{facts.name} is deferred and no triggerer is alive, last heartbeat {seen}.",
                "Start `airflow triggerer`.",
            )
        ]
    answers = [passes("triggerer", "A triggerer is alive.")]
    if facts.task_type == "external":
        batch, task = facts.instance["dag_run_id"], facts.instance["task_id"]
        reason = (
            f"{facts.name} waits for a message that tells its end: task_id {task}, batch_id {batch}, status SUCCESS or ERROR."
        )
        return [*answers, stops("message", reason, "See whether the work is done elsewhere, and that its message is sent.")]
    job = facts.log["remote_job_id"] if facts.log else None
    told = f" for remote job {job}" if job else ""
    return [*answers, passes("waits", f"{facts.name} waits{told} since {moment(facts.instance.get('start_date'))}.")]
