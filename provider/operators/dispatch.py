"""The dispatcher's tasks: waiting for batch requests and starting their DAG runs. How that is done: :mod:`provider.dispatch`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from provider.dispatch import loop
from provider.sensors.pubsub import PubSubBatchRequestSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["DispatchBatchRequestsOperator", "DispatchDueRequestsOperator"]


class DispatchBatchRequestsOperator(PubSubBatchRequestSensor):
    """
    Waits for batch requests, for as long as it takes, and starts one DAG run for each that waits.

    The wait is in the triggerer from the start and takes no worker. With a connection to Airflow's REST API the runs are started
    from there, too, and the wait never ends. Without one a short task starts them, 15 to 45 ms each.
    Parameters: see :class:`~provider.sensors.pubsub.PubSubBatchRequestSensor`; its ``timeout`` has no meaning here.

    :param airflow_conn_id: connection of type ``airflow_api`` of a user who may start DAG runs; while it does not work a task
        starts them.
    :param burst_dag_id: a DAG with a :class:`DispatchDueRequestsOperator`, of which runs are started in a burst; None where this
        task starts all runs itself.
    :param burst_helpers: runs of that DAG at a time.
    """

    def __init__(
        self, *, airflow_conn_id: str | None = None, burst_dag_id: str | None = None, burst_helpers: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.airflow_conn_id = airflow_conn_id
        self.start_in_triggerer()
        self.burst_dag_id = burst_dag_id
        self.burst_helpers = burst_helpers

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, int]:  # noqa: ARG002 - Airflow calls it so
        """
        Start the runs. The event is a hint; what is to be done is in the inbox.

        :return: how many requests went into each state.
        """
        counts = loop.dispatch(self.log, burst_dag_id=self.burst_dag_id, helpers=self.burst_helpers)
        self._explain_waiting()
        return dict(counts)

    def wait_limit(self) -> timedelta | None:
        """Wait for ever: a dispatcher without messages is not a failure."""
        return None

    def _explain_waiting(self) -> None:
        """Say of the waiting requests what they wait for."""
        from provider.metadata.engine import write_session
        from provider.metadata.waiting_reasons import explain_waiting

        with write_session() as session:
            explain_waiting(session)


class DispatchDueRequestsOperator(BaseOperator):
    """
    Starts one DAG run for each batch request that is due now, beside the dispatcher and others of its kind.

    Airflow's API server takes the runs of one task one after another; with several tasks it has several to do at once.

    :param dispatch_seconds: after which it claims nothing any more.
    """

    def __init__(self, *, dispatch_seconds: float = loop.HELP_SECONDS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dispatch_seconds = dispatch_seconds

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - Airflow calls it so
        """Start the runs; return how many requests went into each state."""
        return dict(loop.dispatch(self.log, seconds=self.dispatch_seconds))
