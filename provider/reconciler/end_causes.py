"""
Who and what ended a try or a batch, by what Airflow has committed: ``end_cause`` and ``ended_by``.

What a task's own process has said of its end stands, unless Airflow knows of somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from provider.airflow_internals.audit_log import PersonAct
from provider.metadata import states
from provider.metadata.states import BLOCKED, ERROR, NEW, PROCESSING, SKIPPED
from provider.reconciler.airflow_state import RunKey, RunState, TryReport, TryState
from provider.texts import one_line

if TYPE_CHECKING:
    from provider.metadata.record_tables import TaskBatch, TaskLog

#: Asks Airflow for the last end that a process reported of a try.
Reports = Callable[[RunKey, TryState], TryReport | None]

TIMED_OUT_REASON = "the DAG run timed out before this task was done"
DELETED_REASON = "the DAG run was deleted in Airflow"

#: A request that changes states takes no longer than this after its entry in the audit log.
_REQUEST = timedelta(seconds=60)
#: Longest text of the scheduler, in characters.
_TEXT = 1000


@dataclass(frozen=True)
class End:
    """
    An end that Airflow knows the author of.

    :param status: ``TaskLog.status``, where it is another than that of the state.
    :param text: for people, for a try of which nobody has said anything.
    """

    cause: str | None
    person: str | None = None
    text: str | None = None
    status: str | None = None


def end_of_try(run: RunState, attempt: TryState, reports: Reports) -> End | None:
    """Return who ended a try: a person, the run's end or the scheduler; None where it was the task, or nobody yet."""
    if states.STATUS_OF_TASK_STATE.get(attempt.state, PROCESSING) in (NEW, PROCESSING):
        return None
    if act := _mark(run, attempt):
        if not _was_reported(run, attempt, act, reports):
            return _marked(attempt, act)
    elif _timed_out_with_run(run, attempt):
        return End(states.RUN_TIMEOUT, text=TIMED_OUT_REASON, status=ERROR)
    if act := _clear(run, attempt):
        return End(states.CLEARED, act.person, f"cleared by {act.person} while it ran")
    return _end_by_scheduler(run, attempt)


def kept_end(status: str, log: TaskLog | None) -> End | None:
    """
    Return what is stored of a try's end, where that is still its end: Airflow's audit log is not kept for ever.

    A process says how its try has ended before Airflow stops calling it running; with such an end goes a text.
    """
    if log is None or log.end_cause is None or status in (NEW, PROCESSING):
        return None
    said_while_running = log.status in (NEW, PROCESSING) and log.error_message is not None and status in (ERROR, SKIPPED)
    if log.status != status and not said_while_running:
        return None
    return End(log.end_cause, log.ended_by)


def cause_of_try(status: str, log: TaskLog | None, reason: str | None) -> str | None:
    """
    Return what ended a try that neither a person nor the scheduler nor the run's end has ended.

    :param reason: why it was skipped; None for other tries.
    """
    if status in (NEW, PROCESSING):
        return None
    if status == BLOCKED:
        return states.UPSTREAM
    if status == SKIPPED:
        return states.SCOPE if reason in states.SCOPE_REASONS else states.UPSTREAM
    if status == ERROR and (log is None or log.error_type is None):
        return states.KILLED
    return states.TASK


def end_of_run(run: RunState, rows: Collection[Mapping[str, Any]], batch: TaskBatch | None) -> End | None:
    """
    Return who ended a run; None while it goes on.

    :param rows: the TaskLog rows it will have.
    :param batch: what is stored of it.
    """
    if not run.ended:
        return None
    if act := mark_of_run(run):
        return End(f"marked_{act.state}", act.person)
    if batch is not None and batch.ended_at == run.ended_at:
        if batch.status == states.STATUS_OF_RUN_STATE.get(run.state):
            if batch.ended_by is not None:
                return End(batch.end_cause, batch.ended_by)
        # Airflow keeps the time of the first end.
        elif batch.status in states.ENDS and (act := _last_mark(run)) is not None and act.state == run.state:
            return End(f"marked_{act.state}", act.person)
    if any(row["end_cause"] == states.RUN_TIMEOUT for row in rows):
        return End(states.RUN_TIMEOUT)
    return End(states.TASK)


