"""Waiting for batch requests in a DAG of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator

from provider.hooks.pubsub import check_subscriptions
from provider.pacing import AFTER_DEFERRAL
from provider.triggers.pubsub import PubSubInboxTrigger, start_trigger_args

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["PubSubBatchRequestSensor"]


class PubSubBatchRequestSensor(BaseSensorOperator):
    """
    Takes Pub/Sub messages into the inbox, and succeeds when a request waits to be dispatched.

    It waits in the triggerer from the start and takes a worker for the moment of its end only. What waits is then claimed from
    the inbox (:func:`provider.metadata.request_queue.claim`); the DAG ``accelerator_dispatcher`` does all of that in one task
    with :class:`~provider.operators.dispatch.DispatchBatchRequestsOperator`, so this sensor is for DAGs that do something else.

    :param subscriptions: full names, ``projects/P/subscriptions/S``.
    :param gcp_conn_id: Airflow connection; not used where ``PUBSUB_EMULATOR_HOST`` is set.
    :param impersonation_chain: service account to impersonate, or a chain of accounts.
    :param max_messages: messages taken with one pull and stored in one transaction.
    :raises ConfigurationError: a subscription is not a full name, or there is none.

    ``timeout`` is the sensor's own: seconds until the wait fails. ``poke_interval`` is the time between two looks into the
    inbox for requests that became due without a message.
    """

    start_from_trigger = True
    #: Connection by which the trigger starts runs itself; a sensor only says that there is something to start.
    airflow_conn_id: str | None = None

    def __init__(
        self,
        *,
        subscriptions: str | Sequence[str],
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        max_messages: int = 250,
        poke_interval: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.subscriptions = check_subscriptions(subscriptions)
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.max_messages = max_messages
        self.start_in_triggerer()

    def start_in_triggerer(self) -> None:
        """Let Airflow start the task in the triggerer, with a trigger of what the task has now."""
        self.start_trigger_args = start_trigger_args(self._trigger(0.0), timeout=self.wait_limit())

    def execute(self, context: Context) -> NoReturn:  # noqa: ARG002 - Airflow calls it so
        """Wait where Airflow did not start the task in the triggerer, as in ``airflow dags test``."""
        self.defer(trigger=self._trigger(AFTER_DEFERRAL), method_name="execute_complete", timeout=self.wait_limit())

    def execute_complete(self, context: Context, event: Any = None) -> Any:  # noqa: ARG002 - Airflow calls it so
        """Succeed: the event says that a request waits."""
        self.log.info("A batch request waits to be dispatched.")

    def wait_limit(self) -> timedelta | None:
        """Return how long the wait may take; None for ever."""
        return timedelta(seconds=float(self.timeout))

    def _trigger(self, first_event_after: float) -> PubSubInboxTrigger:
        return PubSubInboxTrigger(
            airflow_conn_id=self.airflow_conn_id,
            subscriptions=self.subscriptions,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            max_messages=self.max_messages,
            poll_interval=float(self.poke_interval),
            first_event_after=first_event_after,
        )
