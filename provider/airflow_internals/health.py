"""Whether Airflow's processes live. For processes that have Airflow's database, by themselves; imports its jobs."""

from __future__ import annotations

from typing import Any

from airflow.api.common.airflow_health import get_airflow_health


def airflow_health() -> dict[str, Any]:
    """
    Return what ``GET /api/v2/monitor/health`` says: component → its ``status`` and its last heartbeat.

    Stands on ``airflow.api.common.airflow_health.get_airflow_health``, which the route of the API hands on (3.3.2). Where the
    database cannot be read, ``metadatabase`` is ``unhealthy``.
    """
    found: dict[str, Any] = get_airflow_health()
    return found
