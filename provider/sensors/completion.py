"""A task whose work is done elsewhere: it ends as a message says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout

from provider.batch_ids import check_batch_id
from provider.exceptions import MessageError
from provider.metadata.rows import TaskKey
from provider.metadata.states import SUCCESS
from provider.pacing import AFTER_DEFERRAL
from provider.texts import first_line
from provider.triggers.completion import TaskCompletionTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context
    from sqlalchemy.orm import Session

__all__ = ["TaskCompletionSensor"]

#: The key in the task's ``task_state_store`` of what it remembers of its earlier tries.
LEDGER_KEY = "completion"

#: Longest error of a message that goes into the task's own, in characters.
_LONGEST_ERROR = 2000


class TaskCompletionSensor(BaseSensorOperator):
    """
    Waits in the triggerer, without a worker slot, for the message that says how this task has ended, and ends with it.

    The last message about the task in this batch counts, also one that came before the task was reached. After a person has
    cleared it, a ``SUCCESS`` still holds; the ``ERROR`` with which it has failed, or a copy of it, does not fail it again.

    Returns ``{"message_id": …}`` of the message.

    :param poke_interval: seconds between two looks into the inbox.
    :param timeout: seconds until the wait fails; Airflow's ``[sensors] default_timeout``, seven days, by default.
    :raises AirflowFailException: the message says ``ERROR``; a retry would change nothing.
    :raises AirflowException: the application database cannot be used; a retry may help.
    :raises AirflowSensorTimeout: no message came in time; the text has the message that was missing.
    """

    ui_color = "#e8e3f5"

    def __init__(self, *, poke_interval: float = 2.0, **kwargs: Any) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)

    def execute(self, context: Context) -> dict[str, str]:
        """End with the message that is there, or wait for it."""
        with self._reading() as session:
            after = self._known_up_to(session, context)
        return self._end(context, after)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, str]:  # noqa: ARG002 - Airflow calls it so
        """Read the message of which the event tells."""
        return self._end(context, _entry(context).get("after", 0))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after the wait; one that took too long says what it waited for, where Airflow has but a word for it."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout as error:
            raise AirflowSensorTimeout(self._what_it_waited_for(context)) from error

    def _what_it_waited_for(self, context: Context) -> str:
        workflow_id, batch_id, task_id = _key(context)
        waited = timedelta(seconds=float(self.timeout))
        text = f"no message said within {waited} how {task_id} has ended in batch {batch_id} of {workflow_id}."
        try:
            check_batch_id(batch_id)
        except MessageError as error:
            return f"{text} None can, since no message may name this batch: {error}"
        message = json.dumps({"previous_task_id": task_id, "batch_id": batch_id, "status": "SUCCESS"})
        return (
            f"{text} Whoever does its work publishes {message} to the dispatcher's topic; then clear the task. "
            "To wait for longer, raise `timeout` (in a row `wait_timeout`)."
        )

    def _end(self, context: Context, after: int) -> dict[str, str]:
        """End with the latest message; wait where there is none that this chain of tries may end with."""
        from provider.metadata.completions import latest_completion

        with self._reading() as session:
            completion = latest_completion(session, _key(context))
        if completion is None or completion.id <= after:
            self._wait(context, after)
        if completion.status == SUCCESS:
            return {"message_id": completion.message_id}
        _remember(context, after=after, failed_by=completion.id)
        raise AirflowFailException(
            f"message {completion.message_id} says that {self.task_id} has failed: "
            f"{(completion.error or 'it gives no reason')[:_LONGEST_ERROR]}"
        )

    def _known_up_to(self, session: Session, context: Context) -> int:
        """
        Return the id of the request up to which messages do not count any more in this chain of tries.

        A chain begins with a person's clear, which raises ``max_tries``. The error that the last one ended with is dealt with
        then, and so are its copies: a publisher may repeat itself.
        """
        from provider.metadata.completions import latest_copy

        entry = _entry(context)
        after = int(entry.get("after", 0))
        if entry and entry["chain"] != _chain(context):
            if entry["failed_by"]:
                after = max(after, latest_copy(session, _key(context), entry["failed_by"]))
            _remember(context, after=after, failed_by=0)
        return after

    def _wait(self, context: Context, after: int) -> NoReturn:
        workflow_id, batch_id, task_id = _key(context)
        self.defer(
            trigger=TaskCompletionTrigger(
                workflow_id=workflow_id,
                batch_id=batch_id,
                task_id=task_id,
                after=after,
                poll_interval=float(self.poke_interval),
                first_event_after=AFTER_DEFERRAL,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=float(self.timeout)),
        )

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        from sqlalchemy.exc import SQLAlchemyError

        from provider.metadata.engine import read_session

        try:
            with read_session() as session:
                yield session
        except SQLAlchemyError as error:
            raise AirflowException(
                f"the messages about {self.task_id} could not be read from the application database: "
                f"{first_line(error, 500)}. Check the database and [accelerator] sql_alchemy_conn."
            ) from error


def _key(context: Context) -> TaskKey:
    ti = context["ti"]
    return (ti.dag_id, ti.run_id, ti.task_id)


def _chain(context: Context) -> int:
    return int(context["ti"].max_tries or 0)


def _entry(context: Context) -> dict[str, int]:
    """Return what this task remembers of its earlier tries: ``chain``, ``after``, ``failed_by`` (a request's id, or 0)."""
    store = context.get("task_state_store")
    stored: Any = store.get(LEDGER_KEY) if store is not None else None
    return dict(stored) if isinstance(stored, dict) else {}


def _remember(context: Context, *, after: int, failed_by: int) -> None:
    store = context.get("task_state_store")
    if store is not None:
        store.set(LEDGER_KEY, {"chain": _chain(context), "after": after, "failed_by": failed_by})
