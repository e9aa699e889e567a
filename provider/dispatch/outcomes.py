"""One request → its DAG run, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from provider.airflow_internals.supervisor import AirflowRefusedError, FoundRun
from provider.batch_ids import check_batch_id, check_dag_id
from provider.exceptions import MessageError
from provider.metadata.rows import ClaimedRequest
from provider.metadata.states import DISPATCHED, DUPLICATE, RECEIVED, RECORDED, REJECTED
from provider.run_conf import Origin, conf_of_run, origin_of, used_params
from provider.texts import one_line

#: Longest part of what Airflow says that goes into a reason, in characters.
_LONGEST_ANSWER = 1000


class DagRuns(Protocol):
    """The DAG runs of this Airflow, by one of the ways to reach them. Both methods raise AirflowRefusedError."""

    #: How many runs may be started at a time.
    concurrency: int

    def start(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
        """Start a run without a logical date; return False where there is such a run already."""

    def find(self, dag_id: str, run_id: str) -> FoundRun:
        """Return a run that is there."""


@dataclass(frozen=True)
class Outcome:
    """
    What became of one attempt to start a run.

    :param state: ``dispatched``, ``recorded``, ``duplicate``, ``rejected``, or ``received`` for a request that goes on waiting.
    :param outage: Airflow does not answer, or what calls it fails, so trying its workflow's other requests now makes no sense.
    :param attempted: False for a request that was spared the attempt.
    """

    state: str
    reason: str | None = None
    outage: bool = False
    attempted: bool = True


def start_dag_run(request: ClaimedRequest, runs: DagRuns) -> Outcome:
    """
    Start the DAG run of a request.

    The ids are checked once more, as a row may have come from elsewhere than the inbox.
    """
    try:
        dag_id, run_id = check_dag_id(request.workflow_id), check_batch_id(request.batch_id)
    except MessageError as error:
        return Outcome(REJECTED, str(error))
    try:
        if runs.start(dag_id, run_id, conf_of_request(request)):
            return Outcome(DISPATCHED)
        return _outcome_of_existing(request, runs.find(dag_id, run_id))
    except AirflowRefusedError as refusal:
        return _outcome_of_refusal(request, refusal)


def conf_of_request(request: ClaimedRequest) -> dict[str, Any]:
    """Return the conf of the request's DAG run."""
    return conf_of_run(
        request.params, scope=request.scope, start_task_ids=request.start_task_ids, origin=_origin_of_request(request)
    )


def _origin_of_request(request: ClaimedRequest) -> Origin:
    done_before = request.kind == "completion" and request.task_id not in (request.start_task_ids or ())
    task_id = request.task_id if done_before else None
    return Origin(request.id, request.message_id, request.workflow_id, request.batch_id, task_id)


def _outcome_of_existing(request: ClaimedRequest, run: FoundRun) -> Outcome:
    """Tell whether the run that is in the way is the request's own, started by an attempt that could not record it."""
    origin = origin_of(run.conf)
    if origin == _origin_of_request(request).as_conf():
        return Outcome(DISPATCHED)
    if request.kind == "completion":
        return Outcome(RECORDED, "its batch exists.")
    found = f"a run {request.batch_id!r} of {request.workflow_id!r} exists already ({run.run_type}, {run.state})"
    if origin is not None:
        return Outcome(DUPLICATE, f"{found}, started by message {origin.get('message_id')}; a new run needs a new batch_id.")
    return Outcome(REJECTED, f"{found}, and no message has started it; send the message again with a new batch_id.")


def _outcome_of_refusal(request: ClaimedRequest, refusal: AirflowRefusedError) -> Outcome:
    """Decide whether a refused request can ever be started."""
    status = refusal.status
    text = _answer(refusal, request.params)
    if status in (400, 422) and refusal.reason != "import_errors":
        todo = "correct the message and send it again."
        if request.kind == "completion":
            todo = "start the batch with the params it needs; this end of a task counts then."
        return Outcome(REJECTED, f"{refused_run(refusal, request.params)}; {todo}")
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


def outcome_of_failure(request: ClaimedRequest, error: Exception) -> Outcome:
    """Tell what becomes of a request whose start failed as nothing that is known does: it is not known what is at fault."""
    from provider.airflow_internals.secrets import redact

    said = _answer(redact(str(error)), request.params)
    return Outcome(RECEIVED, f"waits: its run could not be started ({type(error).__name__}: {said}).", outage=True)


def refused_run(refusal: Exception, params: dict[str, Any]) -> str:
    """Return what to tell people of a run that Airflow refuses, without a full stop."""
    return f"Airflow refuses the run: {_answer(refusal, params)}"


def _answer(said: object, params: dict[str, Any]) -> str:
    return _without_secrets(one_line(said, _LONGEST_ANSWER), params)


def _without_secrets(text: str, params: dict[str, Any]) -> str:
    """Shorten what Airflow says of params to the name of the wrong one where some are secret: it quotes their values."""
    from provider.airflow_internals.secrets import redact

    if used_params(params, redact) == params:
        return text
    wrong = re.match(r"Invalid input for param [\w.-]+", text)
    return f"{wrong[0] if wrong else 'it does not say which param is wrong'} (the rest may quote a secret)"
