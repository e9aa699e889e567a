"""What may be told of: what has happened in a run, each thing once, by the rows that the reconciler writes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from provider.metadata.states import BLOCKED, CLEARED, ERROR, SUCCESS

#: Whose end says nothing that the end of their batch does not, and whose success is nobody's news.
_WATCHER, _OPENER = "batch_watcher", "start_batch"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Happening:
    """
    Something that people may want to be told.

    :param event: one of :data:`provider.alerts.rules.Event`.
    :param identity: tells it from everything else that ever happens.
    :param at: when it happened; None where nobody knows.
    :param task_id: None for a batch or a workflow.
    :param details: for people: ``error``, ``cause``, ``ended_by``, ``started_at`` (ISO), ``remote_job_url``, ``note``.
    """

    event: str
    workflow_id: str
    identity: tuple[str, ...]
    at: datetime | None
    batch_id: str | None = None
    task_id: str | None = None
    map_index: int = -1
    try_number: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def event_id(self) -> str:
        """Its name, for those who are to notice that they were told twice: 32 characters."""
        whole = json.dumps([self.event, self.workflow_id, *self.identity])
        return hashlib.sha256(whole.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class EndedTry:
    """
    A try with nothing more to be said of it.

    :param row: its TaskLog row, with the message that is stored or will be.
    :param retried: whether Airflow, and nobody else, runs the task again.
    :param live: whether no other try came after it.
    :param began: whether it ever ran; one that a person marked, or that was blocked, may run under the same number later.
    """

    row: Row
    retried: bool
    live: bool
    began: bool = True


def happenings_of_tries(tries: Collection[EndedTry], run_after: datetime) -> Iterator[Happening]:
    """
    Yield what has happened to the tasks of one run.

    :param run_after: of the run; tells it from a deleted one of the same id.
    """
    for ended in tries:
        event = _event_of(ended)
        if event is None:
            continue
        row = ended.row
        place = [row["batch_id"], run_after.isoformat(), row["task_id"], str(row["map_index"]), str(row["try_number"])]
        if not ended.began:
            place.append("never began")
        yield Happening(
            event,
            *(row["workflow_id"], tuple(place), row["ended_at"]),
            *(row["batch_id"], row["task_id"], row["map_index"], row["try_number"]),
            details=_details(row, row["error_message"]),
        )


def happening_of_batch(row: Row) -> Happening | None:
    """Return what has happened to a batch as a whole; None while it goes on."""
    event = {ERROR: "failure", SUCCESS: "success"}.get(row["status"])
    if event is None or row["ended_at"] is None or row["run_after"] is None:
        return None
    # A batch that is run again, and fails again, has failed twice.
    identity = (row["batch_id"], row["run_after"].isoformat(), row["ended_at"].isoformat())
    return Happening(event, row["workflow_id"], identity, row["ended_at"], row["batch_id"], details=_details(row, row["error"]))


def _event_of(ended: EndedTry) -> str | None:
    row = ended.row
    if row["task_id"] == _WATCHER or row["end_cause"] == CLEARED:
        return None
    if row["status"] == ERROR:
        return "retry" if ended.retried else "failure"
    if row["status"] == BLOCKED:
        return "blocked" if ended.live else None
    return "success" if row["status"] == SUCCESS and row["task_id"] != _OPENER else None


def _details(row: Row, error: str | None) -> dict[str, Any]:
    started = row["started_at"]
    found = {
        "error": error or None,
        "cause": row["end_cause"],
        "ended_by": row["ended_by"],
        "started_at": started.isoformat() if started is not None else None,
        "remote_job_url": row.get("remote_job_url"),
    }
    return {name: value for name, value in found.items() if value is not None}
