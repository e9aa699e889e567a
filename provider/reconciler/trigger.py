"""The reconciler in the triggerer, by Airflow's REST API: for where the scheduler cannot host it, as on Cloud Composer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from provider import settings
from provider.exceptions import ConfigurationError
from provider.threads import awithin, in_thread

if TYPE_CHECKING:
    from provider.reconciler.loop import ReconcilerLoop

__all__ = ["ReconcilerTrigger"]

#: How long one trigger reconciles, in seconds: runs of Airflow that last for ever are nobody's friend.
LIFE_SECONDS = 24 * 3600.0
#: How long its last pass is waited for, in seconds.
_LAST_PASS_SECONDS = 5.0
_OPENING_SECONDS = 120.0


class ReconcilerTrigger(BaseTrigger):
    """
    Keeps batches and task logs equal to Airflow's state for a day, in a thread of its own. Its event says why it ended.

    Among several reconcilers, of whatever kind, a lock in the application database lets one do the work.

    :param airflow_conn_id: connection of type ``airflow_api``.
    :param interval: seconds between two passes.
    :param life: seconds after which it ends.
    """

    def __init__(self, *, airflow_conn_id: str, interval: float, life: float = LIFE_SECONDS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.airflow_conn_id = airflow_conn_id
        self.interval = interval
        self.life = life

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"airflow_conn_id": self.airflow_conn_id, "interval": self.interval, "life": self.life},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Reconcile."""
        from provider.hooks.airflow_api import AirflowApiHook

        try:
            api = await AirflowApiHook(self.airflow_conn_id).aget_conn()
            loop = await awithin(_OPENING_SECONDS, partial(_open, api, self.interval), "accelerator-open-reconciler")
        except ConfigurationError as error:
            yield TriggerEvent({"status": "error", "message": str(error)})  # type: ignore[no-untyped-call]
            return
        working = asyncio.wrap_future(in_thread(loop.run, "accelerator-reconciler"))
        try:
            await asyncio.wait([working], timeout=self.life)
        finally:
            loop.stop()
            await asyncio.wait([working], timeout=_LAST_PASS_SECONDS)
        failure = working.exception() if working.done() else None
        told = {"status": "ended"} if failure is None else {"status": "error", "message": f"{type(failure).__name__}: {failure}"}
        yield TriggerEvent(told)  # type: ignore[no-untyped-call]


def _open(api: Any, interval: float) -> ReconcilerLoop:
    """Import and make what reconciles; that takes a moment."""
    from provider.metadata.engine import keep_connections
    from provider.reconciler.airflow_api import api_source
    from provider.reconciler.loop import ReconcilerLoop
    from provider.reconciler.passes import Reconciler

    settings.refuse_embedded_database_across_machines()
    keep_connections()
    source = api_source(api)
    return ReconcilerLoop(Reconciler(source), interval, idle=source.idle)
