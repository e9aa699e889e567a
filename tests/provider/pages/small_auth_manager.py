"""An auth manager of which the rights are plain to see; logins, tokens and cookies are Airflow's own."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: Person → the DAGs that may be read, None for all.
READS: dict[str, set[str] | None] = {"ann": None, "bob": {"daily_sales"}, "eve": {"daily_sales"}, "nobody": set()}
#: Those of them who may start runs of these.
STARTS = {"ann", "bob"}
#: Those who may see plugins.
OPERATORS = {"ann"}


class SmallAuthManager(SimpleAuthManager):
    """Rights by person and DAG."""

    def is_authorized_dag(self, *, method: Any, user: Any, access_entity: Any = None, details: DagDetails | None = None) -> bool:
        readable = READS[user.username]
        allowed = readable is None or (details is not None and details.id in readable)
        return allowed and (method == "GET" or user.username in STARTS)

    def is_authorized_view(self, *, access_view: AccessView, user: Any) -> bool:
        return access_view is not AccessView.PLUGINS or user.username in OPERATORS
