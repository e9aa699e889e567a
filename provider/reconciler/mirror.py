"""
From Airflow's state of a run to its TaskBatch and TaskLog rows.

Computing is plain functions; :func:`mirror_runs` compares with what is stored and writes the difference, so that a look at
a run in which nothing has changed writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from provider import run_conf
from provider.airflow_internals.secrets import redact
from provider.metadata import batches, states
from provider.metadata.definition_rows import disabled_task_ids
from provider.metadata.engine import read_session
from provider.metadata.rows import TaskBatchRow, TaskLogRow
from provider.metadata.states import BLOCKED, ERROR, NEW, PROCESSING, SKIPPED, STATUS_OF_RUN_STATE, STATUS_OF_TASK_STATE, SUCCESS
from provider.reconciler.airflow_state import LeftText, RunKey, RunState, TryState
from provider.reconciler.end_causes import End, Reports, cause_of_try, end_of_run, end_of_try, kept_end
from provider.reconciler.stored_jobs import stored_job
from provider.texts import cut, storable_or_none

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from provider.metadata.record_tables import TaskBatch, TaskLog

#: (task_id, map_index, try_number)
TryKey = tuple[str, int, int]

Parents = Callable[[RunKey], Mapping[str, Collection[str]]]
Note = Callable[[RunKey, TryKey], str | None]
Confirm = Callable[["Session"], None]

#: How long a task process is given to say why its try failed (Airflow commits a retry before it tells listeners), and how
#: long a row that Airflow does not know may be one that it has only just begun to know.
_PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True)
class Stored:
    """
    What the application database has of one run.

    :param disabled: gives the tasks of a workflow that are switched off; asked only for skipped ones without a reason.
    :param run_after: of the batch that is there, whichever run's it is; None where there is none.
    """

    batch: TaskBatch | None
    logs: Mapping[TryKey, TaskLog]
    disabled: Callable[[str], Collection[str]]
    run_after: datetime | None = None

    @classmethod
    def of(
        cls, run: RunState, batch: TaskBatch | None, logs: Mapping[TryKey, TaskLog], disabled: Callable[[str], Collection[str]]
    ) -> Stored:
        """Return what is stored of this run, and nothing of another that had its id."""
        found = cls(batch, logs, disabled, None if batch is None else batch.run_after)
        return replace(found, batch=None, logs={}) if found.is_of_other(run) else found

    def is_of_other(self, run: RunState) -> bool:
        """Whether what is there is that of another run with the same id, and goes."""
        return batches.is_of_other_run(self.run_after, run.run_after)


@dataclass(frozen=True)
class Asked:
    """
    What is asked of Airflow for few rows only.

    :param parents: gives the edges of a run's DAG; asked only for blocked tasks whose reason is not known yet.
    :param note: gives what the scheduler said about a failed try.
    :param reports: gives the last end that a process reported; asked only for what a person has marked.
    :param is_there: tells whether a run is still the one with its id; asked only where what is stored is another's.
    """

    parents: Parents
    note: Note
    reports: Reports
    is_there: Callable[[RunState], bool]


@dataclass(frozen=True)
class Difference:
    """What to write for one run, and whether that is all there will ever be to say of this state of Airflow."""

    rows: list[TaskLogRow]
    ghosts: list[TryKey]
    batch: TaskBatchRow | None
    settled: bool
    replaces: bool
    #: Of each try its row, and whether its error message can still come from its process; of the run its row: changed or not.
    tries: list[tuple[TaskLogRow, bool]]
    whole_batch: TaskBatchRow


def effective_tries(run: RunState) -> dict[TryKey, TryState]:
    """
    Give every task instance and every try of its history the number people would give it.

    A task instance that waits after a clear, or was skipped or blocked while it waited, still has the number of the try
    before, which is in the history: it is the next one. History of try 0 is no try: it was cleared before it ever began.
    """
    tries: dict[TryKey, TryState] = {}
    recorded: set[TryKey] = set()
    for attempt in run.tries:
        key = (attempt.task_id, attempt.map_index, attempt.try_number)
        if not attempt.live:
            if attempt.try_number > 0:
                recorded.add(key)
                tries[key] = attempt
            continue
        number = max(1, attempt.try_number)
        if key in recorded and attempt.state not in ("up_for_retry", "restarting"):
            number += 1
        tries[(attempt.task_id, attempt.map_index, number)] = attempt
    return tries


def task_rows(run: RunState, stored: Stored, asked: Asked, now: datetime) -> Iterator[tuple[TaskLogRow, bool]]:
    """Yield the TaskLog row of every try, and whether its error message can still come from the task process."""
    for key, attempt in effective_tries(run).items():
        log = stored.logs.get(key)
        status = STATUS_OF_TASK_STATE.get(attempt.state, PROCESSING)
        end = end_of_try(run, attempt, asked.reports)
        status = (end.status if end is not None else None) or status
        known = _known_message(log, status, attempt)
        left = _left_text(run, key, status)
        message, waiting = None, False
        if end is not None and end.status is not None:
            message = end.text if status != SUCCESS else None  # who called it one is in ended_by
        elif known is None:
            message = (end.text if end is not None else None) or _explanation(run, key, attempt, status, stored, asked)
            if message is None and status == ERROR:
                waiting = not _is_over(run, attempt, now)
                message = None if waiting else _unexplained(key)
        if end is None:
            cause = left.cause if left is not None else None
            end = kept_end(status, log) or End(cause or cause_of_try(status, log, message or known))
        job = _job_of_try(run, key)
        yield (
            {
                "workflow_id": run.dag_id,
                "batch_id": run.run_id,
                "task_id": key[0],
                "map_index": key[1],
                "try_number": key[2],
                "status": status,
                "airflow_state": attempt.state,
                # A task instance that waits still has the times of the try before; one that was marked before it ran has none.
                "started_at": None if status == NEW or _never_ran(attempt, end) else attempt.started_at,
                "ended_at": None
                if status in (NEW, PROCESSING)
                else attempt.ended_at or (run.ended_at if status == ERROR else None),
                "error_type": left.type if left is not None and message == left.message else None,
                "error_message": message,
                "end_cause": None if waiting else end.cause,
                "ended_by": end.person,
                "remote_job_id": storable_or_none(job.get("id"), 1000),
                "remote_job_url": storable_or_none(job.get("url"), 4000),
                "remote_job": stored_job(attempt, run.jobs.get(key[:2])),
                "row_source": "reconciler",
            },
            waiting,
        )


def _explanation(run: RunState, key: TryKey, attempt: TryState, status: str, stored: Stored, asked: Asked) -> str | None:
    """Return why a try ended that nobody has explained yet; None where nobody knows."""
    if (left := _left_text(run, key, status)) is not None:
        return left.message
    if status == ERROR:
        return asked.note(run.key, key)
    if status == SKIPPED:
        scope = stored.batch.scope_task_ids if stored.batch is not None else None
        return _skip_reason(run, attempt, key, scope, stored.disabled)
    return _blocked_by(run, attempt.task_id, asked.parents(run.key)) if status == BLOCKED else None


def _left_text(run: RunState, key: TryKey, status: str) -> LeftText | None:
    """Return what the process of this try has left of such an end."""
    text = run.texts.get(key[:2])
    return text if text is not None and (text.try_number, text.status) == (key[2], status) else None


def _job_of_try(run: RunState, key: TryKey) -> Mapping[str, Any]:
    jobs = run.jobs.get(key[:2])
    job = jobs.tries.get(str(key[2])) if jobs is not None else None
    return job if isinstance(job, Mapping) else {}


def _never_ran(attempt: TryState, end: End) -> bool:
    """Tell whether a person gave this try its state before it ran: Airflow then says that it began at that moment."""
    return end.person is not None and attempt.started_at is not None and attempt.started_at == attempt.ended_at


def batch_row(run: RunState, rows: Collection[Mapping[str, Any]], stored: Stored) -> TaskBatchRow:
    """Return the TaskBatch row of a run, given the TaskLog rows it will have."""
    message_id = run_conf.message_id(run.conf, run.dag_id, run.run_id)
    status = STATUS_OF_RUN_STATE.get(run.state, PROCESSING)
    end = end_of_run(run, rows, stored.batch)
    return {
        "workflow_id": run.dag_id,
        "batch_id": run.run_id,
        "status": status,
        "airflow_state": run.state,
        "source": run_conf.run_source(run.run_type, run.triggered_by, by_message=message_id is not None),
        "params": run_conf.used_params(run.conf, redact),
        "message_id": message_id,
        "created_at": run.created_at or (stored.batch.created_at if stored.batch is not None else run.run_after),
        "started_at": run.started_at,
        "ended_at": run.ended_at if run.ended else None,
        "error": error_of_batch(rows, stored, end) if status == ERROR else None,
        "end_cause": end.cause if end is not None else None,
        "ended_by": end.person if end is not None else None,
        "run_after": run.run_after,
    }


def error_of_batch(rows: Collection[Mapping[str, Any]], stored: Stored, end: End | None) -> str:
    """Return one line: how many tasks failed, which, and the first error."""
    last: dict[tuple[str, int], Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: int(row["try_number"])):
        last[(row["task_id"], row["map_index"])] = row
    failed = [row for row in last.values() if row["status"] == ERROR]
    if not failed:
        person = end.person if end is not None else None
        return f"the DAG run was marked failed by {person}" if person else "the DAG run failed; see its page in Airflow"
    first = min(failed, key=lambda row: row["ended_at"] or datetime.max.replace(tzinfo=UTC))
    log = stored.logs.get((first["task_id"], first["map_index"], first["try_number"]))
    message = _message_of_same_end(log, first["status"]) or first["error_message"]
    names = sorted({str(row["task_id"]) for row in failed})
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    error = f"; first error: {message}" if message else ""
    return cut(f"{len(names)} task{'s' if len(names) > 1 else ''} failed: {listed}{error}", 4000)


def difference(run: RunState, stored: Stored, asked: Asked, now: datetime) -> Difference:
    """Compare a run with what is stored of it."""
    computed = list(task_rows(run, stored, asked, now))
    rows = {(row["task_id"], row["map_index"], row["try_number"]): row for row, _waiting in computed}
    settled = not any(waiting for _row, waiting in computed)
    ghosts = []
    for key, log in stored.logs.items():
        if key in rows:
            continue
        if log.status == NEW or log.updated_at < now - _PATIENCE:
            ghosts.append(key)
        else:
            settled = False
    changed = [row for key, row in rows.items() if key not in stored.logs or differing_columns(row, stored.logs[key])]
    whole = batch_row(run, rows.values(), stored)
    batch = whole if stored.batch is None or differing_batch_columns(whole, stored.batch) else None
    return Difference(changed, ghosts, batch, settled, stored.is_of_other(run), computed, whole)


def compare_runs(runs: Collection[RunState], asked: Asked, now: datetime) -> dict[RunKey, tuple[Stored, Difference]]:
    """
    Return what is stored of each run, and how it differs from what Airflow says.

    A run that was deleted since it was read, and whose id has begun anew as another batch, is left out.
    """

    @cache
    def disabled(workflow_id: str) -> set[str]:
        with read_session() as session:
            return disabled_task_ids(session, workflow_id)

    with read_session() as session:
        logs, opened = batches.stored_runs(session, [run.key for run in runs])
    found: dict[RunKey, tuple[Stored, Difference]] = {}
    for run in runs:
        stored = Stored.of(run, opened.get(run.key), logs.get(run.key, {}), disabled)
        if stored.is_of_other(run) and not asked.is_there(run):
            continue
        found[run.key] = (stored, difference(run, stored, asked, now))
    return found


def _is_over(run: RunState, attempt: TryState, now: datetime) -> bool:
    """Tell whether the task process has had its chance to say why the try failed."""
    return run.ended or attempt.ended_at is None or attempt.ended_at < now - _PATIENCE


def _unexplained(key: TryKey) -> str:
    return (
        "The task process ended without a message (killed, out of memory, its machine lost, or the application database had no "
        f"connection for it); see the Airflow log of try {key[2]}."
    )


def _message_of_same_end(log: TaskLog | None, status: str) -> str | None:
    """Return the stored message of a try, but not what was said of another end of it."""
    return None if log is None or states.ended_otherwise(log.status, status) else log.error_message


def _known_message(log: TaskLog | None, status: str, attempt: TryState) -> str | None:
    """Return the stored message of a try that is still true: one can be blocked again, or skipped later, without a new try."""
    if log is None:
        return None
    if status == PROCESSING and log.status in states.ENDS and log.row_source != "task":
        return None  # it was said of an end before the task was cleared
    if status == SKIPPED and log.error_type is not None:
        return None  # its process said so of a failure before Airflow stopped calling it running
    again = status == BLOCKED and attempt.updated_at is not None and attempt.updated_at > log.updated_at
    return None if again else _message_of_same_end(log, status)


def _skip_reason(
    run: RunState, attempt: TryState, key: TryKey, scope: Collection[str] | None, disabled: Callable[[str], Collection[str]]
) -> str:
    if attempt.state == "removed":
        return "removed"
    if key[0] == run_conf.completed_task_id(run.conf):
        return states.DONE_ELSEWHERE_REASON
    if scope is not None and key[0] not in scope and key[0] != "start_batch":
        return states.OUT_OF_SCOPE_REASON
    if key[0] in disabled(run.dag_id):
        return states.DISABLED_REASON
    return f"skipped by Airflow's rules or by itself; see the Airflow log of try {key[2]}"


def _blocked_by(run: RunState, task_id: str, parents: Mapping[str, Collection[str]]) -> str:
    """Name the failed tasks above, through whatever they blocked in between."""
    states: dict[str, set[str | None]] = {}
    for attempt in run.tries:
        if attempt.live:
            states.setdefault(attempt.task_id, set()).add(attempt.state)
    failed, seen, pending = set(), {task_id}, list(parents.get(task_id, ()))
    while pending:
        parent = pending.pop()
        if parent in seen:
            continue
        seen.add(parent)
        if "failed" in states.get(parent, ()):
            failed.add(parent)
        elif "upstream_failed" in states.get(parent, ()):
            pending.extend(parents.get(parent, ()))
    above = parents.get(task_id, ())
    # What had failed can have been cleared without what it had blocked, and have succeeded since.
    if blockers := failed or {parent for parent in above if "upstream_failed" in states.get(parent, ())}:
        return f"blocked by {', '.join(sorted(blockers))}"
    before = {attempt.task_id for attempt in run.tries if not attempt.live and attempt.state == "failed"}
    names = ", ".join(sorted(before.intersection(above) or above)) or "a task above"
    return f"blocked by {names}, as it was then and is no more; clear this task, and Airflow decides anew"


def differing_columns(row: Mapping[str, Any], log: TaskLog) -> list[str]:
    """Return the columns that :func:`~provider.metadata.task_logs.record_tries` would change."""
    names = ["status", "airflow_state", "started_at", "ended_at", "remote_job"]
    # Of these, what nobody says changes nothing.
    names += [column for column in ("remote_job_id", "remote_job_url") if row[column] is not None]
    if row["end_cause"] is not None:
        names += ["end_cause", "ended_by"]
    found = [column for column in names if row[column] != getattr(log, column)]
    if row["status"] == BLOCKED:
        other_text = row["error_message"] not in (None, log.error_message)
    elif row["status"] in (PROCESSING, ERROR, SKIPPED):
        other_text = log.error_message is None and row["error_message"] is not None
    else:
        other_text = log.error_message is not None or log.error_type is not None
    return [*found, "error_message"] if other_text else found


def differing_batch_columns(row: Mapping[str, Any], batch: TaskBatch) -> list[str]:
    """Return the columns that :func:`~provider.metadata.batches.record_batches` would change."""
    once = ("params", "message_id")
    found = [column for column, value in row.items() if column not in once and value != getattr(batch, column)]
    return found + [column for column in once if row[column] is not None and getattr(batch, column) is None]
