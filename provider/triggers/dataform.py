"""Waits for a Dataform workflow invocation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from provider.triggers.external_job import ExternalJobTrigger

if TYPE_CHECKING:
    from provider.hooks.dataform import DataformInvocationHook
    from provider.hooks.remote_job import JobStatus, RemoteJob


class DataformInvocationTrigger(ExternalJobTrigger):
    """
    Waits for a workflow invocation. All of a triggerer with the same identity share one client.

    :param gcp_conn_id: connection to Google Cloud.
    :param impersonation_chain: service account to act as, or a chain of them.
    :param api_endpoint: another address of the API, see :class:`~provider.hooks.dataform.DataformInvocationHook`.
    """

    def __init__(
        self,
        *,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        api_endpoint: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.api_endpoint = api_endpoint
        self._built_hook: DataformInvocationHook | None = None

    def service_kwargs(self) -> dict[str, Any]:
        """Return the arguments of this service."""
        return {
            "gcp_conn_id": self.gcp_conn_id,
            "impersonation_chain": self.impersonation_chain,
            "api_endpoint": self.api_endpoint,
        }

    async def poll_job(self) -> JobStatus:
        """Ask Dataform."""
        return await (await self._hook()).aget_job_status(self.job)

    async def cancel_job(self) -> None:
        """Cancel the invocation."""
        await (await self._hook()).acancel_invocation(self.job)

    async def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        """Search the invocations of the compilation result."""
        hook = await self._hook()
        return await asyncio.to_thread(hook.find_invocation, intent)

    async def _hook(self) -> DataformInvocationHook:
        if self._built_hook is None:
            from asgiref.sync import sync_to_async

            self._built_hook = await sync_to_async(self._build_hook)()
        return self._built_hook

    def _build_hook(self) -> DataformInvocationHook:
        """
        Build the hook, in a thread.

        The first import of Google's libraries takes a second or two, and their base class reads the connection in its
        constructor.
        """
        from provider.hooks.dataform import DataformInvocationHook

        return DataformInvocationHook(
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            api_endpoint=self.api_endpoint,
            rpc_timeout=self.http_timeout,
        )
