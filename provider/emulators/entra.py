# ruff: noqa: TID253 - the HTTP application is this module's subject, and only the emulators import it
"""
Microsoft Entra ID: OIDC discovery and the client credentials grant.

Follows https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow. Client assertions are
read, but their signature is not verified: the emulator knows no certificates.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from provider.emulators.ledger import Ledger
from provider.emulators.scenario import ClientSpec, Scenario

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class EntraError(Exception):
    """
    A refusal of the token endpoint.

    :param code: the number after AADSTS.
    :param error: OAuth's error code.
    """

    def __init__(self, status: int, error: str, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.code = code


class TokenStore:
    """
    The access tokens that were issued. Thread-safe.

    :param seconds: how long a token lives.
    """

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._expiry: dict[str, float] = {}

    def issue(self) -> str:
        """Return a new token."""
        token = f"emulator.{secrets.token_urlsafe(24)}"
        with self._lock:
            self._expiry[token] = time.monotonic() + self.seconds
        return token

    def check(self, token: str) -> Literal["valid", "expired", "unknown"]:
        """Return what a token is worth now."""
        with self._lock:
            expiry = self._expiry.get(token)
        if expiry is None:
            return "unknown"
        return "valid" if time.monotonic() < expiry else "expired"

    def issued(self) -> list[str]:
        """Return every token that was ever issued."""
        with self._lock:
            return list(self._expiry)

    def expire_all(self) -> None:
        """Let every token that was issued so far be expired."""
        with self._lock:
            self._expiry = dict.fromkeys(self._expiry, time.monotonic())


class Entra:
    """The tenants and clients of a scenario."""

    def __init__(self, scenario: Scenario, ledger: Ledger, tokens: TokenStore) -> None:
        self._clients = scenario.powerbi.clients
        self._auto_create = scenario.auto_create
        self._ledger = ledger
        self._tokens = tokens

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.add_api_route("/{tenant}/v2.0/.well-known/openid-configuration", self.discovery, methods=["GET"])
        router.add_api_route("/{tenant}/oauth2/v2.0/token", self.token, methods=["POST"])
        return router

    def discovery(self, tenant: str, request: Request) -> JSONResponse:
        """Return the tenant's OIDC configuration."""
        try:
            self._check_tenant(tenant)
        except EntraError as error:
            return self._refusal(error)
        base = f"https://{request.url.netloc}/{tenant}"
        return JSONResponse(
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "issuer": f"{base}/v2.0",
                "response_types_supported": ["code", "id_token", "token"],
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
            }
        )

    async def token(self, tenant: str, request: Request) -> JSONResponse:
        """Issue an access token for client credentials."""
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        client_id = form.get("client_id", "")
        try:
            self._check(tenant, form)
        except EntraError as error:
            self._ledger.append("entra", "token", client_id, detail={"tenant_id": tenant}, outcome=f"AADSTS{error.code}")
            return self._refusal(error)
        token = self._tokens.issue()
        credential = "client_secret" if "client_secret" in form else "client_assertion"
        self._ledger.append(
            "entra",
            "token",
            client_id,
            detail={"tenant_id": tenant, "scope": form["scope"], "credential": credential},
        )
        seconds = self._tokens.seconds
        return JSONResponse({"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token})

    def _check(self, tenant: str, form: dict[str, str]) -> None:
        self._check_tenant(tenant)
        if form.get("grant_type") != "client_credentials":
            raise EntraError(
                400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type; use client_credentials."
            )
        client = self._client(tenant, form.get("client_id", ""))
        scope = form.get("scope", "")
        if not scope.endswith("/.default"):
            raise EntraError(
                400,
                "invalid_scope",
                1002012,
                f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value"
                " with /.default suffixed to the resource identifier (application ID URI).",
            )
        if "client_assertion" in form:
            _check_assertion(form)
        elif not form.get("client_secret"):
            raise EntraError(
                401,
                "invalid_client",
                7000218,
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            )
        elif client and not hmac.compare_digest(form["client_secret"].encode(), client.client_secret.encode()):
            raise EntraError(
                401,
                "invalid_client",
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret"
                f" value, not the client secret ID, for a secret added to app '{client.client_id}'.",
            )

    def _check_tenant(self, tenant: str) -> None:
        if not self._auto_create and all(client.tenant_id != tenant for client in self._clients):
            raise EntraError(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")

    def _client(self, tenant: str, client_id: str) -> ClientSpec | None:
        for client in self._clients:
            if (client.tenant_id, client.client_id) == (tenant, client_id):
                return client
        if self._auto_create and client_id:
            return None
        raise EntraError(
            400,
            "unauthorized_client",
            700016,
            f"Application with identifier '{client_id}' was not found in the directory '{tenant}'.",
        )

    @staticmethod
    def _refusal(error: EntraError) -> JSONResponse:
        trace_id, correlation_id = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
        return JSONResponse(
            {
                "error": error.error,
                "error_description": f"AADSTS{error.code}: {error} Trace ID: {trace_id} Correlation ID:"
                f" {correlation_id} Timestamp: {stamp}",
                "error_codes": [error.code],
                "timestamp": stamp,
                "trace_id": trace_id,
                "correlation_id": correlation_id,
                "error_uri": f"https://login.microsoftonline.com/error?code={error.code}",
            },
            status_code=error.status,
        )


def _check_assertion(form: dict[str, str]) -> None:
    refusal = EntraError(401, "invalid_client", 700027, "Client assertion failed: it is not a JWT that can be read.")
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise EntraError(
            400, "invalid_request", 900144, f"The request body must contain client_assertion_type = {ASSERTION_TYPE}."
        )
    parts = form["client_assertion"].split(".")
    if len(parts) != 3:
        raise refusal
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        raise refusal from None
    if not isinstance(claims, dict):
        raise refusal
    if claims.get("exp", 0) <= time.time():
        raise EntraError(401, "invalid_client", 700024, "Client assertion is not within its valid time range.")
