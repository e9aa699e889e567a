"""The application that Airflow's API server mounts."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provider.exceptions import AcceleratorError
from provider.metadata.engine import keep_connections
from provider.pages import batches, cancel, definitions, files, health, requests, restart, why
from provider.pages.access import LOGIN
from provider.pages.answers import answer, database_says

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def build_application() -> FastAPI:
    """
    Return the application. Everything in it asks for a login: the dependency is the application's own, and nothing is mounted.

    FastAPI's documentation pages, which would answer anybody, are off.
    """
    keep_connections()  # people who look at a list ask every few seconds
    application = FastAPI(
        title="Cloud Accelerator", openapi_url=None, docs_url=None, redoc_url=None, dependencies=[Depends(LOGIN)]
    )
    for part in (files, batches, restart, cancel, why, requests, definitions, health):
        application.include_router(part.router)
    application.add_exception_handler(SQLAlchemyError, _database_is_away)
    application.add_exception_handler(AcceleratorError, _refused)
    application.add_exception_handler(RequestValidationError, _makes_no_sense)
    application.add_middleware(_SafeHeaders)
    return application


class _SafeHeaders:
    """Gives each answer, refusals and errors included, what a browser must know to be careful with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def _database_is_away(_request: Request, error: Exception) -> Response:
    return answer({"detail": f"The application database cannot be read: {database_says(error)}"}, 503)


async def _makes_no_sense(_request: Request, error: Exception) -> Response:
    """Answer as FastAPI does, but without what came: that may be a secret, or have no form in JSON."""
    assert isinstance(error, RequestValidationError)
    return answer({"detail": [{name: one[name] for name in ("loc", "msg", "type")} for one in error.errors()]}, 422)


async def _refused(_request: Request, error: Exception) -> Response:
    """Answer with what nobody who asks can mend, such as a setting, or a schema of another version."""
    return answer({"detail": str(error)}, 503)
