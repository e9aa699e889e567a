"""The task that reconciles in the triggerer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from provider.reconciler.trigger import ReconcilerTrigger
from provider.triggers.pubsub import start_trigger_args

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["ReconcileOperator"]


class ReconcileOperator(BaseOperator):
    """
    Keeps batches and task logs equal to Airflow's state for a day, through Airflow's REST API.

    It waits in the triggerer from the start and takes a worker for the moment of its end only. The DAG
    ``accelerator_reconciler`` runs it again and again.

    :param airflow_conn_id: connection of type ``airflow_api``, see :class:`~provider.hooks.airflow_api.AirflowApiSettings`.
    :param interval: seconds between two looks while batches are open.
    """

    start_from_trigger = True

    def __init__(self, *, airflow_conn_id: str = "airflow_api", interval: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.airflow_conn_id = airflow_conn_id
        self.interval = interval
        self.start_trigger_args = start_trigger_args(self._trigger())

    def execute(self, context: Context) -> NoReturn:  # noqa: ARG002 - Airflow calls it so
        """Wait where Airflow did not start the task in the triggerer, as in ``airflow dags test``."""
        self.defer(trigger=self._trigger(), method_name="execute_complete")

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Airflow calls it so
        """
        End; the DAG's next run goes on.

        :raises AirflowFailException: the trigger could not work, for a reason that trying again does not mend.
        """
        if event is not None and event.get("status") == "error":
            raise AirflowFailException(str(event.get("message")))

    def _trigger(self) -> ReconcilerTrigger:
        return ReconcilerTrigger(airflow_conn_id=self.airflow_conn_id, interval=self.interval)
