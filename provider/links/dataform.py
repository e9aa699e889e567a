"""Link to Dataform in the Google Cloud console."""

from __future__ import annotations

from provider.links.remote_job import RemoteJobLink

__all__ = ["DataformInvocationLink"]


class DataformInvocationLink(RemoteJobLink):
    """Opens the workflow invocation, with its actions, in the Google Cloud console."""

    @property
    def name(self) -> str:
        """Name on the button."""
        return "Dataform workflow invocation"
