# ruff: noqa: TID253 - a request is this module's subject, and only the emulators import it
"""
Service principal profiles: a header of each request tells which of them calls.

.. seealso:: https://learn.microsoft.com/power-bi/developer/embedded/service-principal-profile-sdk
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

from fastapi import Request

from provider.emulators.ledger import Ledger
from provider.emulators.powerbi_state import PowerBIError

HEADER = "X-PowerBI-profile-id"


def recorder(ledger: Ledger, service_of: Callable[[str], str]) -> Callable[[Request], Awaitable[None]]:
    """Return what looks at each request and records the profile that one names; Entra ID, too, as it should never see one."""

    async def record(request: Request) -> None:
        found = request.headers.getlist(HEADER)
        if not found:
            return
        service, operation = service_of(request.url.path), f"{request.method} {request.url.path}"
        ledger.append(service, "profile_named", operation, detail={"profile_id": ", ".join(found)})
        if len(found) > 1:
            raise PowerBIError(401, "PowerBINotAuthorizedException", f"{HEADER} is given {len(found)} times.")
        try:
            uuid.UUID(found[0])
        except ValueError as error:
            raise PowerBIError(400, "BadRequest", f"{HEADER} is no GUID.") from error

    return record
