"""What the application database keeps of a remote job, so that it can be ended when Airflow has forgotten it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from provider.airflow_internals.secrets import redact
from provider.plain_data import unstorable

#: Longest handle that is kept, as JSON, in characters.
_LENGTH = 10_000
#: How deep it may be nested. How deep Python itself goes depends on its version, and on who calls.
_DEEPEST = 20


def job_handle(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    Return ``TaskLog.remote_job``: ``{"service", "job", "intent"}``, as in the ledger of a task.

    :param entry: what the ledger says.
    :return: None where the job is not ours to end, or where that cannot be kept: a task writes there what it likes, and it may
        be too long, no JSON for every database, or have a secret in it.
    """
    service, job = entry.get("service"), entry.get("job")
    if not isinstance(service, Mapping) or (isinstance(job, Mapping) and job.get("adopted")):
        return None
    handle = {name: entry.get(name) for name in ("service", "job", "intent")}
    if next(unstorable(handle, max_depth=_DEEPEST), None):
        return None
    try:
        text = json.dumps(handle)
    except TypeError:
        return None
    if len(text) > _LENGTH or redact(handle) != handle:
        return None
    kept: dict[str, Any] = json.loads(text)
    return kept
