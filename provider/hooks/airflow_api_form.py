"""The form of a connection of type ``airflow_api`` in Airflow's UI."""

from __future__ import annotations

from typing import Any


def connection_type() -> dict[str, Any]:
    """Return the form by Airflow's ``provider_info.schema.json``."""

    def field(label: str, description: str, kind: str = "string") -> dict[str, Any]:
        return {"label": label, "description": description, "schema": {"type": [kind, "null"]}}

    return {
        "connection-type": "airflow_api",
        "hook-class-name": "provider.hooks.airflow_api.AirflowApiHook",
        "hook-name": "Airflow REST API",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {"login": "User (empty for a token)", "password": "Password or bearer token", "host": "API server"},
            "placeholders": {"host": "https://airflow.example.com"},
        },
        "conn-fields": {
            "gcp_conn_id": field("Google connection", "Its Google identity is the user, as on Cloud Composer."),
            "impersonation_chain": field("Impersonation", "Google service account to act as."),
            "ca_file": field("CA file", "PEM file of the certificate authorities to trust instead of the system's."),
            "allow_http": field("Allow http", "Send the password without TLS, inside a network of one's own.", "boolean"),
        },
    }
