"""
The reconciler: makes the application database equal to what Airflow has committed, again and again.

It is level-triggered: every pass looks at the state and not at events, so a hook that was lost, wrong or early costs nothing
but a moment. It runs in a process beside the scheduler (:mod:`provider.reconciler.host`) and can neither slow nor stop
it; among several schedulers a lock lets one do the work.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from provider.alerts.raising import Alerting
from provider.batch_ids import TEMPORARY_RUN_PREFIX
from provider.exceptions import LostLeadError
from provider.metadata import batches
from provider.metadata.engine import is_outage, read_session, write_session
from provider.metadata.leader_lock import LeaderLock, record_current_at
from provider.reconciler.airflow_state import (
    AirflowState,
    OpenAirflow,
    RunKey,
    RunState,
    Source,
    TryReport,
    TryState,
    database_source,
    is_unreachable,
    read_airflow,
)
from provider.reconciler.end_causes import DELETED_REASON
from provider.reconciler.mirror import Asked, Confirm, TryKey
from provider.reconciler.orphaned_jobs import OrphanedJobs
from provider.reconciler.stored_jobs import runs_of_rows, runs_to_look_at
from provider.reconciler.writing import mirror_runs
from provider.texts import chunks

log = logging.getLogger(__name__)

#: Changes are stamped before they are committed, and clocks differ.
_OVERLAP = timedelta(seconds=30)
_FIRST_SWEEP = timedelta(days=7)
_SWEEP = timedelta(days=1)
#: A new leader looks at once at what changed while nobody led, if that was not longer; else at runs in its first sweep.
_GAP = timedelta(hours=1)
_RUNS_AT_ONCE = 50
#: How far back it is looked for who deleted a run.
_DELETED_WITHIN = timedelta(days=30)
_NOTES = 1000


class Reconciler:
    """
    What is looked at in each pass: runs that changed, batches that have not ended, and now and then everything recent.

    :param source: where Airflow's state is read; by default in its own database.
    :param since: how far back the first sweep looks; None for a week, or as long as nobody has written.
    :param alive: called at every sign of life that the leader gives, and before each pass.
    """

    def __init__(
        self, source: Source | None = None, since: datetime | None = None, *, alive: Callable[[], None] = lambda: None
    ) -> None:
        self._alive = alive
        self._source = source or database_source()
        self._since = since
        self._orphaned_jobs = OrphanedJobs(self._source.open)
        self._alerting = Alerting.configured()
        self._lock = LeaderLock(yields=self._source.yields)
        self._leads = False
        #: Whether the last pass found no open batch, and nothing that changed.
        self.idle = False
        self._notes: OrderedDict[tuple[RunKey, TryKey], str] = OrderedDict()
        self._forget()

    def _forget(self) -> None:
        """Start as a new leader: what another one has written meanwhile is not known."""
        self._source.forget()
        self._seen: dict[RunKey, RunState] = {}
        #: What was found and has not been written, so that another pass has to look at it.
        self._unsettled: set[RunKey] = set()
        self._told: set[RunKey] = set()
        self._to_sweep: list[RunKey] = []
        #: Whether no pass has succeeded yet.
        self._is_new = True
        self._looked_at = self._tasks_looked_at = datetime.now(UTC)
        self._next_task_look = 0.0
        self._next_sweep = 0.0

    def note(self, run: RunKey, attempt: TryKey, text: str) -> None:
        """Keep what the scheduler says of a failed try, for a try of which nobody else says anything."""
        self._notes[(run, attempt)] = text
        while len(self._notes) > _NOTES:
            self._notes.popitem(last=False)

    def tick(self) -> bool:
        """
        Make one pass, if this process is the leader.

        :return: whether it is.
        """
        self.idle = False
        self._alive()
        # Where the application database is away it is not known who leads, and nobody else writes.
        if not self._lock.acquire():
            self._leads = False
            return False
        if not self._leads or self._lock.is_new:
            self._forget()
        self._leads = True
        try:
            self._reconcile()
        except LostLeadError as lost:
            self._leads = False
            log.warning("%s", lost)
        return self._leads

    def _reconcile(self) -> None:
        """Look at everything that may have changed since the last pass that succeeded."""
        started = datetime.now(UTC)
        with read_session() as session:
            unfinished = batches.open_batches(session)
            if self._is_new and (complete := record_current_at(session)) is not None:
                self._looked_at = self._tasks_looked_at = max(complete, started - _GAP)
        with self._source.open() as airflow:
            dag_ids = airflow.workflow_ids()
            self._find_changed(airflow, dag_ids, started)
        keys = unfinished.keys() | self._unsettled
        if self._is_new:
            keys |= runs_to_look_at()
        self.idle = not keys
        self._find_swept(dag_ids, started)
        keys = of_batches(keys | self._unsettled)
        seen: dict[RunKey, RunState] = {}
        unsettled: set[RunKey] = set()
        for chunk in map(set, chunks(keys, _RUNS_AT_ONCE)):
            self._stay_leader()
            runs, unreadable = self._load(chunk)
            unsettled |= unreadable
            gone = chunk - runs.keys() - unreadable
            # If this pass fails half-way, they are looked at again although their batches have ended by then.
            self._unsettled |= gone
            end_deleted({key: unfinished[key] for key in unfinished.keys() & gone}, self._source.open, self._lock.confirm)
            # A job that was started after the last look is in the rows alone.
            remembered = {key: self._seen[key] for key in gone if key in self._seen}
            self._orphaned_jobs.look(runs.values(), [*remembered.values(), *runs_of_rows(gone, remembered)])
            same = {key for key, run in runs.items() if self._seen.get(key) == run}
            new = [run for key, run in runs.items() if key not in same]
            settled = self._mirror(new)
            unsettled.update(run.key for run in new if run.key not in settled)
            seen.update({key: run for key, run in runs.items() if key in same or key in settled})
        self._stay_leader()
        self._orphaned_jobs.cancel_due()
        if self._alerting is not None:
            self._alerting.look_at_clock(self._lock.confirm, started)
        # Only now: a pass that failed half-way is made again whole.
        self._seen, self._unsettled, self._looked_at, self._is_new = seen, unsettled, started, False
        self._lock.tell_current(started)

    def _mirror(self, runs: Collection[RunState]) -> set[RunKey]:
        """Mirror runs; where that fails one by one, so that one that cannot be read or written keeps none of the others back."""
        try:
            return mirror(runs, self._note_of, self._source.open, self._lock.confirm, self._alerting)
        except Exception as error:
            if isinstance(error, LostLeadError) or is_outage(error):
                raise
            if len(runs) > 1:
                return {key for run in runs for key in self._mirror([run])}
            self._tell_broken({run.key for run in runs})
            return set()

    def _load(self, keys: Collection[RunKey]) -> tuple[dict[RunKey, RunState], set[RunKey]]:
        """Read runs, where that fails one by one; return them, and which of them cannot be read."""
        try:
            return dict(load(keys, self._source.open)), set()
        except Exception as error:
            if is_outage(error) or is_unreachable(error):
                raise
            if len(keys) == 1:
                self._tell_broken(set(keys))
                return {}, set(keys)
        parts = [self._load([key]) for key in keys]
        return {key: run for runs, _ in parts for key, run in runs.items()}, {key for _, broken in parts for key in broken}

    def _tell_broken(self, keys: set[RunKey]) -> None:
        for dag_id, run_id in sorted(keys - self._told):
            log.exception("The record of run %s of %s cannot be kept; the others go on.", run_id, dag_id)
        self._told |= keys

    @property
    def sweeps(self) -> bool:
        """Whether runs of the sweep wait for the next pass."""
        return bool(self._to_sweep)

    def finish_jobs(self, seconds: float) -> bool:
        """Wait for the remote jobs that are being cancelled; tell whether that is done in time."""
        return self._orphaned_jobs.finish(seconds)

    def release(self) -> None:
        """Let another process lead."""
        self._lock.release()

    def _stay_leader(self) -> None:
        """Give a sign of life, in a pass that may take long."""
        self._alive()
        if not self._lock.acquire() or self._lock.is_new:
            raise LostLeadError

    def _find_changed(self, airflow: AirflowState, dag_ids: Collection[str], now: datetime) -> None:
        self._unsettled |= airflow.changed_runs(dag_ids, self._looked_at - _OVERLAP)
        begun = time.monotonic()
        if begun < self._next_task_look:
            return
        self._unsettled |= airflow.runs_with_changed_tasks(dag_ids, self._tasks_looked_at - _OVERLAP)
        self._tasks_looked_at = now
        self._next_task_look = time.monotonic() + self._source.search_pause * (time.monotonic() - begun)

    def _find_swept(self, dag_ids: Collection[str], now: datetime) -> None:
        """Find the next runs of the sweep, and begin a new one when it is time and that has come to its end."""
        # One that was begun anew over and over would never reach the last ones.
        if not self._to_sweep and time.monotonic() >= self._next_sweep:
            since = self._first_sweep_since(now) if self._is_new else now - _SWEEP
            with self._source.open() as airflow:
                self._to_sweep = sorted(airflow.changed_runs(dag_ids, since))
            self._seen = {}
            self._next_sweep = time.monotonic() + self._source.sweep
        swept, self._to_sweep = self._to_sweep[: self._source.swept], self._to_sweep[self._source.swept :]
        self._unsettled |= set(swept)

    def _first_sweep_since(self, now: datetime) -> datetime:
        """Go back to when anybody last wrote, however long nobody has reconciled."""
        if self._since is not None:
            return self._since
        with read_session() as session:
            written = batches.last_written(session)
        return min(now - _FIRST_SWEEP, written - _OVERLAP) if written is not None else now - _FIRST_SWEEP

    def _note_of(self, run: RunKey, attempt: TryKey) -> str | None:
        return self._notes.get((run, attempt))


def of_batches(keys: Collection[RunKey]) -> set[RunKey]:
    """Leave out the runs of ``airflow tasks test``, which a scheduler sees, and may run, for the seconds that they live."""
    return {key for key in keys if not key[1].startswith(TEMPORARY_RUN_PREFIX)}


def reconcile_runs(keys: Collection[RunKey]) -> set[RunKey]:
    """
    Mirror these runs now, in a process that has Airflow's database.

    :return: those that need no other look: ended and mirrored, or not of a workflow, such as a run of the maintenance DAG.
    """
    with read_airflow() as airflow:
        workflows = set(airflow.workflow_ids())
    runs = load([key for key in keys if key[0] in workflows], read_airflow)
    mirror(list(runs.values()), lambda _run, _attempt: None, read_airflow)
    return {key for key, run in runs.items() if run.ended} | {key for key in keys if key[0] not in workflows}


def load(keys: Iterable[RunKey], open_airflow: OpenAirflow) -> Mapping[RunKey, RunState]:
    """Read runs from Airflow."""
    with open_airflow() as airflow:
        return airflow.load_runs(keys)


def mirror(
    runs: Collection[RunState],
    note: Callable[[RunKey, TryKey], str | None],
    open_airflow: OpenAirflow,
    confirm: Confirm | None = None,
    alerting: Alerting | None = None,
) -> set[RunKey]:
    """Write what differs; see :func:`provider.reconciler.writing.mirror_runs`."""
    return mirror_runs(runs, asked_of(open_airflow, note), confirm, alerting) if runs else set()


def asked_of(open_airflow: OpenAirflow, note: Callable[[RunKey, TryKey], str | None]) -> Asked:
    """Return what asks Airflow for more of single runs, and of each but once for their edges."""
    known: dict[RunKey, Mapping[str, Collection[str]]] = {}

    def parents(key: RunKey) -> Mapping[str, Collection[str]]:
        if key not in known:
            with open_airflow() as airflow:
                known[key] = airflow.parents_of_run(key)
        return known[key]

    def report(key: RunKey, attempt: TryState) -> TryReport | None:
        with open_airflow() as airflow:
            return airflow.last_report(key, attempt)

    def is_there(run: RunState) -> bool:
        with open_airflow() as airflow:
            return airflow.has_run(run.key, run.run_after)

    return Asked(parents, note, report, is_there)


def end_deleted(gone: Mapping[RunKey, datetime | None], open_airflow: OpenAirflow, confirm: Confirm) -> None:
    """
    End batches whose runs are gone.

    :param gone: run → ``run_after`` of its batch when it was looked for.
    """
    if not gone:
        return
    people = {key: _deleted_by(key, open_airflow) for key in gone}
    with write_session() as session:
        confirm(session)
        for key, run_after in sorted(gone.items()):
            person = people[key]
            reason = DELETED_REASON if person is None else f"{DELETED_REASON} by {person}"
            batches.end_deleted_batch(session, key, run_after, reason, person)


def _deleted_by(key: RunKey, open_airflow: OpenAirflow) -> str | None:
    with open_airflow() as airflow:
        acts = airflow.acts_on_runs(key[0], [key[1]], datetime.now(UTC) - _DELETED_WITHIN).get(key[1], ())
    return next((act.person for act in reversed(acts) if act.did == "deleted"), None)
