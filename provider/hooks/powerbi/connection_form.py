"""The form of a connection of type ``powerbi`` in Airflow's UI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from provider.hooks.powerbi.settings import CLOUDS, AuthMethod


def connection_type() -> dict[str, Any]:
    """Return the form by Airflow's ``provider_info.schema.json``."""

    def field(label: str, description: str, **schema: Any) -> dict[str, Any]:
        return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}

    def choice(names: Sequence[str]) -> dict[str, Any]:
        return {"type": "string", "enum": list(names), "default": names[0]}

    return {
        "connection-type": "powerbi",
        "hook-class-name": "provider.hooks.powerbi.hook.PowerBIHook",
        "hook-name": "Power BI",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {"login": "Client ID", "password": "Client secret", "host": "API URL (optional)"},
            "placeholders": {"host": "https://api.powerbi.com", "login": "application (client) id"},
        },
        "conn-fields": {
            "tenant_id": field("Tenant ID", "Id or domain of the Entra ID tenant."),
            "auth": field(
                "Authentication",
                "How the application logs in; google_federation as the Google account that this runs as.",
                # With a default: Airflow's form shows a choice without one as "null".
                **choice(get_args(AuthMethod)),
            ),
            "cloud": field("Cloud", "Which Microsoft cloud.", **choice(tuple(CLOUDS))),
            "certificate_path": field(
                "Certificate", "PEM file with certificate and private key, or PFX file; its passphrase is the client secret."
            ),
            "authority": field("Authority", "Another address of Entra ID, without the tenant."),
            "portal_url": field("Portal URL", "Another address of the Power BI service, for links."),
            "profile_id": field("Profile ID", "Id of the service principal profile to call Power BI as, if any."),
            "ca_file": field("CA file", "PEM file of the certificate authorities to trust instead of the system's."),
        },
    }
