"""Link to BigQuery in the Google Cloud console."""

from __future__ import annotations

from provider.links.remote_job import RemoteJobLink

__all__ = ["BigQueryJobLink"]


class BigQueryJobLink(RemoteJobLink):
    """Opens the job in the Google Cloud console."""

    @property
    def name(self) -> str:
        """Name on the button."""
        return "BigQuery job"
