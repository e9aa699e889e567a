"""``accelerator batches`` and ``accelerator logs``: what happened, from the application database."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from provider.cli.ids import only_batch, refuse_unknown_workflow
from provider.cli.output import duration, utc, write_data, write_fields, write_table
from provider.cli.redraw import redraw
from provider.exceptions import AcceleratorError
from provider.metadata.batch_queries import newest_batches, task_logs_of
from provider.metadata.engine import read_session
from provider.metadata.leader_lock import record_current_at
from provider.metadata.rows import StoredTaskBatch, StoredTaskLog
from provider.metadata.states import TASK
from provider.texts import task_name


def list_batches(args: argparse.Namespace) -> int:
    """
    List batches, newest first; that there are none is an answer, not a problem.

    :raises AcceleratorError: there is no such workflow, or they are to be watched where that cannot be.
    """
    if args.watch:
        if args.output != "table":
            raise AcceleratorError("--watch is for people, and --output for programs; give one of them.")
        return redraw(partial(_newest, args), _write_batches)
    batches = _newest(args)
    if args.output != "table":
        write_data(batches, args.output)
    else:
        _write_batches(batches)
    return 0


def _newest(args: argparse.Namespace) -> list[StoredTaskBatch]:
    with read_session() as session:
        batches = newest_batches(session, workflow_id=args.workflow, earlier=True, status=args.status, limit=args.limit)
        if args.workflow is not None and not batches:
            refuse_unknown_workflow(session, args.workflow)
    return batches


def _write_batches(batches: list[StoredTaskBatch]) -> None:
    if batches:
        columns = ("status", "started", "ended", "duration", "source", "workflow", "batch", "error")
        write_table(columns, [_batch_cells(batch) for batch in batches], below=("error",))
    else:
        sys.stdout.write("No batches.\n")


def show_logs(args: argparse.Namespace) -> int:
    """
    Show a batch and its task logs.

    :raises AcceleratorError: there is no such batch, or several workflows have one with this id.
    """
    with read_session() as session:
        batch = only_batch(session, args.batch_id, args.workflow)
        logs = task_logs_of(session, batch["workflow_id"], batch["batch_id"])
        current_at = record_current_at(session)
    if args.output != "table":
        write_data({"batch": batch, "task_logs": logs, "record_current_at": current_at}, args.output, logs)
        return 0
    write_fields({**_header(batch), "as of": utc(current_at)})
    sys.stdout.write("\n")
    columns = ("status", "try", "started", "ended", "duration", "task", "end cause", "remote job", "link", "error")
    if logs:
        write_table(columns, [_log_cells(log) for log in logs], below=("remote job", "link", "error"))
    else:
        sys.stdout.write("No task logs.\n")
    return 0


def _batch_cells(batch: StoredTaskBatch) -> tuple[str, ...]:
    return (
        batch["status"],
        utc(batch["started_at"]),
        utc(batch["ended_at"]),
        duration(batch["started_at"], batch["ended_at"]),
        batch["source"] or "",
        batch["workflow_id"],
        batch["batch_id"],
        batch["error"] or "",
    )


def _header(batch: StoredTaskBatch) -> dict[str, str]:
    started_by = " ".join(filter(None, (batch["source"], batch["message_id"] and f"(message {batch['message_id']})")))
    scope = batch["scope"] or ""
    if batch["start_task_ids"]:
        scope = f"{scope} from {', '.join(batch['start_task_ids'])}"
    return {
        "workflow": batch["workflow_id"],
        "batch": batch["batch_id"],
        "status": batch["status"],
        "started by": started_by,
        "scope": scope,
        "params": ", ".join(f"{name}={value}" for name, value in (batch["params"] or {}).items()),
        "created": utc(batch["created_at"]),
        "started": utc(batch["started_at"]),
        "ended": utc(batch["ended_at"]),
        "duration": duration(batch["started_at"], batch["ended_at"]),
        "end cause": _end_cause(batch),
        "error": batch["error"] or "",
    }


def _end_cause(row: StoredTaskBatch | StoredTaskLog) -> str:
    """Return what ended it where it was not the task itself, and who where it was a person: ``marked failed by ann``."""
    cause = row["end_cause"]
    if cause is None or cause == TASK:
        return ""
    words = cause.replace("_", " ")
    return f"{words} by {row['ended_by']}" if row["ended_by"] else words


def _log_cells(log: StoredTaskLog) -> tuple[str, ...]:
    return (
        log["status"],
        str(log["try_number"]),
        utc(log["started_at"]),
        utc(log["ended_at"]),
        duration(log["started_at"], log["ended_at"]),
        task_name(log["task_id"], log["map_index"]),
        _end_cause(log),
        log["remote_job_id"] or "",
        log["remote_job_url"] or "",
        log["error_message"] or "",
    )
