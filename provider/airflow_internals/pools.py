"""
The pools of Airflow, for commands.

A DAG file has no public way to ask for them: the task SDK has none, and the dag-processor gives the processes that parse no
access to Airflow's database (3.3.2). Whoever may read that database asks here.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from provider.threads import within

log = logging.getLogger(__name__)

#: Longest wait for Airflow's database, in seconds.
SECONDS = 10.0


def known_pools(*, seconds: float = SECONDS) -> frozenset[str] | None:
    """
    Return the names of Airflow's pools; it imports Airflow's models, which takes seconds.

    Stands on ``airflow.models.pool.Pool`` and ``[database] sql_alchemy_conn`` (3.3.2).

    :param seconds: longest wait for Airflow's database.
    :return: None where they cannot be seen: there is no Airflow here, or not its database.
    """
    if importlib.util.find_spec("airflow") is None:
        return None
    try:
        if _is_missing_file():
            return None
        # Importing has no part in the wait: on a busy machine it takes longer than any database.
        from airflow.models.pool import Pool
        from sqlalchemy import select

        from provider.airflow_internals.database import airflow_session

        def read() -> frozenset[str]:
            with airflow_session() as session:
                return frozenset(name for name in session.scalars(select(Pool.pool)) if name)

        return within(seconds, read, "read-pools")
    except Exception as error:  # noqa: BLE001 - whatever keeps a machine from reading that database
        log.debug("Airflow's pools cannot be seen from here: %s", error)
        return None


def pool_slots(name: str) -> dict[str, int] | None:
    """
    Return ``slots``, ``occupied_slots`` and ``include_deferred`` of a pool; None where there is no such pool.

    Stands on ``airflow.models.pool.Pool`` and its ``occupied_slots``, which the route of the API hands on (3.3.2).
    """
    from airflow.models.pool import Pool
    from sqlalchemy import select

    from provider.airflow_internals.database import airflow_session

    with airflow_session() as session:
        pool = session.scalar(select(Pool).where(Pool.pool == name))
        if pool is None:
            return None
        occupied = pool.occupied_slots(session=session)
        return {"slots": pool.slots, "occupied_slots": occupied, "include_deferred": pool.include_deferred}


def _is_missing_file() -> bool:
    """Return whether Airflow's database would be a file that is made by looking at it."""
    from airflow.configuration import conf
    from sqlalchemy import make_url

    url = make_url(conf.get("database", "sql_alchemy_conn"))
    return url.get_backend_name() == "sqlite" and not (url.database and Path(url.database).exists())
