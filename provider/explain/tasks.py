"""Why a task of a batch does not run: rules over its row, its parents and what Airflow says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from provider import settings
from provider.airflow_view.view import MOST, RunsView
from provider.explain.answers import Answer, because, listed, moment, passes, stops, time_of
from provider.hooks.remote_job import ENDED_STATES
from provider.metadata.rows import StoredTaskLog
from provider.metadata.states import PROCESSING, SCOPE_REASONS
from provider.texts import task_name

#: A scheduler that is well may take so long to queue a task.
AT_ONCE = timedelta(seconds=30)
#: States of a task in the run before with which one that depends on it goes on.
_PAST_IS_WELL = frozenset({"success", "skipped"})


@dataclass(frozen=True)
class TaskFacts:
    """
    What is known of a task instance before Airflow is asked for more.

    :param instance: what Airflow says of it, see :data:`provider.airflow_view.view.TASK_INSTANCE`.
    :param log: its newest try on record; None where there is none.
    :param task_type: of its row; None where it is defined no more.
    :param parents: name and Airflow's state of each task instance before it.
    :param limits: column of its row or its workflow's → how many tasks may run at once.
    :param past: None unless ``depends_on_past`` lets it wait for the run before; then whether its workflow catches up.
    :param ready: when it could be queued, and what happened then, such as ``its batch began``.
    """

    instance: Mapping[str, Any]
    log: StoredTaskLog | None
    task_type: str | None
    parents: Sequence[tuple[str, str | None]]
    limits: Mapping[str, int]
    ready: tuple[datetime, str]
    past: bool | None = None

    @property
    def name(self) -> str:
        """How people are told of it."""
        return task_name(str(self.instance["task_id"]), int(self.instance["map_index"]))

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What Airflow knows it by: the ids of DAG, run and task, and the map index."""
        one = self.instance
        return str(one["dag_id"]), str(one["dag_run_id"]), str(one["task_id"]), int(one["map_index"])


def explain_task(facts: TaskFacts, view: RunsView) -> list[Answer]:
    """
    Return the answers of the rules for one task instance.

    :raises RemoteCallError: Airflow could not be asked for more.
    """
    state = facts.instance.get("state")
    if state in ENDED_STATES:
        return [_ended(facts, str(state))]
    if state == "up_for_retry":
        return [_retry(facts, view)]
    if state == "up_for_reschedule":
        return [_reschedule(facts, view)]
    if state in (None, "scheduled"):
        return _not_queued(facts, view)
    if state == "queued":
        return [_queued(facts, view)]
    if state == "deferred":
        return _deferred(facts, view)
    return [_at_service(facts) or _runs(facts, str(state))]


def _retry(facts: TaskFacts, view: RunsView) -> Answer:
    log = facts.log
    found = view.next_try(*facts.key)
    when = ""
    if found is not None and found.at < datetime.now(UTC):
        when = f", due since {moment(found.at)}"
    elif found is not None:
        # Airflow's API tells neither by how much a pause grows nor where that ends.
        when = f", due at {moment(found.at)}{'' if found.exact else ' at the earliest, as its pauses grow'}"
    return stops("retry", f"{facts.name} has failed and waits for its next try{when}{because(log and log['error_message'])}")


def _reschedule(facts: TaskFacts, view: RunsView) -> Answer:
    found = view.waiting(*facts.key)
    again = f"; the next look is at {moment(found.again_at)}" if found else ""
    if facts.instance["task_id"] != "start_batch":
        since = f" since {moment(found.since)}" if found else ""
        return stops("reschedule", f"{facts.name} has put itself off{since}{again}.", "Its log says what it looks for.")
    longest = timedelta(hours=settings.get_float("outage_wait_hours"))
    bound = (
        f" since {moment(found.since)}, until {moment(found.since + longest)} at most" if found else f", for {longest} at most"
    )
    return stops(
        "application database",
        f"start_batch waits for the application database{bound} ([accelerator] outage_wait_hours){again}.",
        "Its log says how that answers where tasks run; `accelerator doctor` looks at it from here.",
    )


