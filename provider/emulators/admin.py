# ruff: noqa: TID253 - the HTTP application is this module's subject, and only the emulators import it
"""The emulators' own HTTP interface: read the ledger, change the rules while they run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException

from provider.emulators.entra import TokenStore
from provider.emulators.http_server import HttpServer
from provider.emulators.ledger import Ledger
from provider.emulators.rules import Rule, RuleBook


class AdminServer(HttpServer):
    """
    Plain HTTP on loopback.

    - ``GET /_emulator/ledger?service=&operation=&resource=&after=``: entries, the oldest first.
    - ``GET``, ``POST``, ``DELETE /_emulator/rules`` and ``DELETE /_emulator/rules/{id}``: the fault rules.
    - ``POST /_emulator/tokens/expire``: every access token issued so far is expired from now on.

    :param port: 0 takes a free one.
    """

    def __init__(self, ledger: Ledger, rules: RuleBook, tokens: TokenStore, *, port: int = 0) -> None:
        self._ledger = ledger
        self._rules = rules
        self._tokens = tokens
        app = FastAPI(title="Cloud accelerator emulators")
        app.include_router(self._router())
        super().__init__(app, port)
        self.url = f"http://127.0.0.1:{self.port}"

    def entries(
        self, service: str | None = None, operation: str | None = None, resource: str | None = None, after: int = 0
    ) -> list[dict[str, Any]]:
        """Return ledger entries."""
        return [asdict(entry) for entry in self._ledger.entries(service, operation, resource, after)]

    def add_rule(self, rule: Rule) -> dict[str, int]:
        """Put a rule in force."""
        return {"id": self._rules.add(rule)}

    def remove_rule(self, rule_id: int) -> None:
        """
        Take a rule out of force.

        :raises HTTPException: 404, there is none of that id.
        """
        if not self._rules.remove(rule_id):
            raise HTTPException(404, f"No rule {rule_id}; GET /_emulator/rules lists them.")

    def _router(self) -> APIRouter:
        router = APIRouter(prefix="/_emulator")
        router.add_api_route("/ledger", self.entries, methods=["GET"])
        router.add_api_route("/rules", self._rules.describe, methods=["GET"])
        router.add_api_route("/rules", self.add_rule, methods=["POST"], status_code=201)
        router.add_api_route("/rules", self._rules.clear, methods=["DELETE"], status_code=204)
        router.add_api_route("/rules/{rule_id}", self.remove_rule, methods=["DELETE"], status_code=204)
        router.add_api_route("/tokens/expire", self._tokens.expire_all, methods=["POST"], status_code=204)
        return router
