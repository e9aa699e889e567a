"""Writes what a look at Airflow's state has found, in one transaction: rows of the record, and the alerts that tell of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provider.alerts import outbox
from provider.exceptions import LostLeadError
from provider.metadata import batches, task_logs
from provider.metadata.engine import is_outage, write_session
from provider.reconciler.airflow_state import RunKey, RunState
from provider.reconciler.happenings import happenings_of_run
from provider.reconciler.mirror import Asked, Confirm, Difference, Stored, compare_runs

if TYPE_CHECKING:
    from provider.alerts.raising import Alerting


def mirror_runs(
    runs: Collection[RunState], asked: Asked, confirm: Confirm | None = None, alerting: Alerting | None = None
) -> set[RunKey]:
    """
    Make the application database say what Airflow says of these runs.

    Alerts never keep the record from being written. What could not be written of them is found again by the next sweep: they
    follow from the state of the runs, and not from what changes.

    :param confirm: makes sure, in the transaction that writes, that this process may; None where there is no other.
    :param alerting: knows who is told of it; None where nobody is.
    :return: the runs that need no second look while Airflow's state of them stays the same.
    """
    now = datetime.now(UTC)
    compared = compare_runs(runs, asked, now)
    runs = [run for run in runs if run.key in compared]
    to_write = {key: one for key, one in compared.items() if one[1].rows or one[1].ghosts or one[1].batch}
    try:
        alerts = _alerts(runs, compared, alerting) if alerting is not None else []
        others = _write(to_write, alerts, now, confirm)
    except LostLeadError:
        raise
    except Exception as error:
        if alerting is None:
            raise
        others = _write(to_write, [], now, confirm)
        alerting.tell_broken(error)
        if not is_outage(error):
            _store_one_by_one(runs, compared, alerting, confirm)
    return {key for key, (_stored, found) in compared.items() if found.settled} - others


def _write(
    compared: Mapping[RunKey, tuple[Stored, Difference]],
    alerts: Sequence[dict[str, Any]],
    now: datetime,
    confirm: Confirm | None,
) -> set[RunKey]:
    """Write; return the runs of which nothing was written, as another one with the id has begun since they were compared."""
    if not compared and not alerts:
        return set()
    with write_session() as session:
        if confirm is not None:
            confirm(session)
        # A statement for each run would take most of the reconciler's time when many begin at once.
        locked = batches.lock_batches(session, compared)
        to_write = {
            key: found for key, (stored, found) in sorted(compared.items()) if _is_as_compared(locked.get(key), stored, found)
        }
        for key, found in to_write.items():
            if found.replaces:
                batches.forget_run(session, key)
        batches.record_batches(session, [found.batch for found in to_write.values() if found.batch is not None])
        # There was no row to lock: one that start_batch was about to insert is seen now, that of record_batches waited for it.
        begun = batches.lock_batches(session, [key for key in to_write if key not in locked])
        for key, run_after in begun.items():
            if batches.is_of_other_run(run_after, to_write[key].whole_batch["run_after"]):
                del to_write[key]
        task_logs.record_tries(session, [row for found in to_write.values() for row in found.rows], authoritative=True)
        for key, found in to_write.items():
            task_logs.delete_tries(session, key, found.ghosts, unchanged_since=now)
        outbox.store(session, alerts)
    return compared.keys() - to_write.keys()


def _is_as_compared(run_after: datetime | None, stored: Stored, found: Difference) -> bool:
    """
    Tell whether a batch is still of the run that was compared, or of that which is to be replaced.

    :param run_after: of the batch, now that nobody else changes it; None where there is none, or where nobody has told.
    """
    begun_since = stored.run_after is None and run_after == found.whole_batch["run_after"]
    return run_after == stored.run_after or begun_since


def _alerts(
    runs: Collection[RunState], compared: Mapping[RunKey, tuple[Stored, Difference]], alerting: Alerting
) -> list[dict[str, Any]]:
    """Return the alerts that are not there yet, whether or not a task's own process has written the rows that they tell of."""
    return alerting.unstored([one for run in runs for one in happenings_of_run(run, *compared[run.key])])


def _store_one_by_one(
    runs: Collection[RunState],
    compared: Mapping[RunKey, tuple[Stored, Difference]],
    alerting: Alerting,
    confirm: Confirm | None,
) -> None:
    """Store the alerts of each run by itself, so that one of which nobody can be told keeps none of the others back."""
    for run in runs:
        try:
            _write({}, _alerts([run], compared, alerting), datetime.now(UTC), confirm)
        except LostLeadError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the record is written
            alerting.tell_broken(error)
            if is_outage(error):
                return
