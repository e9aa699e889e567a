"""Waits for a BigQuery job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from provider.triggers.google import GoogleJobTrigger

if TYPE_CHECKING:
    from provider.hooks.bigquery import BigQueryJobHook
    from provider.hooks.remote_job import JobStatus, RemoteJob


class BigQueryJobTrigger(GoogleJobTrigger["BigQueryJobHook"]):
    """
    Waits for a load or query job.

    The client library is synchronous, so each call is made in a thread, as the Google provider's own trigger does.

    Parameters: see :class:`~provider.triggers.google.GoogleJobTrigger`.
    """

    def build_hook(self) -> BigQueryJobHook:
        """Build the hook for this connection."""
        from provider.hooks.bigquery import BigQueryJobHook

        return BigQueryJobHook(
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            http_timeout=self.http_timeout,
        )

    async def poll_job(self) -> JobStatus:
        """Ask BigQuery."""
        return await asyncio.to_thread((await self.hook()).get_job_status, self.job)

    async def cancel_job(self) -> None:
        """Cancel the job."""
        await asyncio.to_thread((await self.hook()).cancel_by_name, self.job)

    async def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        """Look the job up by its name."""
        return await asyncio.to_thread((await self.hook()).find_job, intent)
