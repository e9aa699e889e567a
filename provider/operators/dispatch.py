"""
Batch requests → DAG runs.

The triggerer has no way to create a run, so one task does it for all requests that wait, through the supervisor of its own
process. A run carries the id of its request, which makes starting it twice harmless: where the run is there already and
carries our id, an earlier attempt got that far and died before it could say so.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.observability import stats

from provider import settings
from provider.batch_ids import check_batch_id, check_dag_id, quote_run_id
from provider.exceptions import MessageError
from provider.metadata.request_queue import (
    CLAIM_SECONDS,
    DISPATCHED,
    DUPLICATE,
    FIRST_BACKOFF_SECONDS,
    RECEIVED,
    RECORDED,
    REJECTED,
    WaitingRequest,
    claim,
    explain_waiting,
    mark,
    postpone,
    sweep,
)
from provider.operators.task_batch import used_params
from provider.sensors.pubsub import PubSubBatchRequestSensor

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import Logger
    from sqlalchemy.orm import Session

DISPATCH_SECONDS = 30.0
"""How long the dispatcher claims requests before it listens to Pub/Sub again."""

HELP_SECONDS = 300.0
"""How long a helper claims requests. Where it is still needed then, the dispatcher of that time calls another one."""

START_SECONDS = 0.75 * CLAIM_SECONDS
"""How long runs of one claim are started. What is left is given back before the claim runs out, for somebody else to take."""

FIRST_CLAIM_FACTOR = 4
"""The dispatcher's first claim is so many times a usual one. If even that is full, it is a burst: too many requests for one task
to start them soon."""

_SWEEPS = 20
"""How many times a thousand old requests one task deletes at most, in a transaction each."""


@dataclass(frozen=True)
class Outcome:
    """
    What became of one attempt to start a run.

    :param state: ``dispatched``, ``recorded``, ``duplicate``, ``rejected``, or ``received`` for a request that goes on waiting.
    :param outage: Airflow does not answer, so trying its workflow's other requests now makes no sense.
    :param attempted: False for a request that was spared the attempt.
    """

    state: str
    reason: str | None = None
    outage: bool = False
    attempted: bool = True


class DispatchBatchRequestsOperator(PubSubBatchRequestSensor):
    """
    Waits for batch requests, for as long as it takes, and starts one DAG run for each that waits.

    The wait is in the triggerer from the start and takes no worker. One short task then starts all runs, 15 to 45 ms each.
    Parameters: see :class:`~provider.sensors.pubsub.PubSubBatchRequestSensor`; its ``timeout`` has no meaning here.

    :param burst_dag_id: a DAG with a :class:`DispatchDueRequestsOperator`, of which runs are started in a burst; None where this
        task starts all runs itself.
    :param burst_helpers: runs of that DAG at a time.
    """

    def __init__(self, *, burst_dag_id: str | None = None, burst_helpers: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.burst_dag_id = burst_dag_id
        self.burst_helpers = burst_helpers

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, int]:  # noqa: ARG002 - Airflow calls it so
        """
        Start the runs. The event is a hint; what is to be done is in the inbox.

        :return: how many requests went into each state.
        """
        counts = dispatch(self.log, burst_dag_id=self.burst_dag_id, helpers=self.burst_helpers)
        self._clean_up()
        return dict(counts)

    def limit(self) -> None:
        """Wait for ever: a dispatcher without messages is not a failure."""

    def _clean_up(self) -> None:
        """Delete old requests, and say of the waiting ones what they wait for."""
        from provider.metadata.engine import write_session

        with write_session() as session:
            explain_waiting(session)
        for _ in range(_SWEEPS):
            with write_session() as session:
                if not sweep(session, timedelta(days=settings.get_float("inbox_retention_days"))):
                    break


class DispatchDueRequestsOperator(BaseOperator):
    """
    Starts one DAG run for each batch request that is due now, beside the dispatcher and others of its kind.

    Airflow's API server takes the runs of one task one after another; with several tasks it has several to do at once.
    """

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - Airflow calls it so
        """Start the runs; return how many requests went into each state."""
        return dict(dispatch(self.log, seconds=HELP_SECONDS))


def dispatch(
    log: Logger, *, limit: int = 25, seconds: float = DISPATCH_SECONDS, burst_dag_id: str | None = None, helpers: int = 0
) -> Counter[str]:
    """
    Start a run for every request that is due.

    What came of the requests of one claim is recorded together, as a transaction for each would take longer than its start.
    After a crash before that, the next attempt finds the runs there and knows them for its own.

    :param limit: requests claimed at a time, but for the first time where there may be helpers.
    :param seconds: after which nothing is claimed any more.
    :param burst_dag_id: see :class:`DispatchBatchRequestsOperator`.
    :param helpers: runs of that DAG at a time.
    :return: how many requests went into each state.
    """
    from provider.metadata.engine import write_session

    counts: Counter[str] = Counter()
    failing: dict[str, Outcome] = {}
    end = time.monotonic() + seconds
    burst = _Burst(log, burst_dag_id, helpers)
    size = limit if burst_dag_id is None else FIRST_CLAIM_FACTOR * limit
    while True:
        start_until = time.monotonic() + START_SECONDS
        with write_session() as session:
            requests = claim(session, size)
        if not requests:
            break
        burst.claimed(requests[0].id, full=len(requests) == size)
        size = limit
        outcomes: list[tuple[WaitingRequest, Outcome]] = []
        try:
            _start(log, requests, outcomes, failing, start_until)
        finally:
            # One entry for all of them: every entry passes through the supervisor, which is busy starting runs.
            started = [f"{item.workflow_id} {item.batch_id}" for item, outcome in outcomes if outcome.state == DISPATCHED]
            log.info("Started: %s", ", ".join(started) or "nothing")
            with write_session() as session:
                _record(session, outcomes)
        counts.update(outcome.state for _, outcome in outcomes)
        if len(failing) > 1 or time.monotonic() > end:
            break
    for state, count in counts.items():
        if state != RECEIVED:  # it was counted when it came; now it goes on waiting
            stats.incr(f"accelerator.requests.{state}", count)
    log.info("Dispatched the inbox: %s", dict(counts))
    return counts


def _start(
    log: Logger,
    requests: Sequence[WaitingRequest],
    outcomes: list[tuple[WaitingRequest, Outcome]],
    failing: dict[str, Outcome],
    until: float,
) -> None:
    """
    Start the runs of some requests.

    :param outcomes: gets what came of each, one by one, so that it is there if this does not come to its end.
    :param failing: workflow → answer, of those for which Airflow did not answer; gets more of them. One of them spares its own
        requests the attempt, since the fault may be the workflow's; two spare those of all others.
    :param until: monotonic time after which nothing is started any more.
    """
    for request in requests:
        spared = failing.get(request.workflow_id) or (next(iter(failing.values())) if len(failing) > 1 else None)
        if spared is None and time.monotonic() > until:
            spared = Outcome(RECEIVED, "waits: Airflow's API is slow.")
        if spared is not None:
            outcomes.append((request, replace(spared, attempted=False)))
            continue
        outcome = start_dag_run(request)
        outcomes.append((request, outcome))
        if outcome.state != DISPATCHED:
            log.info(
                "Request %d, batch %s of workflow %s: %s (%s)",
                *(request.id, request.batch_id, request.workflow_id, outcome.state, outcome.reason),
            )
        if outcome.outage:
            failing[request.workflow_id] = outcome


class _Burst:
    """
    Calls runs of a DAG to help, for as long as claims come back full. Without them a burst merely takes longer.

    They are called one by one: a worker of Airflow's API server keeps a task's connection for good, and of several tasks that
    come at once one worker may take all.

    :param dag_id: None where there are no helpers.
    :param helpers: how many there may be at a time.
    """

    def __init__(self, log: Logger, dag_id: str | None, helpers: int) -> None:
        self._log = log
        self._dag_id = dag_id or ""
        self._helpers = helpers
        self._missing = None if dag_id else 0
        """How many may still be called; None while nobody has counted."""

    def claimed(self, request_id: int, *, full: bool) -> None:
        """
        Call a helper, if there are not enough.

        :param request_id: first request of the claim, which makes the id of the helper's run unique.
        :param full: whether there may be more to claim.
        """
        from airflow.sdk.api.client import ServerResponseError
        from airflow.sdk.exceptions import AirflowRuntimeError

        if not full:
            self._missing = 0
        try:
            if self._missing is None:
                self._missing = self._count_missing()
            if self._missing > 0:
                _trigger(self._dag_id, f"burst_{datetime.now(UTC):%Y%m%dT%H%M%S}_{request_id}", {})
                self._missing -= 1
                self._log.info("A burst: called %s to help.", self._dag_id)
        except (AirflowRuntimeError, ServerResponseError) as error:
            self._missing = 0
            _, _, text = _answer(error)
            self._log.warning("No further help with this burst, %s could not be started: %s", self._dag_id, text)

    def _count_missing(self) -> int:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        there = RuntimeTaskInstance.get_dr_count(self._dag_id, states=["queued", "running"])
        if there:
            self._log.info("A burst: %d runs of %s are there already, or wait because that DAG is paused.", there, self._dag_id)
        return max(0, self._helpers - there)


def _record(session: Session, outcomes: Sequence[tuple[WaitingRequest, Outcome]]) -> None:
    mark(session, [request.id for request, outcome in outcomes if outcome.state == DISPATCHED], DISPATCHED)
    for request, outcome in outcomes:
        if outcome.state == RECEIVED:
            # A request that was not even tried comes next soon, before the one that showed the outage.
            postpone(session, request.id, outcome.reason or "", None if outcome.attempted else FIRST_BACKOFF_SECONDS)
        elif outcome.state != DISPATCHED:
            mark(session, [request.id], outcome.state, outcome.reason)


def start_dag_run(request: WaitingRequest) -> Outcome:
    """
    Start the DAG run of a request.

    The ids are checked once more, as a row may have come from elsewhere than the inbox.
    """
    from airflow.sdk.api.client import ServerResponseError
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        dag_id = check_dag_id(request.workflow_id)
        run_id = quote_run_id(check_batch_id(request.batch_id))
    except MessageError as error:
        return Outcome(REJECTED, str(error))
    try:
        if _trigger(dag_id, run_id, run_conf(request)):
            return Outcome(DISPATCHED)
        return _existing_run(request, dag_id, run_id)
    except (AirflowRuntimeError, ServerResponseError) as error:
        return _refusal(request, *_answer(error))


def _trigger(dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
    """
    Start a DAG run; the only place that sends ``TriggerDagRun``.

    The message to the supervisor is not part of Airflow's public interface; it answers OK, ``DAGRUN_ALREADY_EXISTS``, or raises
    for every other refusal.

    :param run_id: quoted.
    :return: False where there is such a run already.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun

    answer = task_runner.SUPERVISOR_COMMS.send(TriggerDagRun(dag_id=dag_id, run_id=run_id, logical_date=None, conf=conf))
    if not isinstance(answer, ErrorResponse):
        return True
    if answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
        raise AirflowRuntimeError(answer)
    return False


