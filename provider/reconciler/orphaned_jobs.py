"""
Remote jobs whose task a person has ended or cleared: the reconciler makes sure that they end too.

The worker's and the triggerer's ``on_kill`` come first and are quicker. They never come where no triggerer owned the trigger,
where a worker died with its task, or where a start was still without an answer. The next try of a cleared task cancels the job
of the earlier tries, but that try may be a long time coming.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from provider.airflow_internals.audit_log import PersonAct
from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import ENDED_STATES, CannotCancelError, JobNotFoundError, RemoteCallError
from provider.metadata.engine import is_outage
from provider.reconciler.airflow_state import (
    AirflowState,
    OpenAirflow,
    RemoteJobState,
    RunKey,
    RunState,
    TryState,
    is_unreachable,
    read_airflow,
)
from provider.reconciler.end_causes import ended_by_a_person
from provider.reconciler.job_services import recorded_service
from provider.texts import quoted
from provider.threads import LoopThread

log = logging.getLogger(__name__)

_GRACE = timedelta(seconds=2)
"""How long the task's own processes may take to cancel the job. Later they still may: a job is cancelled twice without harm."""

#: No job of ours runs for longer, and nobody keeps an audit log for less.
OLDEST = timedelta(days=1)

_LOOKUP = timedelta(seconds=60)
"""For how long a start that was never recorded is looked up."""

#: How often to look whether a person has ended after all what failed by itself and left its job.
LOOK_AGAIN = timedelta(minutes=1)

#: Time between the first two attempts to cancel a job; it doubles.
FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=1)
_REMEMBERED = 10_000
_AT_WORK = frozenset({"running", "deferred"})
"""States in which the next try of a cleared task is about to cancel the earlier job itself."""


