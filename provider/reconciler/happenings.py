"""What has happened in a run, for those who are told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from provider.alerts.happenings import EndedTry, Happening, happening_of_batch, happenings_of_tries
from provider.metadata.states import ERROR
from provider.reconciler.airflow_state import RunState, TryState
from provider.reconciler.mirror import Difference, Stored, TryKey, effective_tries


def happenings_of_run(run: RunState, stored: Stored, found: Difference) -> list[Happening]:
    """
    Return what has happened for good: nothing of a try whose process may still say why it failed, nor of its batch.

    :param stored: what was there of the run before.
    :param found: what will be there.
    """
    tries = list(_ended_tries(run, stored, found))
    happenings = list(happenings_of_tries(tries, run.run_after))
    if run.ended and not any(waiting for _row, waiting in found.tries):
        of_batch = happening_of_batch(found.whole_batch)
        happenings += [of_batch] if of_batch is not None else []
    return happenings


def _ended_tries(run: RunState, stored: Stored, found: Difference) -> Iterator[EndedTry]:
    attempts = effective_tries(run)
    for row, waiting in found.tries:
        if waiting:
            continue
        key: TryKey = (row["task_id"], row["map_index"], row["try_number"])
        attempt, log = attempts[key], stored.logs.get(key)
        whole: dict[str, Any] = {**row}
        if log is not None and log.status == row["status"]:
            # What the task's own process has said, and Airflow does not know.
            whole |= {name: row.get(name) or getattr(log, name) for name in ("error_message", "remote_job_url")}
        yield EndedTry(
            whole, row["status"] == ERROR and _is_retried(run, attempt, key, attempts), attempt.live, key[2] <= attempt.try_number
        )


def _is_retried(run: RunState, attempt: TryState, key: TryKey, attempts: Mapping[TryKey, TryState]) -> bool:
    """Tell whether Airflow runs a failed task again by itself, or has; not that a person had it run again."""
    if attempt.live:
        return attempt.state == "up_for_retry"
    if attempt.try_number > attempt.max_tries or attempt.ended_at is None:
        return False
    following = attempts.get((key[0], key[1], key[2] + 1))
    until = following.started_at if following is not None else None
    return not any(
        act.did == "cleared" and act.reaches(key[0], key[1]) and act.at >= attempt.ended_at and (until is None or act.at <= until)
        for act in run.acts
    )