def run_conf(request: WaitingRequest) -> dict[str, Any]:
    """Return the conf of the request's DAG run; ``_accelerator`` tells whose run it is, and what was done before it."""
    origin: dict[str, Any] = {"request_id": request.id, "message_id": request.message_id}
    if request.kind == "completion" and request.task_id not in (request.start_task_ids or ()):
        origin["completed_task_id"] = request.task_id
    conf = {**request.params, "scope": request.scope, "_accelerator": origin}
    return conf if request.start_task_ids is None else {**conf, "start_task_id": request.start_task_ids}


def _existing_run(request: WaitingRequest, dag_id: str, run_id: str) -> Outcome:
    """Tell whether the run that is in the way is the request's own, started by an attempt that could not record it."""
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import DagRunResult, ErrorResponse, GetDagRun

    answer = task_runner.SUPERVISOR_COMMS.send(GetDagRun(dag_id=dag_id, run_id=run_id))
    if isinstance(answer, ErrorResponse):
        raise AirflowRuntimeError(answer)
    if not isinstance(answer, DagRunResult):
        raise TypeError(f"Airflow answered GetDagRun with {type(answer).__name__}; expected a DagRunResult.")
    origin = (answer.conf or {}).get("_accelerator")
    if origin == run_conf(request)["_accelerator"]:
        return Outcome(DISPATCHED)
    if request.kind == "completion":
        return Outcome(RECORDED, "its batch exists.")
    found = f"a run {request.batch_id!r} of {dag_id!r} exists already ({answer.run_type.value}, {answer.state.value})"
    if isinstance(origin, dict):
        return Outcome(DUPLICATE, f"{found}, started by message {origin.get('message_id')}; a new run needs a new batch_id.")
    return Outcome(REJECTED, f"{found}, and no message has started it; send the message again with a new batch_id.")


