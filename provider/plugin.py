"""
Airflow plugin: loaded by every Airflow process, task processes included, so it imports next to nothing.

The pages are an application that the API server mounts. It is built at the first request, because every process makes the
object that stands for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from provider.listeners import task_log

#: Below which path of the API server the pages are.
URL_PREFIX = "/accelerator"

_ICONS = {"icon": "accelerator/files/icon.svg", "icon_dark_mode": "accelerator/files/icon-dark.svg"}


class Pages:
    """The pages as an ASGI application; what it needs is imported when somebody asks."""

    def __init__(self) -> None:
        self._application: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if self._application is None:
            # Within the event loop, which carries out nothing else meanwhile: so it is built once.
            from provider.pages.application import build_application

            self._application = build_application()
        await self._application(scope, receive, send)


class AcceleratorPlugin(AirflowPlugin):
    """Registers the listener that mirrors task instances to the application database, and the pages of the UI."""

    name = "cloud_accelerator"
    listeners = [task_log]  # noqa: RUF012 - Airflow's own attributes, read only
    fastapi_apps = [{"app": Pages(), "url_prefix": URL_PREFIX, "name": "Cloud Accelerator"}]  # noqa: RUF012
    # Addresses without a leading slash: Airflow may stand below a path of its own.
    external_views = [  # noqa: RUF012
        {"name": "Task batches", "href": "accelerator/", "destination": "nav", "url_route": "task-batches", **_ICONS},
        {
            "name": "Batch",
            "href": "accelerator/?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": "task-batch",
            **_ICONS,
        },
    ]
