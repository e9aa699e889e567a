"""Waits for a Dataform workflow invocation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from provider.triggers.google import GoogleJobTrigger

if TYPE_CHECKING:
    from provider.hooks.dataform import DataformInvocationHook
    from provider.hooks.remote_job import JobStatus, RemoteJob


class DataformInvocationTrigger(GoogleJobTrigger["DataformInvocationHook"]):
    """
    Waits for a workflow invocation. All of a triggerer with the same identity share one client.

    :param api_endpoint: another address of the API, see :class:`~provider.hooks.dataform.DataformInvocationHook`.

    Other parameters: see :class:`~provider.triggers.google.GoogleJobTrigger`.
    """

    def __init__(self, *, api_endpoint: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.api_endpoint = api_endpoint

    def service_kwargs(self) -> dict[str, Any]:
        """Return the arguments of this service."""
        return {**super().service_kwargs(), "api_endpoint": self.api_endpoint}

    def build_hook(self) -> DataformInvocationHook:
        """Build the hook for this connection."""
        from provider.hooks.dataform import DataformInvocationHook

        return DataformInvocationHook(
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            api_endpoint=self.api_endpoint,
            rpc_timeout=self.http_timeout,
        )

    async def poll_job(self) -> JobStatus:
        """Ask Dataform."""
        return await (await self.hook()).aget_job_status(self.job)

    async def cancel_job(self) -> None:
        """Cancel the invocation."""
        await (await self.hook()).acancel_invocation(self.job)

    async def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        """Search the invocations of the compilation result."""
        return await asyncio.to_thread((await self.hook()).find_invocation, intent)
