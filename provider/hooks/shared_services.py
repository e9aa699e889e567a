"""
Services that the triggers of one event loop share.

A triggerer asks its supervisor for a connection through one socket, one question at a time: 2,000 triggers that each open a
service of their own ask 2,000 times. Here the first one asks, and the others wait for its answer. A service is opened anew
after a minute, so that a changed connection counts soon.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from provider.hooks.remote_service import Connection, RemoteService, connection_key, open_service
from provider.hooks.wait_budget import WaitBudget
from provider.threads import awithin

#: Seconds for which a service that was opened is used.
OPEN_SECONDS = 60.0
#: Seconds in which one must be opened: the import of a library, an answer of the supervisor, credentials.
OPENING_SECONDS = 120.0

_Key = tuple[str, tuple[Any, ...], WaitBudget]
_Opened = tuple[float, "asyncio.Task[RemoteService[Any]]"]

_opened: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, _Opened]] = WeakKeyDictionary()


async def shared_service(name: str, connection: Connection, budget: WaitBudget) -> RemoteService[Any]:
    """
    Return the service of the running event loop, opened by whoever asks first.

    A failure is told to all that wait for it, and not kept.

    :raises ConfigurationError: see :func:`~provider.hooks.remote_service.open_service`.
    :raises TimeoutError: it could not be opened in time.
    """
    key = (name, connection_key(connection), budget.until(None))
    services = _opened.setdefault(asyncio.get_running_loop(), {})
    found = services.get(key)
    if found is None or time.monotonic() > found[0] or (found[1].done() and (found[1].cancelled() or found[1].exception())):
        opening = asyncio.create_task(_open(name, connection, budget.until(None)))
        found = services[key] = (time.monotonic() + OPEN_SECONDS, opening)
    # Shielded: one trigger that is cancelled must not break off the opening for all.
    return await asyncio.shield(found[1])


async def _open(name: str, connection: Connection, budget: WaitBudget) -> RemoteService[Any]:
    return await awithin(OPENING_SECONDS, partial(open_service, name, connection, budget), f"accelerator-open-{name}")
