"""``accelerator why``: what keeps a task, a batch or a message from running."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

from provider.airflow_internals.secrets import redact
from provider.airflow_view.opening import open_view
from provider.airflow_view.view import RunsView
from provider.cli.ids import only_batch
from provider.cli.output import busy, say, write_data, write_table
from provider.exceptions import AcceleratorError, UnseenError
from provider.explain.answers import Answer, cause, passes
from provider.explain.batches import BatchFacts, explain_batch, explain_end, explain_task_of
from provider.explain.messages import explain_in_airflow, explain_request, is_airflows
from provider.metadata.batch_queries import batches_with_id
from provider.metadata.engine import read_session
from provider.metadata.request_queries import request_of
from provider.metadata.rows import StoredRequest
from provider.texts import first_line
from provider.threads import within

#: How long Airflow may take for all its answers, in seconds.
_SECONDS = 60.0


def why(args: argparse.Namespace) -> int:
    """
    Say what keeps a task, a batch or a message from running.

    :raises AcceleratorError: there is no such batch, task or message, or Airflow cannot be asked.
    """
    *task, name = args.names
    if len(task) > 1:
        raise AcceleratorError("name a batch or a message, or a task and its batch; nothing more.")
    facts, request = _found(name, args.workflow, only_batches=bool(task))
    answers: Sequence[Answer] = _of_request(request, datetime.now(UTC)) if request is not None else ()
    if facts is not None and facts.ended and not task:
        answers = [*answers, explain_end(facts)]  # also where Airflow cannot be asked
    elif facts is not None:
        answers = [*answers, *_asked(partial(_explain, facts, task))]
    if args.output != "table":
        write_data([asdict(answer) for answer in answers], args.output)
        return 0
    first = cause(answers)
    say(f"{first.reason} {first.remedy}".strip())
    if len(answers) > 1:
        rows = [("ok" if one.passed else "here", one.name, one.reason, one.remedy) for one in answers]
        write_table(("found", "looked at", "reason", "remedy"), rows, below=("reason", "remedy"))
    return 0


def _found(name: str, workflow_id: str | None, *, only_batches: bool) -> tuple[BatchFacts | None, StoredRequest | None]:
    """Return the batch that is meant; where there is none the message, with the batch that it has started."""
    with read_session() as session:
        request = None
        batch_id, workflow = name, workflow_id
        if not only_batches and not batches_with_id(session, name, workflow_id, earlier=True):
            request = request_of(session, name, workflow_id)
            if request is not None:
                batch_id, workflow = request["batch_id"] or "", request["workflow_id"]
                if request["state"] != "dispatched" or not batches_with_id(session, batch_id, workflow, earlier=True):
                    return None, request
        batch = only_batch(session, batch_id, workflow)
        return BatchFacts.read(session, batch), request


def _of_request(request: StoredRequest, now: datetime) -> list[Answer]:
    """Return the answers for a message, what Airflow knows of it first; where that cannot be asked, its row is enough."""
    answers = explain_request(request, now)
    if not is_airflows(request, now):
        return answers
    try:
        return [*_asked(partial(explain_in_airflow, request)), *answers]
    except AcceleratorError as error:
        return [*answers, passes("airflow", first_line(redact(str(error))))]


def _explain(facts: BatchFacts, task: Sequence[str], view: RunsView) -> list[Answer]:
    return explain_task_of(facts, task[0], view) if task else explain_batch(facts, view)


def _asked(ask: Callable[[RunsView], list[Answer]]) -> list[Answer]:
    try:
        with busy("Asking Airflow"):
            return within(_SECONDS, lambda: ask(open_view()), "accelerator-why")
    except UnseenError as error:
        raise AcceleratorError(f"Airflow cannot be asked: {first_line(redact(str(error)))}. {error.remedy}") from error
    except TimeoutError as error:
        raise AcceleratorError(f"Airflow cannot be asked: {error}. `accelerator doctor` says more.") from error
