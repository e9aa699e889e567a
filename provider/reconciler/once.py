"""Reconciling once, and looking without writing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from provider.metadata import batches
from provider.metadata.engine import read_session
from provider.metadata.leader_lock import LEASE_SECONDS
from provider.reconciler.airflow_state import RunKey, Source
from provider.reconciler.mirror import Difference, Stored, compare_runs, differing_batch_columns, differing_columns
from provider.reconciler.passes import Reconciler, asked_of, load, of_batches
from provider.texts import chunks

_RUNS_AT_ONCE = 50
#: A difference that a running reconciler is about to write is none: so often it is looked again, after so many seconds.
_LOOKS = 4
_SETTLING_SECONDS = 3.0
#: How long cancels of remote jobs are waited for, in seconds.
_CANCELLING_SECONDS = 60.0


@dataclass(frozen=True)
class Disagreement:
    """
    What the tables say otherwise than Airflow.

    :param task_id: None for the batch itself.
    :param what: columns that differ, ``missing`` or ``unknown to Airflow``.
    :param recorded: status in the tables; None where there is no row.
    :param airflow: status by Airflow's state; None where it knows nothing of it.
    """

    workflow_id: str
    batch_id: str
    task_id: str | None
    map_index: int
    try_number: int
    what: str
    recorded: str | None
    airflow: str | None


def reconcile_once(source: Source, since: datetime) -> bool:
    """
    Make the tables equal to Airflow's state of all runs that changed since then, and of all open batches.

    :return: False where another reconciler leads, which does that all the time.
    """
    reconciler = Reconciler(replace(source, swept=200), since)
    end = time.monotonic() + LEASE_SECONDS + 2
    while not reconciler.tick():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)  # until the lead of one that was killed runs out
    try:
        while reconciler.sweeps:
            if not reconciler.tick():
                return False
        reconciler.finish_jobs(_CANCELLING_SECONDS)
    finally:
        reconciler.release()
    return True


def disagreements(source: Source, since: datetime) -> list[Disagreement]:
    """Return where the tables say otherwise than Airflow, and keep doing so, of open batches and of runs changed since then."""
    with read_session() as session:
        keys = batches.open_batches(session).keys()
    looked_at = datetime.now(UTC)
    found = _compare(source, keys | _changed(source, since))
    for _ in range(_LOOKS - 1):
        if not found:
            break
        time.sleep(_SETTLING_SECONDS)
        _changed(source, looked_at)  # a reader may know what it has read
        found &= _compare(source, {(one.workflow_id, one.batch_id) for one in found})
    return sorted(found, key=lambda one: (one.workflow_id, one.batch_id, one.task_id or "", one.map_index, one.try_number))


def _changed(source: Source, since: datetime) -> set[RunKey]:
    with source.open() as airflow:
        dag_ids = airflow.workflow_ids()
        return of_batches(airflow.changed_runs(dag_ids, since) | airflow.runs_with_changed_tasks(dag_ids, since))


def _compare(source: Source, keys: set[RunKey]) -> set[Disagreement]:
    found: set[Disagreement] = set()
    with read_session() as session:
        opened = batches.open_batches(session).keys()
    for chunk in chunks(sorted(keys), _RUNS_AT_ONCE):
        runs = load(chunk, source.open)
        compared = compare_runs(list(runs.values()), asked_of(source.open, lambda _run, _attempt: None), datetime.now(UTC))
        for key, (stored, difference) in compared.items():
            found |= set(_of_run(key, stored, difference))
        found |= {
            Disagreement(*key, None, -1, 0, "unknown to Airflow", "PROCESSING", None) for key in opened & {*chunk} - {*runs}
        }
    return found


def _of_run(key: RunKey, stored: Stored, difference: Difference) -> Iterator[Disagreement]:
    if difference.batch is not None:
        what = "missing" if stored.batch is None else ", ".join(differing_batch_columns(difference.batch, stored.batch))
        recorded = stored.batch.status if stored.batch is not None else None
        yield Disagreement(*key, None, -1, 0, what, recorded, difference.batch["status"])
    for row in difference.rows:
        log = stored.logs.get((row["task_id"], row["map_index"], row["try_number"]))
        what = "missing" if log is None else ", ".join(differing_columns(row, log))
        recorded = log.status if log is not None else None
        yield Disagreement(*key, row["task_id"], row["map_index"], row["try_number"], what, recorded, row["status"])
    for task_id, map_index, try_number in difference.ghosts:
        status = stored.logs[(task_id, map_index, try_number)].status
        yield Disagreement(*key, task_id, map_index, try_number, "unknown to Airflow", status, None)
