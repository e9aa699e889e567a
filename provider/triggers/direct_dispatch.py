"""The triggerer starts the runs of requests itself, by Airflow's REST API: no DAG run and no task for each wake-up."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Self

from provider import settings
from provider.exceptions import ConfigurationError
from provider.pacing import backoff
from provider.texts import one_line
from provider.threads import in_thread

if TYPE_CHECKING:
    from provider.dispatch.by_api import ApiRuns

log = logging.getLogger(__name__)

#: How long it is not tried again to start runs by a connection whose user may not, in seconds.
REFUSED_SECONDS = 600.0
#: The pause after a first failure, in seconds, and the longest one.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
#: How long a round that is under way is waited for when the trigger is told to stop, in seconds.
_STOP_SECONDS = 5.0
#: Longest part of why runs cannot be started that is logged, in characters.
_LONGEST_REASON = 1000

#: Connection id → monotonic time until which it is not tried.
_refused: dict[str, float] = {}


class DirectDispatch:
    """
    Starts the runs of all requests that are due, in a thread of its own.

    :param airflow_conn_id: connection of type ``airflow_api``.
    """

    def __init__(self, airflow_conn_id: str, runs: ApiRuns) -> None:
        self._conn_id = airflow_conn_id
        self._runs = runs
        self._failures = 0

    @classmethod
    async def opened(cls, airflow_conn_id: str | None) -> Self | None:
        """Return one for a connection; None without one, and where it does not work: then a task starts the runs."""
        if not airflow_conn_id or time.monotonic() < _refused.get(airflow_conn_id, 0.0):
            return None
        from airflow.sdk.exceptions import AirflowNotFoundException

        from provider.dispatch.by_api import ApiRuns
        from provider.hooks.airflow_api import AirflowApiHook

        try:
            api = await AirflowApiHook(airflow_conn_id).aget_conn()
            # Beside an embedded database Airflow's own is probably SQLite too, which has one writer at a time.
            return cls(airflow_conn_id, ApiRuns(api, 1) if settings.uses_embedded_database() else ApiRuns(api))
        except (ConfigurationError, AirflowNotFoundException) as error:
            _refuse(airflow_conn_id, str(error))
        except Exception as error:  # noqa: BLE001 - keys, files and Google's library fail in many ways
            _refuse(airflow_conn_id, f"connection {airflow_conn_id} cannot be opened: {type(error).__name__}: {error}")
        return None

    async def dispatch(self) -> bool:
        """
        Start what is due. A failure of the application database is logged and followed by a pause.

        :return: False where the connection's user may not start runs: a task has to do it.
        """
        working = asyncio.wrap_future(in_thread(partial(_dispatch, self._runs), "accelerator-dispatch"))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            # What it has started it shall record, or somebody has to find that out.
            await asyncio.wait([working], timeout=_STOP_SECONDS)
            raise
        except Exception:
            self._failures += 1
            delay = backoff(self._failures, first=_FIRST_PAUSE_SECONDS, longest=_LONGEST_PAUSE_SECONDS)
            log.exception("Requests could not be dispatched, trying again in %.0f s.", delay)
            await asyncio.sleep(delay)
        else:
            self._failures = 0
        if self._runs.forbidden is None:
            return True
        _refuse(self._conn_id, self._runs.forbidden)
        return False


def _refuse(airflow_conn_id: str, why: str) -> None:
    from provider.airflow_internals.secrets import redact

    _refused[airflow_conn_id] = time.monotonic() + REFUSED_SECONDS
    log.error(
        "Tasks start the runs of messages for the next %.0f s, since Airflow's API does not: %s",
        *(REFUSED_SECONDS, one_line(redact(why), _LONGEST_REASON)),
    )


def _dispatch(runs: ApiRuns) -> None:
    from provider.dispatch import loop
    from provider.metadata.engine import write_session
    from provider.metadata.waiting_reasons import explain_waiting

    loop.dispatch(log, runs)
    with write_session() as session:
        explain_waiting(session)
