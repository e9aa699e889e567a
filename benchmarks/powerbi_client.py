"""A person at the Power BI service: starts and cancels refreshes that no Airflow knows of."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

SCOPE = "https://analysis.windows.net/powerbi/api/.default"


@contextmanager
def signed_in(environment: Mapping[str, str], ca_file: str | Path) -> Iterator[httpx.Client]:
    """Yield a client with a token of its own, at ``/v1.0/myorg``."""
    connection = json.loads(environment["AIRFLOW_CONN_POWERBI_DEFAULT"])
    extra = connection["extra"]
    trust = ssl.create_default_context(cafile=str(ca_file))
    base = f"{connection['host']}/v1.0/myorg/"
    with httpx.Client(base_url=base, verify=trust, timeout=60.0, trust_env=False) as client:
        form = {
            "grant_type": "client_credentials",
            "client_id": connection["login"],
            "client_secret": connection["password"],
            "scope": SCOPE,
        }
        answer = client.post(f"{extra['authority']}/{extra['tenant_id']}/oauth2/v2.0/token", data=form).raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


def azure_connection(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the Azure provider's connection to the emulators, by that provider's own extras: nothing is patched."""
    ours = json.loads(environment["AIRFLOW_CONN_POWERBI_DEFAULT"])
    extra = {
        "tenant_id": ours["extra"]["tenant_id"],
        "authority": ours["extra"]["authority"],
        "base_url": f"{ours['host']}/v1.0",
        "disable_instance_discovery": True,
        "allowed_hosts": "localhost",
        "verify": ours["extra"]["ca_file"],
    }
    connection = {"conn_type": "powerbi", "login": ours["login"], "password": ours["password"], "extra": extra}
    return {"AIRFLOW_CONN_AZURE_POWERBI": json.dumps(connection)}