def _at_service(facts: TaskFacts) -> Answer | None:
    """Say which remote job a task waits for, by its row; None where it has none that may run."""
    log = facts.log
    if log is None or not log["remote_job_id"] or log["status"] != PROCESSING:
        return None
    job = log.get("remote_job")
    service = job.get("service") if isinstance(job, Mapping) else None
    whose = f" of {service['name']}" if isinstance(service, Mapping) and service.get("name") else ""
    reason = (
        f"{facts.name} waits for remote job {log['remote_job_id']}{whose} since {moment(facts.instance.get('start_date'))}; "
        f"on record it has not ended, as of {moment(log['updated_at'])}."
    )
    return stops("remote job", reason, f"Look at {log['remote_job_url']}" if log["remote_job_url"] else "Look at its service.")


def _runs(facts: TaskFacts, state: str) -> Answer:
    """Say that a task is at work, and where to see what it does: a service that does not answer is asked for minutes."""
    since = facts.instance.get("start_date")
    began = time_of(since)
    long = began is not None and datetime.now(UTC) - began > AT_ONCE
    remedy = "Its log in Airflow says what it does; `accelerator doctor` tells whether the services answer." if long else ""
    return passes("runs", f"{facts.name} is {state} since {moment(since)}.", remedy)


def _ended(facts: TaskFacts, state: str) -> Answer:
    log = facts.log
    reason = (log["error_message"] or "") if log else ""
    if reason in SCOPE_REASONS:
        return stops("scope", f"{facts.name} does not run in this batch: {reason}.")
    who = f" by {log['ended_by']}" if log and log["ended_by"] else ""
    remedy = "" if state in ("success", "skipped", "removed") else "Mend that, then run it again with `accelerator restart`."
    return stops("ended", f"{facts.name} has ended as {state}{who}{because(reason)}", remedy)


def _not_queued(facts: TaskFacts, view: RunsView) -> list[Answer]:
    open_ = [f"{name} ({state or 'not begun'})" for name, state in facts.parents if state not in ENDED_STATES]
    if open_:
        return [stops("parents", f"{facts.name} waits for {listed(open_)}.", "Ask for the first of them.")]
    answers = [passes("parents", "All tasks before it have ended.")]
    if (past := _past(facts, view)) is not None:
        return [*answers, past]
    answers.append(_pool(facts, view))
    if not answers[-1].passed:
        return answers
    if (limit := _limit(facts, view)) is not None:
        return [*answers, limit]
    reasons = view.reasons(*facts.key)
    if reasons:
        return [*answers, stops("airflow", f"Airflow says: {listed(list(reasons))}")]
    ready_at, happened = facts.ready
    waited = datetime.now(UTC) - ready_at
    if waited < AT_ONCE:
        seconds = max(0, round(waited.total_seconds()))
        reason = f"The scheduler has not queued {facts.name} yet; {happened} {seconds} s ago."
        return [*answers, stops("scheduler", reason, "That takes seconds: ask again.")]
    busy = view.occupants(None, deferred=False)
    while_ = f", while {_at_least(busy)}{len(busy)} are queued or run: {_names(busy)}" if busy else ""
    remedy = "Look at [core] parallelism and max_active_tasks_per_dag of Airflow."
    return [*answers, stops("scheduler", f"The scheduler has not queued {facts.name} yet{while_}.", remedy)]


def _past(facts: TaskFacts, view: RunsView) -> Answer | None:
    """Say that a task waits for itself in the run before; what the scheduler has scheduled has passed that."""
    if facts.past is None or facts.instance.get("state") is not None:
        return None
    dag_id, run_id, task_id, _ = facts.key
    before = view.task_before(dag_id, run_id, task_id, scheduled=facts.past)
    if before is None:
        return None
    held = sorted({str(state or "not begun") for state in before.states if state not in _PAST_IS_WELL})
    if before.states and not held:
        return None
    reason = f"{facts.name} waits, as depends_on_past says, for the same task of the run before, {before.run_id}"
    if not held:
        remedy = f"Take depends_on_past from the row of the task until run {run_id} has ended."
        return stops("past", f"{reason}, which has no such task.", remedy)
    ended = ENDED_STATES.intersection(held)
    remedy = "Let it succeed there, or mark it there as a success in Airflow." if ended else "Ask for that one."
    return stops("past", f"{reason} ({listed(held)}).", remedy)