def mark_of_run(run: RunState) -> PersonAct | None:
    """
    Return the act by which a person gave the whole run the state that it has; None where it got there by itself.

    What was marked before the run was cleared counts no more, nor does a mark that did not change its end.
    """
    act = _last_mark(run)
    if act is None or act.state != run.state or run.ended_at is None:
        return None
    return act if act.at <= run.ended_at <= act.at + _REQUEST else None


def _last_mark(run: RunState) -> PersonAct | None:
    """Return the last mark of the whole run; None where it was cleared since."""
    for act in reversed(run.acts):
        if act.did == "cleared":
            return None
        if act.did == "marked" and act.of_run:
            return act
    return None


def ended_by_a_person(attempt: TryState, acts: Collection[PersonAct], report: TryReport | None) -> bool:
    """
    Tell whether a person, and neither the task nor the scheduler, gave an ended task instance its state.

    A mark on several chosen tasks is not in the audit log at all: a state that nobody reported is a person's.

    :param acts: of its run.
    :param report: the last end that a process of Airflow reported of it.
    """
    if report is None or report.state != attempt.state:
        return True
    marks = (act for act in acts if act.did == "marked" and act.reaches(attempt.task_id, attempt.map_index))
    return any(act.at > report.at for act in marks)


def _mark(run: RunState, attempt: TryState) -> PersonAct | None:
    """Return the last mark that can have given this try its state."""
    for act in reversed(run.acts):
        if act.did != "marked" or not act.reaches(attempt.task_id, attempt.map_index) or not _in_life_of(run, attempt, act):
            continue
        # With its run Airflow ends what runs as the mark says, and skips what had not begun.
        if act.state == attempt.state or (act.of_run and attempt.state == "skipped"):
            return act
    return None


def _in_life_of(run: RunState, attempt: TryState, act: PersonAct) -> bool:
    """Tell whether this try, and no earlier or later one, was there when a person acted, and changed then or later."""
    if attempt.started_at is not None and attempt.try_number > 1 and act.at < attempt.started_at - _REQUEST:
        return False
    last = attempt.updated_at if attempt.live else attempt.ended_at
    cleared = (other.at for other in run.acts if other.did == "cleared" and other.reaches(attempt.task_id, attempt.map_index))
    if any(act.at < at and (attempt.live or last is None or at < last) for at in cleared):
        return False
    return last is None or act.at <= last


def _was_reported(run: RunState, attempt: TryState, act: PersonAct, reports: Reports) -> bool:
    """Tell whether the try had its state before, or got it later by itself."""
    report = reports(run.key, attempt)
    if report is None or report.state != attempt.state:
        return False
    # A mark that changes nothing leaves the row as it is; while a try waits for its retry it changes "up_for_retry".
    return report.at > act.at or (attempt.updated_at is not None and attempt.updated_at < act.at)


def _marked(attempt: TryState, act: PersonAct) -> End:
    if act.of_run:
        text = f"the DAG run was marked {act.state} by {act.person} before this task was done"
        return End(f"marked_{act.state}", act.person, text, ERROR if act.state == "failed" else None)
    return End(f"marked_{attempt.state}", act.person, f"marked {attempt.state} by {act.person}")


def _timed_out_with_run(run: RunState, attempt: TryState) -> bool:
    """
    Tell whether this task was skipped only because its run timed out.

    At a timeout Airflow changes nothing but the state, so that the end is missing or older than the run's. It is missing too
    where a task was expanded over an empty list, but such a row changed before its run ended.
    """
    if run.state != "failed" or attempt.state != "skipped" or not attempt.live or run.ended_at is None:
        return False
    changed_at = attempt.updated_at or run.ended_at
    return run.ended_at <= changed_at and (attempt.ended_at is None or attempt.ended_at < run.ended_at)


def _clear(run: RunState, attempt: TryState) -> PersonAct | None:
    """Return the act by which a person cleared a try while it ran: Airflow keeps it as failed."""
    if attempt.live or attempt.state != "failed" or attempt.started_at is None or attempt.ended_at is None:
        return None
    for act in run.acts:
        reaches = act.did == "cleared" and act.reaches(attempt.task_id, attempt.map_index)
        if reaches and attempt.started_at <= act.at <= attempt.ended_at:
            return act
    return None


def _end_by_scheduler(run: RunState, attempt: TryState) -> End | None:
    found = run.scheduler_ends.get((attempt.task_id, attempt.map_index, attempt.try_number))
    if found is None or attempt.state not in ("failed", "up_for_retry", "skipped"):
        return None
    return End(found.cause, text=one_line(found.text, _TEXT))
