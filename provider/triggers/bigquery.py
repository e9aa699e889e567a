"""Waits for a BigQuery job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from provider.triggers.external_job import ExternalJobTrigger

if TYPE_CHECKING:
    from provider.hooks.bigquery import BigQueryJobHook
    from provider.hooks.remote_job import JobStatus, RemoteJob


class BigQueryJobTrigger(ExternalJobTrigger):
    """
    Waits for a load or query job.

    The client library is synchronous, so each call is made in a thread, as the Google provider's own trigger does.

    :param gcp_conn_id: connection to Google Cloud.
    :param impersonation_chain: service account to act as, or a chain of them.
    """

    def __init__(
        self,
        *,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._built_hook: BigQueryJobHook | None = None

    def service_kwargs(self) -> dict[str, Any]:
        """Return the arguments of this service."""
        return {"gcp_conn_id": self.gcp_conn_id, "impersonation_chain": self.impersonation_chain}

    async def poll_job(self) -> JobStatus:
        """Ask BigQuery."""
        hook = await self._hook()
        return await asyncio.to_thread(hook.get_job_status, self.job)

    async def cancel_job(self) -> None:
        """Cancel the job."""
        hook = await self._hook()
        await asyncio.to_thread(hook.cancel_by_name, self.job)

    async def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        """Look the job up by its name."""
        hook = await self._hook()
        return await asyncio.to_thread(hook.find_job, intent)

    async def _hook(self) -> BigQueryJobHook:
        """Build the hook in a thread: the Google provider's base class reads the connection in its constructor."""
        if self._built_hook is None:
            from asgiref.sync import sync_to_async

            from provider.hooks.bigquery import BigQueryJobHook

            self._built_hook = await sync_to_async(BigQueryJobHook)(
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
                http_timeout=self.http_timeout,
            )
        return self._built_hook
