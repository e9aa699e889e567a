"""One workspace with one semantic model and one dataflow, and what tests do to them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provider.emulators.rules import Rule
from provider.hooks.powerbi.hook import PowerBIHook, RefreshRequest
from provider.operators.powerbi import PowerBIDataflowRefreshOperator, PowerBISemanticModelRefreshOperator
from tests import identities
from tests.provider.operators.waits import FAST

TOKEN_EXPIRED = {"error": {"code": "TokenExpired", "message": "Access token has expired, resubmit with a new access token"}}

#: Seconds for refreshes that must still run when they are looked at for the first time, on a slow machine too.
LONG = 1.5
WORKSPACE_ID = "11111111-1111-4111-8111-111111111111"
MODEL_ID = "22222222-2222-4222-8222-222222222222"
OTHER_MODEL_ID = "44444444-4444-4444-8444-444444444444"
AUTH_METHODS = ("client_secret", "pem", "pfx", "managed_identity", "google_federation")


def workspace(**changes: Any) -> dict[str, Any]:
    """Return the workspace; the changes are to its semantic model."""
    model = {"id": MODEL_ID, "name": "Sales", "seconds": 0.3, **changes}
    return {
        "id": WORKSPACE_ID,
        "name": "Finance's",
        "semantic_models": [model],
        "dataflows": [{"name": "Staging", "seconds": 0.3}],
    }


def powerbi(*workspaces: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"powerbi": {"workspaces": list(workspaces) or [workspace()], **settings}}


def model(**kwargs: Any) -> PowerBISemanticModelRefreshOperator:
    if "report" not in kwargs:
        kwargs = {"semantic_model": "Sales", **kwargs}
    return PowerBISemanticModelRefreshOperator(**{**FAST, "workspace": "Finance's", **kwargs})


def enhanced(**kwargs: Any) -> PowerBISemanticModelRefreshOperator:
    return model(**{"refresh": {"type": "full"}, **kwargs})


def dataflow(**kwargs: Any) -> PowerBIDataflowRefreshOperator:
    return PowerBIDataflowRefreshOperator(**{**FAST, "workspace": "Finance's", "dataflow": "Staging", **kwargs})


def start_foreign_refresh(**body: Any) -> dict[str, Any]:
    """Somebody else refreshes the model."""
    hook = PowerBIHook()
    request: RefreshRequest = {
        "workspace": WORKSPACE_ID,
        "semantic_model": MODEL_ID,
        "body": body or {"notifyOption": "NoNotification"},
        "enhanced": bool(body),
    }
    return hook.start(request, hook.prepare(request))


def posted(cloud: Any) -> list[Any]:
    entries: list[Any] = cloud.ledger.entries(operation="refresh_posted")
    return entries


def cancelled(cloud: Any) -> list[str]:
    """Return the refreshes that somebody asked to cancel."""
    return [entry.resource for entry in cloud.ledger.entries(operation="refresh_cancel_requested")]


def disturb(cloud: Any, match: str, **fault: Any) -> int:
    """Put a fault of Power BI in force; the value is its id."""
    number: int = cloud.rules.add(Rule.model_validate({"service": "powerbi", "match": match, "fault": "status", **fault}))
    return number


def hits(cloud: Any) -> int:
    return sum(rule["hits"] for rule in cloud.rules.describe())


def change_connection(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any] | None = None, **fields: Any) -> None:
    """Change fields of the connection ``powerbi_default``; ``extra`` is merged."""
    connection = json.loads(os.environ["AIRFLOW_CONN_POWERBI_DEFAULT"]) | fields
    connection["extra"] |= extra or {}
    monkeypatch.setenv("AIRFLOW_CONN_POWERBI_DEFAULT", json.dumps(connection))


@contextmanager
def logged_in_by(
    auth: str, cloud: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, passphrase: str = "pass phrase"
) -> Iterator[identities.IdentityServer]:
    """Let the connection log in by one of AUTH_METHODS; the value is the identity server of this machine."""
    with identities.identity_server(cloud.tokens.issue) as server:
        if auth in ("pem", "pfx"):
            path = identities.certificate_file(folder, auth, passphrase)
            change_connection(monkeypatch, {"auth": "certificate", "certificate_path": str(path)}, password=passphrase)
        elif auth == "managed_identity":
            monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.url)
            change_connection(monkeypatch, {"auth": auth, "tenant_id": ""}, login="", password="")
        elif auth == "google_federation":
            account = identities.service_account_file(folder, f"{server.url}/token")
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
            change_connection(monkeypatch, {"auth": auth}, password="")
        yield server