def _pool(facts: TaskFacts, view: RunsView) -> Answer:
    """Say whether its pool has the slots that a task needs."""
    pool = str(facts.instance.get("pool") or "default_pool")
    found = view.pool(pool)
    if found is None:
        remedy = "Create the pool in Airflow, or name another one in the row of the task."
        return stops("pool", f"There is no pool {pool}.", remedy)
    slots, occupied = int(found["slots"]), int(found["occupied_slots"])
    needed = int(facts.instance.get("pool_slots") or 1)
    if 0 < slots < needed:
        remedy = "Give the pool more slots in Airflow, or lower pool_slots in the row of the task."
        reason = f"{facts.name} can never run: it needs {needed} slots of pool {pool}, which has {slots}."
        return stops("pool", reason, remedy)
    if 0 <= slots < occupied + needed:
        inside = view.occupants(pool, deferred=bool(found.get("include_deferred")))
        whom = f": {_names(inside)}" if inside else ""
        remedy = "Give the pool more slots in Airflow." if not occupied else "Wait for one of them, or give the pool more slots."
        needs = f" and {facts.name} needs {needed}" if needed > 1 else ""
        full = "is full" if occupied >= slots else "has too little room"
        return stops("pool", f"Pool {pool} {full}, {occupied} of {slots} slots are taken{needs}{whom}.", remedy)
    return passes("pool", f"Pool {pool} has room.")


def _limit(facts: TaskFacts, view: RunsView) -> Answer | None:
    """Say which limit of its row or its workflow's keeps a task; deferred ones count to those of a task alone."""
    dag_id, run_id, task_id, _ = facts.key
    of: dict[str, dict[str, Any]] = {
        "max_active_tasks": {"run_id": run_id, "deferred": False},
        "max_active_tis_per_dagrun": {"run_id": run_id, "task_id": task_id, "deferred": True},
        "max_active_tis_per_dag": {"task_id": task_id, "deferred": True},
    }
    for column, allowed in facts.limits.items():
        # Of fewer than may run at once, a limit that is reached would go unseen.
        most = max(allowed, MOST)
        counted = view.occupants(None, dag_id=dag_id, most=most, **of[column])
        if len(counted) >= allowed:
            who = _names(counted, most)
            whose = "workflow" if column == "max_active_tasks" else "task"
            return stops(
                "limit",
                f"{facts.name} waits as {column} is {allowed}, and so many are queued or run: {who}.",
                f"Wait for one of them, or raise {column} in the row of the {whose}.",
            )
    return None


def _at_least(found: Sequence[object], most: int = MOST) -> str:
    """Return what stands before a number where no more were asked for."""
    return "" if len(found) < most else "at least "


def _names(found: Sequence[Mapping[str, Any]], most: int = MOST) -> str:
    told = listed([_instance_name(one) for one in found])
    if not (at_least := _at_least(found, most)):
        return told
    first, and_, more = told.rpartition(" and ")
    return f"{first}{and_}{at_least}{more}"


def _instance_name(one: Mapping[str, Any]) -> str:
    return f"{one['dag_id']} {one['task_id']} in {one['dag_run_id']}"


def _queued(facts: TaskFacts, view: RunsView) -> Answer:
    one = facts.instance
    found = view.occupants(None, deferred=False)
    busy = [_instance_name(other) for other in found if other.get("state") == "running"]
    while_ = f", while {_at_least(found)}{len(busy)} run: {listed(busy)}" if busy else ""
    where = f"executor {one.get('executor') or 'of the default'}, queue {one.get('queue') or 'default'}"
    # The LocalExecutor has no revoke_task, so scheduler.task_queued_timeout does nothing there.
    remedy = (
        "See that workers of that queue run and have room ([core] parallelism). Where a worker died, Airflow queues the task "
        "again after [scheduler] task_queued_timeout; with the LocalExecutor it does not: restart the scheduler."
    )
    return stops(
        "worker",
        f"{facts.name} is queued since {moment(one.get('queued_when'))} and no worker has taken it ({where}){while_}.",
        remedy,
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
    waits = passes("waits", f"{facts.name} waits since {moment(facts.instance.get('start_date'))}.")
    return [*answers, _at_service(facts) or waits]
