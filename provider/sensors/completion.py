"""A task whose work is done elsewhere: it ends as a message says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from provider.metadata.batches import SUCCESS
from provider.metadata.engine import read_session
from provider.triggers.completion import TaskCompletionTrigger
from provider.triggers.pubsub import WORKER_DEFERRAL_SECONDS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from provider.metadata.completions import Completion

LEDGER_KEY = "completion"
_LONGEST_ERROR = 2000


class TaskCompletionSensor(BaseSensorOperator):
    """
    Waits in the triggerer, without a worker slot, for the message that says how this task has ended, and ends with it.

    The last message about the task in this batch counts, also one that came before the task was reached. After a person has
    cleared it, a ``SUCCESS`` still holds; an ``ERROR`` with which it has failed does not fail it again.

    Returns ``{"message_id": …}`` of the message.

    :param poke_interval: seconds between two looks into the inbox.
    :param timeout: seconds until the wait fails; Airflow's ``[sensors] default_timeout``, seven days, by default.
    :raises AirflowFailException: the message says ``ERROR``; a retry would change nothing.
    :raises AirflowException: the application database cannot be used; a retry may help.
    :raises AirflowSensorTimeout: no message came in time.
    """

    ui_color = "#e8e3f5"

    def __init__(self, *, poke_interval: float = 2.0, **kwargs: Any) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)

    def execute(self, context: Context) -> dict[str, str]:
        """End with the message that is there, or wait for it."""
        return self._end(context) or self._wait(context)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, str]:  # noqa: ARG002 - Airflow calls it so
        """Read the message of which the event tells."""
        return self._end(context) or self._wait(context)

    def _end(self, context: Context) -> dict[str, str] | None:
        """End with the latest message; None where there is none that this chain of tries may end with."""
        ti = context["ti"]
        store = context.get("task_state_store")
        chain = int(ti.max_tries or 0)
        entry = _entry(store, chain)
        completion = self._latest(context)
        if completion is None or completion.id <= entry["after"]:
            return None
        if completion.status == SUCCESS:
            return {"message_id": completion.message_id}
        if store is not None:
            store.set(LEDGER_KEY, {**entry, "failed_by": completion.id})
        raise AirflowFailException(
            f"message {completion.message_id} says that {self.task_id} has failed: "
            f"{(completion.error or 'it gives no reason')[:_LONGEST_ERROR]}"
        )

    def _wait(self, context: Context) -> Any:
        ti = context["ti"]
        entry = _entry(context.get("task_state_store"), int(ti.max_tries or 0))
        self.defer(
            trigger=TaskCompletionTrigger(
                workflow_id=ti.dag_id,
                batch_id=ti.run_id,
                task_id=ti.task_id,
                after=entry["after"],
                poll_interval=float(self.poke_interval),
                first_event_after=WORKER_DEFERRAL_SECONDS,
            ),
            method_name="execute_complete",
            timeout=self._coerce_timeout(self.timeout),
        )

    def _latest(self, context: Context) -> Completion | None:
        from sqlalchemy.exc import SQLAlchemyError

        from provider.metadata.completions import latest_completion

        ti = context["ti"]
        try:
            with read_session() as session:
                return latest_completion(session, (ti.dag_id, ti.run_id, ti.task_id))
        except SQLAlchemyError as error:
            raise AirflowException(
                f"the messages about {self.task_id} could not be read from the application database: "
                f"{str(error).partition(chr(10))[0][:500]}. Check the database and [accelerator] sql_alchemy_conn."
            ) from error


def _entry(store: Any | None, chain: int) -> dict[str, int]:
    """
    Return what this task remembers: ``chain``, ``after`` (messages up to this id do not count), ``failed_by``.

    A chain of tries begins with a person's clear, which raises ``max_tries``.
    """
    stored = store.get(LEDGER_KEY) if store is not None else None
    entry = dict(stored) if isinstance(stored, dict) else {"chain": chain, "after": 0, "failed_by": 0}
    if entry["chain"] == chain:
        return entry
    return {"chain": chain, "after": max(entry["after"], entry["failed_by"]), "failed_by": 0}