@dataclass(frozen=True)
class Orphan:
    """
    A job that may run for nobody.

    :param acts: what people did to its run.
    :param seen_at: when it was found.
    :param due_at: when to do something about it.
    :param run_gone: whether its run was deleted.
    :param left: whether its task failed by itself, and nobody had ended it at the last look.
    """

    run: RunKey
    attempt: TryState
    jobs: RemoteJobState
    acts: tuple[PersonAct, ...]
    seen_at: datetime
    due_at: datetime
    pause: timedelta = FIRST_PAUSE
    run_gone: bool = False
    left: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it the same case in the next pass."""
        attempt = self.attempt
        return (self.run, attempt.task_id, attempt.map_index, attempt.try_number, attempt.state, self.job_id)

    @property
    def job_id(self) -> str | None:
        """Id of the job, as the task has recorded it: anything at all."""
        return None if self.jobs.job is None else quoted(self.jobs.job.get("id"))

    @property
    def cleared(self) -> bool:
        """Whether a person has cleared the task since: its next try adopts nothing."""
        return _cleared(self.attempt, self.jobs)

    def __str__(self) -> str:
        job = self.job_id or "that may have been started"
        return f"remote job {job} of task {self.attempt.task_id}, run {self.run[1]} of {self.run[0]}"


class OrphanedJobs:
    """
    What is known of such jobs, and an event loop in a thread of its own, in which they are cancelled.

    :param open_airflow: where Airflow's state is read.
    :param first_pause: time between the first two attempts to cancel a job; it doubles.
    :param look_again: time between two looks at a task that failed by itself and left its job.
    """

    def __init__(
        self,
        open_airflow: OpenAirflow = read_airflow,
        *,
        first_pause: timedelta = FIRST_PAUSE,
        look_again: timedelta = LOOK_AGAIN,
    ) -> None:
        self._open_airflow = open_airflow
        self._first_pause = first_pause
        self._look_again = look_again
        self._waiting: dict[tuple[Any, ...], Orphan] = {}
        self._working: dict[tuple[Any, ...], tuple[Orphan, Future[bool]]] = {}
        self._settled: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        self._calls = LoopThread("accelerator-orphaned-jobs")

    def look(self, runs: Iterable[RunState], deleted: Iterable[RunState] = ()) -> None:
        """
        Find orphans.

        :param runs: as Airflow has them now.
        :param deleted: as they were when they were last seen.
        """
        now = datetime.now(UTC)
        for run in runs:
            self._find(run, now, run_gone=False)
        for run in deleted:
            self._find(run, now, run_gone=True)

    def cancel_due(self) -> None:
        """Take the results of earlier cancels, and begin those that are due, without waiting for them."""
        now = datetime.now(UTC)
        self._collect(now)
        due = [orphan for orphan in self._waiting.values() if orphan.due_at <= now]
        if due:
            self._begin(due, now)

    def finish(self, seconds: float) -> bool:
        """Wait for the cancels that have begun, and begin those that are due meanwhile; tell whether that is done in time."""
        end = time.monotonic() + seconds
        while True:
            self.cancel_due()
            due = [orphan.due_at for orphan in self._waiting.values() if not orphan.left]
            if not due and not self._working:
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            wait([future for _orphan, future in self._working.values()], min(left, 0.5))
            if not self._working:
                time.sleep(min(left, 0.5))

    def _find(self, run: RunState, now: datetime, *, run_gone: bool) -> None:
        for attempt, jobs in _unattended(run, now, run_gone=run_gone):
            due_at = now if run_gone else max(now, (attempt.updated_at or now) + _GRACE)
            orphan = Orphan(run.key, attempt, jobs, run.acts, now, due_at, self._first_pause, run_gone)
            if orphan.key not in self._settled and orphan.key not in self._working:
                self._waiting.setdefault(orphan.key, orphan)

    def _begin(self, due: Collection[Orphan], now: datetime) -> None:
        """Begin each by itself: one DAG that cannot be read keeps no other job running, and no pass from its end."""
        runs: dict[RunKey, RunState | None] = {}
        for orphan in due:
            try:
                with self._open_airflow() as airflow:
                    self._begin_one(airflow, orphan, runs, now)
            except Exception as error:
                # Where no more than the closing failed, it no longer waits.
                if orphan.key in self._waiting:
                    self._try_again(orphan, now, error)
                if is_outage(error) or is_unreachable(error):
                    raise

    def _begin_one(self, airflow: AirflowState, orphan: Orphan, runs: dict[RunKey, RunState | None], now: datetime) -> None:
        """
        Do what is due; what fails leaves it waiting.

        :param runs: those that were read for others.
        """
        key = orphan.key
        if orphan.left and not orphan.run_gone:
            if orphan.run not in runs:
                runs[orphan.run] = airflow.load_runs([orphan.run]).get(orphan.run)
            run = runs[orphan.run]
            if run is not None and orphan.attempt not in run.tries:
                del self._waiting[key]  # it has gone on since; whatever there is to do then has another key
                return
            orphan = replace(orphan, run_gone=run is None, acts=run.acts if run is not None else ())
        if orphan.run_gone or orphan.cleared or _ended_by_a_person(airflow, orphan):
            operator = airflow.operator_of_task(orphan.run, orphan.attempt.task_id)
            self._working[key] = (orphan, self._calls.submit(end_job(orphan, operator)))
            del self._waiting[key]
        elif now - orphan.seen_at < OLDEST:
            self._waiting[key] = replace(orphan, due_at=now + self._look_again, left=True)
        else:
            del self._waiting[key]
            self._settle(orphan)

    def _collect(self, now: datetime) -> None:
        """Take the results; what could not be done is tried again later."""
        for key, (orphan, future) in list(self._working.items()):
            if not future.done():
                continue
            del self._working[key]
            error = future.exception()
            if isinstance(error, ConfigurationError | CannotCancelError):
                log.warning("The %s keeps running: %s", orphan, error)
            elif error is not None or not future.result():
                self._try_again(orphan, now, error)
                continue
            self._settle(orphan)

    def _try_again(self, orphan: Orphan, now: datetime, error: BaseException | None) -> None:
        """Let it wait for twice as long as the last time, or give it up after a day."""
        if now - orphan.seen_at < OLDEST:
            if error is not None:
                log.warning("Cannot cancel %s, trying again in %s: %s", orphan, orphan.pause, error)
            pause = min(2 * orphan.pause, _LONGEST_PAUSE)
            self._waiting[orphan.key] = replace(orphan, due_at=now + orphan.pause, pause=pause)
            return
        log.error("Cannot cancel %s: %s. End it in its service's console.", orphan, error)
        self._waiting.pop(orphan.key, None)
        self._settle(orphan)

    def _settle(self, orphan: Orphan) -> None:
        self._settled[orphan.key] = None
        while len(self._settled) > _REMEMBERED:
            self._settled.popitem(last=False)


def _ended_by_a_person(airflow: AirflowState, orphan: Orphan) -> bool:
    return ended_by_a_person(orphan.attempt, orphan.acts, airflow.last_report(orphan.run, orphan.attempt))


async def end_job(orphan: Orphan, operator: Mapping[str, Any] | None) -> bool:
    """
    Cancel an orphan's job unless it has ended.

    :param operator: templated parameters of the task's operator, as the DAG has them; None where that is gone.
    :return: whether it is done with; False to look again.
    :raises CannotCancelError: the service cannot.
    :raises ConfigurationError: what the task recorded is nothing that the reconciler may act on.
    :raises RemoteCallError: the call failed.
    """
    jobs = orphan.jobs
    assert jobs.service is not None
    service = await recorded_service(jobs.service, operator)
    if jobs.job is not None:
        job = service.check_job(jobs.job)
    else:
        assert jobs.intent is not None
        found = await service.afind(service.check_intent(jobs.intent))
        if found is None:
            return datetime.now(UTC) - orphan.seen_at > _LOOKUP
        job = found
    try:
        if (await service.astatus(job)).ended:
            return True
    except JobNotFoundError:
        return True
    except RemoteCallError as error:
        log.info("Cannot tell whether job %s still runs: %s", job["id"], error)
    await service.acancel(job)
    what = "deleted its run" if orphan.run_gone else "cleared its task" if orphan.cleared else "ended its task"
    log.info("Cancelled the %s: a person %s.", orphan, what)
    return True


def may_run(jobs: RemoteJobState) -> bool:
    """Tell whether there is a job that, as far as its task knows, has not ended, and that a person who ends the task ends."""
    if not jobs.running or jobs.service is None or (jobs.job or {}).get("adopted"):
        return False
    return jobs.job is not None or jobs.intent is not None


def _unattended(run: RunState, now: datetime, *, run_gone: bool) -> Iterator[tuple[TryState, RemoteJobState]]:
    """Yield the task instances that have ended although their job, as far as they know, has not."""
    for attempt in run.tries:
        jobs = run.jobs.get((attempt.task_id, attempt.map_index))
        if jobs is None or not attempt.live or not may_run(jobs):
            continue
        # Of a cleared task only what is known by its id: a look-up could find what the next try has started.
        cleared = _cleared(attempt, jobs) and attempt.state not in _AT_WORK and jobs.job is not None
        over = attempt.state in ENDED_STATES or cleared
        if run_gone or (over and (attempt.updated_at or now) > now - OLDEST):
            yield attempt, jobs


def _cleared(attempt: TryState, jobs: RemoteJobState) -> bool:
    """
    Tell whether a person has cleared the task since its job was recorded.

    Airflow raises ``max_tries`` for a task that was cleared while it ran only if its process then ends in peace; where it is lost
    too, nothing but the state tells of the clear, and the next try would go on with the old job.
    """
    return attempt.state == "restarting" or (jobs.chain is not None and jobs.chain != attempt.max_tries)
