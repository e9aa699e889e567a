"""
Provisional TaskLog rows, written by the task's own process.

A write takes at most :data:`BUDGET_SECONDS`, or :data:`LONG_BUDGET_SECONDS`. After one that failed, only the exception that a
try ends with, or why it has skipped itself, and its remote job are written: the reconciler finds everything else in Airflow, and
a task must not pay for a database that is away.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from provider.airflow_internals.processes import is_supervised_in_process
from provider.airflow_internals.secrets import redact
from provider.airflow_internals.supervisor import run_after_of
from provider.batch_ids import TEMPORARY_RUN_PREFIX
from provider.exceptions import AcceleratorError, ConfigurationError, SettingUnavailableError
from provider.listeners.task_ends import cause_of_end, error_text, note_skip_reason
from provider.metadata.rows import TaskLogRow
from provider.metadata.states import PROCESSING, STATUS_OF_TASK_STATE
from provider.pacing import backoff
from provider.task_reports import ERROR_KEY, TellsHowToEndIt, TellsRemoteJob, TellsSkipReason
from provider.texts import one_line, plain, storable, storable_or_none

#: Longest time that a hook takes, in seconds.
BUDGET_SECONDS = 0.5
#: The same for what nobody else may know and nobody can leave for the reconciler: the error of a try that will be retried, and a
#: remote job, which Airflow forgets with a run that is deleted.
LONG_BUDGET_SECONDS = 3.0
#: The pause before an error's text is tried again, at first and at most, in seconds.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 0.5
#: Longest error message that is stored, in characters.
MESSAGE_LENGTH = 4000
_FIELD_LENGTH = 4000

log = logging.getLogger(__name__)


def _belongs_to_batch(ti: Any) -> bool:
    """Tell whether this is a real try (``airflow tasks test`` has try 0) in a DAG that ``start_batch`` opens."""
    if ti.try_number < 1 or ti.run_id.startswith(TEMPORARY_RUN_PREFIX):
        return False
    start = ti.task.dag.task_dict.get("start_batch")
    return getattr(start, "task_type", None) == "StartBatchOperator"


def _watch_dag_test(ti: Any) -> None:
    """``airflow dags test`` runs tasks in the CLI's own process, where nobody else will reconcile."""
    if is_supervised_in_process():
        from provider.listeners import dag_test

        dag_test.watch(ti.dag_id, ti.run_id)


def _row(ti: Any, state: str, error: BaseException | str | None) -> TaskLogRow:
    if state == "failed" and ti.state is not None:
        state = plain(ti.state)  # up_for_retry
    status = STATUS_OF_TASK_STATE.get(state, PROCESSING)
    task = ti.task
    skip_reason = task.skip_reason if state == "skipped" and isinstance(task, TellsSkipReason) else None
    message = skip_reason if error is None or state == "skipped" else error_text(error, task)
    job = (task.remote_job if isinstance(task, TellsRemoteJob) else None) or {}
    return {
        "workflow_id": ti.dag_id,
        "batch_id": ti.run_id,
        "task_id": ti.task_id,
        "map_index": -1 if ti.map_index is None else ti.map_index,
        "try_number": ti.try_number,
        "status": status,
        "airflow_state": state,
        "started_at": ti.start_date,
        "ended_at": None if status == PROCESSING else ti.end_date or datetime.now(UTC),
        "error_type": type(error).__name__[:250] if isinstance(error, BaseException) else None,
        "error_message": None if message is None else error_summary(message),
        "end_cause": cause_of_end(status, error, skip_reason),
        "ended_by": None,
        "remote_job_id": storable_or_none(job.get("id"), 1000),
        "remote_job_url": storable_or_none(job.get("url"), MESSAGE_LENGTH),
        "config": rendered_config(ti.task) if state == "running" else None,
        "row_source": "task",
    }


def error_summary(text: str) -> str:
    """Return a text as one line, secrets masked by Airflow's rules, at most :data:`MESSAGE_LENGTH` characters long."""
    return storable(one_line(redact(text), MESSAGE_LENGTH), MESSAGE_LENGTH)


def rendered_config(task: Any) -> dict[str, Any] | None:
    """Return a task's rendered template fields, secrets masked, long values cut; None for a task without any."""
    config: dict[str, Any] = {}
    for field in task.template_fields:
        value = json.loads(json.dumps(getattr(task, field, None), default=str))
        masked = redact(value, field)
        text = json.dumps(masked, default=str)
        config[field] = json.loads(text) if len(text) <= _FIELD_LENGTH else f"{text[:_FIELD_LENGTH]}…"
    return config or None


def write(row: TaskLogRow, run_after: datetime | None) -> None:
    """
    Store a provisional row.

    Airflow lets a task of a deleted run go on for a while; where the batch has become another run's, nothing is stored.

    :param run_after: of the run of the task; None where it is not known.
    """
    from provider.metadata import batches
    from provider.metadata.engine import write_session
    from provider.metadata.task_logs import record_tries

    with write_session() as session:
        run = (row["workflow_id"], row["batch_id"])
        if batches.is_of_other_run(batches.lock_batches(session, [run], shared=True).get(run), run_after):
            log.warning("Not recorded: this DAG run was deleted, and another one with its id has begun.")
        elif row["status"] == PROCESSING and batches.is_of_deleted_run(session, run):
            log.warning("Not recorded: this DAG run was deleted, so nobody would tell the end of a try that goes on.")
        else:
            record_tries(session, [row], authoritative=False)


