"""What tasks keep in Airflow's task state store, read like any foreign data: a task writes there what it likes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from provider.metadata.states import END_CAUSES, ERROR, SKIPPED
from provider.operators.job_ledger import LEDGER_KEY
from provider.reconciler.airflow_state import LeftText, RemoteJobState
from provider.task_reports import ERROR_KEY
from provider.texts import one_line, storable_or_none

#: The keys that are read.
KEYS = (LEDGER_KEY, ERROR_KEY)
_TEXT = 4000


def read_entry(key: str, value: str) -> RemoteJobState | LeftText | None:
    """
    Return what an entry says; None where it is nothing of ours.

    :param key: one of :data:`KEYS`.
    :param value: JSON.
    """
    try:
        entry = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return read_value(key, entry)


def read_value(key: str, entry: object) -> RemoteJobState | LeftText | None:
    """Do what :func:`read_entry` does, with what its JSON says."""
    if not isinstance(entry, dict):
        return None
    return read_ledger(entry) if key == LEDGER_KEY else _text(entry)


def read_ledger(entry: Mapping[str, Any]) -> RemoteJobState:
    """Return what a task's :class:`~provider.operators.job_ledger.JobLedger` says."""
    return RemoteJobState(
        tries=_mapping(entry, "tries") or {},
        job=_mapping(entry, "job"),
        intent=_mapping(entry, "intent"),
        running=entry.get("outcome") == "running",
        chain=entry.get("chain") if isinstance(entry.get("chain"), int) else None,
        service=_mapping(entry, "service"),
    )


def _text(entry: Mapping[str, Any]) -> LeftText | None:
    number, message, cause = entry.get("try"), entry.get("message"), entry.get("cause")
    if not isinstance(number, int) or not isinstance(message, str):
        return None
    kind = entry.get("type")
    return LeftText(
        try_number=number,
        type=storable_or_none(kind, 250) if isinstance(kind, str) else None,
        message=one_line(message, _TEXT),
        cause=cause if isinstance(cause, str) and cause in END_CAUSES else None,
        status=SKIPPED if entry.get("status") == SKIPPED else ERROR,
    )


def _mapping(entry: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    value = entry.get(key)
    return value if isinstance(value, Mapping) else None
