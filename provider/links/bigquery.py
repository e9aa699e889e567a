"""Link to BigQuery in the Google Cloud console."""

from __future__ import annotations

from provider.links.external_job import ExternalJobLink


class BigQueryJobLink(ExternalJobLink):
    """Opens the job in the Google Cloud console."""

    @property
    def name(self) -> str:
        """Name on the button."""
        return "BigQuery job"