def _is_known_here_alone(ti: Any, state: str, error: BaseException | str | None) -> bool:
    """Tell whether Airflow keeps nothing of what this process knows: an exception, or why a task has skipped itself."""
    return error is not None or (state == "skipped" and isinstance(ti.task, TellsSkipReason))


def _keep_text(ti: Any, row: TaskLogRow | None) -> None:
    """
    Leave the text of a last failure, or of a skip, in Airflow's task state store, where the reconciler finds it.

    Airflow takes it while it still calls the try running. Of a try that will be retried it has begun the next one by then.
    """
    if row is None or row["airflow_state"] not in ("failed", "skipped") or row["error_message"] is None:
        return
    text = {
        "try": row["try_number"],
        "type": row["error_type"],
        "message": row["error_message"],
        "cause": row["end_cause"],
        "status": row["status"],
    }
    ti.get_template_context()["task_state_store"].set(ERROR_KEY, text)
    log.info("The reason of the end was left to the reconciler, in Airflow's task state store.")


class TryRecorder:
    """
    Records the tries of one task process, and remembers whether that went well.

    :param write: stores a row, of a run with this ``run_after``.
    :param budget: longest time that it may take, in seconds.
    :param long_budget: the same for the error of a try that will be retried, and for a remote job.
    """

    def __init__(
        self,
        write: Callable[[TaskLogRow, datetime | None], None] = write,
        budget: float = BUDGET_SECONDS,
        long_budget: float = LONG_BUDGET_SECONDS,
    ) -> None:
        self._write = write
        self._budget = budget
        self._long_budget = max(budget, long_budget)
        self._switched_off = False
        self._missed = False
        self._missed_job = False

    def record(self, ti: Any, state: str, error: BaseException | str | None) -> None:
        """
        Record a try as its own process sees it; a no-op outside a workflow's DAG run.

        :param ti: the task SDK's RuntimeTaskInstance.
        :param state: Airflow's state after the hook.
        :param error: what a failed try ended with.
        """
        if self._switched_off or (self._missed and not _is_known_here_alone(ti, state, error)) or not _belongs_to_batch(ti):
            return
        row: TaskLogRow | None = None
        try:
            _watch_dag_test(ti)
            if state == "running":
                note_skip_reason(ti.task)
                self._listen_for_job(ti)
            row = _row(ti, state, error)
            # Importing is our own work, not the database's, and must not eat the time for it.
            import provider.metadata.batches  # noqa: F401

            self._write_in_time(ti, row)
        except ConfigurationError as problem:
            if isinstance(problem, SettingUnavailableError):
                self._missed = True
                raise
            self._switched_off = True
            log.error("%s", problem)
        except BaseException:
            self._missed = True
            _keep_text(ti, row)
            raise

    def _listen_for_job(self, ti: Any) -> None:
        if isinstance(ti.task, TellsHowToEndIt):
            object.__setattr__(ti.task, "tell_remote_job", partial(self.record_job, ti))

    def record_job(self, ti: Any, entry: Mapping[str, Any]) -> None:
        """
        Record the remote job of a try as soon as it is known, with what it takes to end it.

        Airflow forgets it with the run. Who deletes that in the seconds until the reconciler looks would leave the job running.

        :param entry: what the task's ledger says of it.
        """
        if self._switched_off or self._missed_job:
            return
        try:
            from provider.reconciler.job_handle import job_handle

            self._write_in_time(ti, {**_row(ti, "running", None), "config": None, "remote_job": job_handle(entry)})
        except Exception:
            self._missed = self._missed_job = True
            log.warning("The remote job was not recorded in the application database; the reconciler will do it.", exc_info=True)

    def _write_in_time(self, ti: Any, row: TaskLogRow) -> None:
        from provider.threads import within

        only_here = row["airflow_state"] == "up_for_retry" and row["error_message"] is not None
        budget = self._long_budget if only_here or row.get("remote_job") else self._budget
        until = time.monotonic() + budget
        try:
            within(budget, lambda: self._write_until(until, row, run_after_of(ti)), "accelerator-task-log")
        except TimeoutError as slow:
            raise TimeoutError(f"the application database: {slow}; see [accelerator] sql_alchemy_conn.") from slow

    def _write_until(self, until: float, row: TaskLogRow, run_after: datetime | None) -> None:
        """Write a row. One with an error is tried until the time is over: nobody else knows that text."""
        tries = 1
        while True:
            try:
                return self._write(row, run_after)
            except Exception as error:
                pause = backoff(tries, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
                lasting = isinstance(error, AcceleratorError) or row["error_message"] is None
                if lasting or time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            tries += 1


#: That of this process.
recorder = TryRecorder()