def _answer(error: Exception) -> tuple[int | None, str | None, str]:
    """Return HTTP status, Airflow's reason code and text of a refusal, from the supervisor or (``dags test``) at first hand."""
    from airflow.sdk.exceptions import AirflowRuntimeError

    if isinstance(error, AirflowRuntimeError):
        detail: dict[str, Any] = error.error.detail or {}
        status, body = detail.get("status_code"), detail.get("detail")
    else:
        response = getattr(error, "response", None)
        status, body = getattr(response, "status_code", None), getattr(error, "detail", None)
    inner = body.get("detail", body) if isinstance(body, dict) else body
    if isinstance(inner, dict) and "message" in inner:
        return status, inner.get("reason"), str(inner["message"])
    return status, None, str(inner or error)


def _refusal(request: WaitingRequest, status: int | None, reason: str | None, text: str) -> Outcome:
    """Decide whether a refused request can ever be started."""
    text = _without_secrets(" ".join(text.split())[:1000], request.params)
    if status in (400, 422) and reason != "import_errors":
        todo = "correct the message and send it again."
        if request.kind == "completion":
            todo = "start the batch with the params it needs; this end of a task counts then."
        return Outcome(REJECTED, f"Airflow refuses the run: {text}; {todo}")
    if status == 400:
        return Outcome(RECEIVED, f"waits: {text}; it starts once the DAG file can be imported.")
    if status == 404:
        return Outcome(
            RECEIVED,
            f"waits: Airflow has no DAG {request.workflow_id!r} yet ({text}); it is new, or its definition is broken: "
            "`accelerator validate` tells.",
        )
    return Outcome(
        RECEIVED, f"waits: Airflow's API answers {status or 'nothing'} ({text}).", outage=status is None or status >= 500
    )


def _without_secrets(text: str, params: dict[str, Any]) -> str:
    """Shorten what Airflow says of params to the name of the wrong one where some are secret: it quotes their values."""
    if used_params(params) == params:
        return text
    wrong = re.match(r"Invalid input for param [\w.-]+", text)
    return f"{wrong[0] if wrong else 'it does not say which param is wrong'} (the rest may quote a secret)"
