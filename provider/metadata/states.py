"""
Statuses, states and reasons: what rows of the application database say in one word or one sentence.

No SQLAlchemy and no Airflow, so that task processes, triggers and listeners may import it at their top.
"""

from __future__ import annotations

from collections.abc import Mapping

#: ``TaskBatch.status`` and ``TaskLog.status``; the last two are a TaskLog's alone.
NEW, PROCESSING, SUCCESS, ERROR, SKIPPED, BLOCKED = "NEW", "PROCESSING", "SUCCESS", "ERROR", "SKIPPED", "BLOCKED"

#: Statuses after which something may still happen by itself.
UNFINISHED = (NEW, PROCESSING)

#: Statuses after which nothing happens by itself.
ENDS = frozenset({SUCCESS, ERROR, SKIPPED, BLOCKED})

#: A task process may only move its row to a status of a higher rank; a status that is not here is an end.
RANKS: Mapping[str, int] = {NEW: 0, PROCESSING: 1}
RANK_OF_END = 2

#: Airflow's task instance state → ``TaskLog.status``; a state that Airflow adds later counts as PROCESSING.
STATUS_OF_TASK_STATE: Mapping[str | None, str] = {
    None: NEW,
    "scheduled": NEW,
    "queued": NEW,
    "awaiting_input": PROCESSING,
    "running": PROCESSING,
    "deferred": PROCESSING,
    "up_for_reschedule": PROCESSING,
    "restarting": PROCESSING,
    "success": SUCCESS,
    "failed": ERROR,
    "up_for_retry": ERROR,
    "skipped": SKIPPED,
    "removed": SKIPPED,
    "upstream_failed": BLOCKED,
}

#: Airflow's DAG run state → ``TaskBatch.status``.
STATUS_OF_RUN_STATE: Mapping[str | None, str] = {
    None: NEW,
    "queued": NEW,
    "running": PROCESSING,
    "success": SUCCESS,
    "failed": ERROR,
}

#: Why a task of a batch does not run: ``TaskLog.error_message`` of a SKIPPED row.
DISABLED_REASON = "the task is disabled"
DONE_ELSEWHERE_REASON = "done elsewhere before this batch began"
OUT_OF_SCOPE_REASON = "out of scope of this batch"

SCOPE_REASONS = frozenset({DISABLED_REASON, DONE_ELSEWHERE_REASON, OUT_OF_SCOPE_REASON})

#: ``end_cause`` of rows that have ended; what a person did is ``marked_failed``, ``marked_success``, ``marked_skipped``,
#: ``cleared`` or ``deleted``, and ``ended_by`` says who.
TASK, REMOTE, EXECUTION_TIMEOUT, RUN_TIMEOUT = "task", "remote", "execution_timeout", "run_timeout"
KILLED, HEARTBEAT, SCHEDULER, UPSTREAM, SCOPE = "killed", "heartbeat", "scheduler", "upstream", "scope"
CLEARED, DELETED = "cleared", "deleted"
END_CAUSES: Mapping[str, str] = {
    TASK: "the task itself, its own code or configuration; of a batch: its tasks",
    REMOTE: "its remote job: Dataform, Power BI, BigQuery or another service ended it",
    EXECUTION_TIMEOUT: "its timeout",
    RUN_TIMEOUT: "the timeout of the DAG run",
    KILLED: "its process was gone without a word: killed, out of memory, its machine lost",
    HEARTBEAT: "its process gave no sign of life for too long",
    SCHEDULER: "Airflow's scheduler, for another reason",
    UPSTREAM: "a task before it",
    SCOPE: "it does not belong to the batch: out of scope, disabled, or done elsewhere",
    "marked_failed": "a person marked it, or its run, failed",
    "marked_success": "a person marked it, or its run, as succeeded",
    "marked_skipped": "a person marked it as skipped",
    CLEARED: "a person cleared it while it ran",
    DELETED: "a person deleted the DAG run",
}

#: ``BatchRequest.state``: the first one waits, the others are ends.
RECEIVED, DISPATCHED, RECORDED, DUPLICATE, REJECTED = "received", "dispatched", "recorded", "duplicate", "rejected"
REQUEST_STATES = (RECEIVED, DISPATCHED, RECORDED, DUPLICATE, REJECTED)

#: ``Alert.state``: the first one waits, the others are ends.
ALERT_WAITING, ALERT_SENT, ALERT_FAILED = "waiting", "sent", "failed"

#: What became of a message that has its row already; no state of a row.
REDELIVERED = "redelivered"

#: ``BatchRequest.reason`` of a request whose workflow is switched off.
WORKFLOW_DISABLED = (
    "waits: its workflow is disabled (enabled = false in table workflows); the request starts once the workflow is enabled."
)

#: ``BatchRequest.reason`` of a request that waits for the end of another batch.
WORKFLOW_FULL = "waits: as many batches of its workflow run as it may have at once (max_active_batches in table workflows)."


def ended_otherwise(stored: str, now: str) -> bool:
    """Tell whether a try that had ended has ended otherwise, so that the reason of its first end is none of the second."""
    return stored != now and {stored, now} <= ENDS
