"""
A Dataform that was away is asked again soon after it is back.

gRPC lets two minutes pass between two tries to connect, in the end; calls in between fail with the error of the last try.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import pytest

from provider.hooks.dataform.hook import DataformInvocationHook

#: What the vendor's client asks for itself.
VENDORS = {"grpc.max_send_message_length": -1, "grpc.max_receive_message_length": -1}
SOON = {"grpc.max_reconnect_backoff_ms": 5000}


def hook(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> DataformInvocationHook:
    connection = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, **extra}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    return DataformInvocationHook(gcp_conn_id="google_cloud_default")


async def connect(hook: DataformInvocationHook, kind: str) -> None:
    """Make a client, and let it connect nowhere."""
    if kind == "blocking":
        hook.client.transport.close()
    else:
        await hook.async_client().transport.close()


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
@pytest.mark.parametrize("local", [True, False], ids=["a server of this machine", "the service"])
def test_it_is_asked_soon_after_it_is_back(monkeypatch: pytest.MonkeyPatch, kind: str, local: bool) -> None:
    asked: list[Mapping[str, Any]] = []

    def seen(make: Any) -> Any:
        def made(target: str, *args: Any, options: Any = None, **kwargs: Any) -> Any:
            found = options if options is not None else args[-1]
            asked.append(dict(found))
            return make(target, *args, **kwargs) if options is None else make(target, *args, options=options, **kwargs)

        return made

    for module in (grpc, grpc.aio):
        for name in ("insecure_channel", "secure_channel"):
            monkeypatch.setattr(module, name, seen(getattr(module, name)))

    asyncio.run(connect(hook(monkeypatch, **({"dataform_endpoint": "http://127.0.0.1:9"} if local else {})), kind))

    assert asked == [SOON if local else {**VENDORS, **SOON}]
