"""Claims requests and starts their runs, until nothing is due."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

from provider.dispatch.burst import Burst
from provider.dispatch.by_supervisor import SupervisorRuns
from provider.dispatch.outcomes import DagRuns, Outcome, outcome_of_failure, start_dag_run
from provider.metadata.rows import CLAIM_SECONDS, ClaimedRequest
from provider.metadata.states import DISPATCHED, RECEIVED
from provider.threads import in_thread

if TYPE_CHECKING:
    from logging import Logger as StandardLogger

    from airflow.sdk.types import Logger

#: How long the dispatcher claims requests before it listens to Pub/Sub again, in seconds.
DISPATCH_SECONDS = 30.0

#: How long a helper claims requests, in seconds. Where it is still needed then, the dispatcher of that time calls another one.
HELP_SECONDS = 300.0

#: How long runs of one claim are started, in seconds. What is left is given back before the claim runs out, for somebody else.
START_SECONDS = 0.75 * CLAIM_SECONDS

#: The dispatcher's first claim is so many times a usual one. If even that is full, it is a burst: too many requests for one
#: task to start them soon.
FIRST_CLAIM_FACTOR = 4


def dispatch(
    log: Logger | StandardLogger,
    runs: DagRuns | None = None,
    *,
    limit: int = 25,
    seconds: float = DISPATCH_SECONDS,
    start_seconds: float = START_SECONDS,
    burst_dag_id: str | None = None,
    helpers: int = 0,
) -> Counter[str]:
    """
    Start a run for every request that is due.

    What came of the requests of one claim is recorded together, as a transaction for each would take longer than its start.
    After a crash before that, the next attempt finds the runs there and knows them for its own.

    :param runs: how runs are started; by default as a task does it.
    :param limit: requests claimed at a time, but for the first time where there may be helpers.
    :param seconds: after which nothing is claimed any more.
    :param start_seconds: after which what is left of a claim is given back.
    :param burst_dag_id: a DAG of which runs are started in a burst; None where this task starts all runs itself.
    :param helpers: runs of that DAG at a time.
    :return: how many requests went into each state.
    """
    from provider.metadata.engine import write_session
    from provider.metadata.request_queue import claim

    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    burst = Burst(log, burst_dag_id, helpers)
    starts = _Starts(log, runs or SupervisorRuns())
    size = limit if burst_dag_id is None else FIRST_CLAIM_FACTOR * limit
    while True:
        start_until = time.monotonic() + start_seconds
        with write_session() as session:
            requests = claim(session, size)
        if not requests:
            break
        burst.claimed(requests[0].id, full=len(requests) == size)
        size = limit
        try:
            starts.start(requests, start_until)
        finally:
            counts.update(_record(log, starts.take_outcomes()))
        if starts.is_outage or time.monotonic() > end:
            break
    for state, count in counts.items():
        if state != RECEIVED:  # it was counted when it came; now it goes on waiting
            stats.incr(f"accelerator.requests.{state}", count)
    log.info("Dispatched the inbox: %s", dict(counts))
    return counts


Outcomes = Sequence[tuple[ClaimedRequest, Outcome]]


@dataclass
class _Starts:
    """
    Starts runs and keeps what came of each, so that it is there if that does not come to its end.

    A workflow for which Airflow did not answer, or a start failed unexpectedly, spares its own requests the attempt, since the
    fault may be the workflow's; two such workflows are an outage, which spares those of all others.
    """

    log: Logger | StandardLogger
    runs: DagRuns
    _outcomes: list[tuple[ClaimedRequest, Outcome]] = field(default_factory=list)
    #: Workflow → what came of the start, of those workflows.
    _failing: dict[str, Outcome] = field(default_factory=dict)

    @property
    def is_outage(self) -> bool:
        """Whether it makes no sense to go on."""
        return len(self._failing) > 1

    def start(self, requests: Sequence[ClaimedRequest], until: float) -> None:
        """
        Start the runs of some requests.

        :param until: monotonic time after which nothing is started any more.
        """
        for first in range(0, len(requests), self.runs.concurrency):
            group = requests[first : first + self.runs.concurrency]
            begun: list[tuple[ClaimedRequest, Callable[[], Outcome]]] = []
            for request in group:
                spared = self._spared(request, until)
                if spared is not None:
                    self._outcomes.append((request, replace(spared, attempted=False)))
                else:
                    begun.append((request, self._begin(request)))
            for request, result in begun:
                self._take(request, self._outcome(request, result))

    def _begin(self, request: ClaimedRequest) -> Callable[[], Outcome]:
        """Begin to start a run where several are started at a time; return what waits for the outcome."""
        start = partial(start_dag_run, request, self.runs)
        return start if self.runs.concurrency == 1 else in_thread(start, "accelerator-start-run").result

    def _outcome(self, request: ClaimedRequest, result: Callable[[], Outcome]) -> Outcome:
        """Wait for an outcome; a failure is one too, or it would keep those behind the request waiting again and again."""
        try:
            return result()
        except Exception as error:  # noqa: BLE001 - told in the log and in the request's reason
            outcome = outcome_of_failure(request, error)
            if request.workflow_id not in self._failing:
                # The places alone: the error as it is may quote params, and those may be secret.
                places = "".join(traceback.format_tb(error.__traceback__))
                self.log.error(
                    "Request %d, batch %s of workflow %s: %s\n%s",
                    *(request.id, request.batch_id, request.workflow_id, outcome.reason, places),
                )
            return outcome

    def _take(self, request: ClaimedRequest, outcome: Outcome) -> None:
        self._outcomes.append((request, outcome))
        if outcome.state != DISPATCHED:
            self.log.info(
                "Request %d, batch %s of workflow %s: %s (%s)",
                *(request.id, request.batch_id, request.workflow_id, outcome.state, outcome.reason),
            )
        if outcome.outage:
            self._failing[request.workflow_id] = outcome

    def _spared(self, request: ClaimedRequest, until: float) -> Outcome | None:
        """Return what becomes of a request that is not worth an attempt; None for one that is."""
        if request.workflow_id in self._failing:
            return self._failing[request.workflow_id]
        if self.is_outage:
            return next(iter(self._failing.values()))
        return Outcome(RECEIVED, "waits: Airflow's API is slow.") if time.monotonic() > until else None

    def take_outcomes(self) -> Outcomes:
        """Return what came of the requests since the last time."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes


def _record(log: Logger | StandardLogger, outcomes: Outcomes) -> Counter[str]:
    """Write what came of the requests of one claim, in one transaction; return how many went into each state."""
    from provider.metadata.engine import write_session
    from provider.metadata.request_queue import FIRST_PAUSE_SECONDS, mark, postpone

    # One entry for all of them: every entry passes through the supervisor, which is busy starting runs.
    started = [request for request, outcome in outcomes if outcome.state == DISPATCHED]
    log.info("Started: %s", ", ".join(f"{item.workflow_id} {item.batch_id}" for item in started) or "nothing")
    with write_session() as session:
        mark(session, [request.id for request in started], DISPATCHED)
        for request, outcome in outcomes:
            if outcome.state == RECEIVED:
                # A request that was not even tried comes next soon, before the one that showed the outage.
                postpone(session, request.id, outcome.reason or "", None if outcome.attempted else FIRST_PAUSE_SECONDS)
            elif outcome.state != DISPATCHED:
                mark(session, [request.id], outcome.state, outcome.reason)
    return Counter(outcome.state for _request, outcome in outcomes)
