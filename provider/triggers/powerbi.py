"""Waits for a Power BI refresh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider.hooks.powerbi import PowerBIHook
from provider.triggers.external_job import ExternalJobTrigger

if TYPE_CHECKING:
    from provider.hooks.remote_job import JobStatus, RemoteJob


class PowerBIRefreshTrigger(ExternalJobTrigger):
    """
    Waits for the refresh of a semantic model or a dataflow. All of a triggerer share one client and one token.

    :param powerbi_conn_id: connection of type ``powerbi``.
    """

    def __init__(self, *, powerbi_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.powerbi_conn_id = powerbi_conn_id
        self._hook = PowerBIHook(powerbi_conn_id, http_timeout=self.http_timeout)

    def service_kwargs(self) -> dict[str, Any]:
        """Return the arguments of this service."""
        return {"powerbi_conn_id": self.powerbi_conn_id}

    async def poll_job(self) -> JobStatus:
        """Ask Power BI."""
        return await self._hook.aget_job_status(self.job)

    async def cancel_job(self) -> None:
        """Cancel the refresh, where Power BI can."""
        await self._hook.acancel_job(self.job)

    async def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        """Search the refresh history."""
        return await self._hook.afind_job(intent)
