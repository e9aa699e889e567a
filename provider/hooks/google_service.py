# ruff: noqa: TID253 - a hook of the Google provider is one only by inheriting from it; operators import it when they run
"""What the remote services of Google Cloud have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from provider.hooks.remote_service import RemoteService, RequestT
from provider.hooks.wait_budget import WaitBudget


class GoogleService(GoogleBaseHook, RemoteService[RequestT]):
    """
    A remote service that is opened with a connection to Google Cloud.

    :param gcp_conn_id: connection to Google Cloud.
    :param impersonation_chain: service account to act as, or a chain of them.
    :param budget: bounds of its calls and answers; repetitions of the client are included.
    """

    connection_fields: ClassVar[tuple[str, ...]] = ("gcp_conn_id", "impersonation_chain")
    default_conn_name = "google_cloud_default"

    def __init__(
        self,
        gcp_conn_id: str = default_conn_name,
        impersonation_chain: str | Sequence[str] | None = None,
        *,
        budget: WaitBudget | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain, **kwargs)
        self.budget = budget or WaitBudget()
