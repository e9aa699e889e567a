"""What the triggers of Google's services share: connection and hook."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from provider.triggers.external_job import ExternalJobTrigger

HookT = TypeVar("HookT")


class GoogleJobTrigger(ExternalJobTrigger, Generic[HookT]):
    """
    Base of the triggers whose hook inherits from the Google provider's.

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
        self._hook: HookT | None = None

    def service_kwargs(self) -> dict[str, Any]:
        """Return the arguments of this service."""
        return {"gcp_conn_id": self.gcp_conn_id, "impersonation_chain": self.impersonation_chain}

    @abstractmethod
    def build_hook(self) -> HookT:
        """Import the hook's class and build the hook; both may block."""

    async def hook(self) -> HookT:
        """
        Return the hook; it is built once, in a thread.

        The first import of Google's libraries takes a second or two, and their base class reads the connection in its
        constructor.
        """
        if self._hook is None:
            from asgiref.sync import sync_to_async

            self._hook = await sync_to_async(self.build_hook)()
        return self._hook
