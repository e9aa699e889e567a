from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import httpx
import msal
import pytest
import requests

from provider.emulators.scenario import Scenario
from provider.emulators.server import Emulators

REPOSITORY = "projects/demo/locations/europe-west3/repositories/sales"
SCOPE = "https://analysis.windows.net/powerbi/api/.default"

Start = Callable[..., Emulators]


@pytest.fixture
def start(tmp_path) -> Iterator[Start]:
    """Start emulators for a scenario given as plain data; they end with the test."""
    with ExitStack() as stack:

        def begin(scenario: dict[str, Any] | None = None, **options: Any) -> Emulators:
            options.setdefault("pubsub", "builtin")
            options.setdefault("folder", tmp_path / "emulators")
            return stack.enter_context(Emulators(Scenario.model_validate(scenario or {}), **options))

        yield begin


@pytest.fixture
def dataform_client() -> Iterator[Callable[[Any, Emulators], Any]]:
    """Return the vendor's synchronous client of an API version, on an insecure channel."""
    with ExitStack() as stack:

        def connect(api: Any, emulators: Emulators) -> Any:
            channel = stack.enter_context(grpc.insecure_channel(emulators.dataform_endpoint.removeprefix("http://")))
            return api.DataformClient(transport=api.DataformClient.get_transport_class("grpc")(channel=channel))

        yield connect


@pytest.fixture
def entra_app() -> Callable[..., msal.ConfidentialClientApplication]:
    """Return msal's own client of the emulated Entra ID."""

    def connect(emulators: Emulators, **changes: Any) -> msal.ConfidentialClientApplication:
        client = emulators.scenario.powerbi.clients[0]
        session = requests.Session()
        session.trust_env = False
        session.verify = str(emulators.ca_file)
        settings = {
            "client_id": client.client_id,
            "client_credential": client.client_secret,
            "authority": f"{emulators.authority}/{client.tenant_id}",
        }
        return msal.ConfidentialClientApplication(**{**settings, **changes}, instance_discovery=False, http_client=session)

    return connect


@pytest.fixture
def powerbi_client(entra_app) -> Iterator[Callable[..., httpx.Client]]:
    """Return an HTTP client that carries a token of msal's."""
    with ExitStack() as stack:

        def connect(emulators: Emulators, token: str | None = None) -> httpx.Client:
            token = token or entra_app(emulators).acquire_token_for_client([SCOPE])["access_token"]
            return stack.enter_context(
                httpx.Client(
                    base_url=f"{emulators.powerbi_url}/v1.0/myorg/",
                    verify=ssl.create_default_context(cafile=str(emulators.ca_file)),
                    headers={"Authorization": f"Bearer {token}"},
                    trust_env=False,
                    timeout=10.0,
                )
            )

        yield connect
