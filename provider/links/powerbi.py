"""Link to the Power BI service."""

from __future__ import annotations

from provider.links.remote_job import RemoteJobLink

__all__ = ["PowerBILink"]


class PowerBILink(RemoteJobLink):
    """Opens the semantic model or the dataflow in the Power BI service of the connection's cloud."""

    @property
    def name(self) -> str:
        """Name on the button."""
        return "Power BI"
