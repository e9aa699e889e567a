"""Run table-defined workflows on Apache Airflow: see ``docs/architecture.md`` for the map of this package."""

from __future__ import annotations

from typing import Any

__all__ = ["__version__", "get_provider_info"]

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """
    Describe this provider to Airflow (entry point ``apache_airflow_provider``).

    The plugin is not named here: Airflow drops a plugin that is registered both here and by its entry point.

    :return: a dict by Airflow's ``provider_info.schema.json``.
    """
    from provider import settings

    return {
        "package-name": "airflow-provider-cloud-accelerator",
        "name": "Cloud Accelerator",
        "description": "Workflows defined as rows: a DAG factory, Dataform and Power BI operators, Pub/Sub intake, TaskLog.",
        "integrations": [
            {"integration-name": "Cloud Accelerator", "external-doc-url": "https://airflow.apache.org/", "tags": ["software"]},
            {
                "integration-name": "Microsoft Power BI",
                "external-doc-url": "https://learn.microsoft.com/rest/api/power-bi/",
                "tags": ["azure"],
            },
            {"integration-name": "Google Dataform", "external-doc-url": "https://cloud.google.com/dataform", "tags": ["gcp"]},
            {"integration-name": "Google Cloud", "external-doc-url": "https://cloud.google.com", "tags": ["gcp"]},
            {"integration-name": "Google Cloud Pub/Sub", "external-doc-url": "https://cloud.google.com/pubsub", "tags": ["gcp"]},
        ],
        "operators": [
            _modules("Cloud Accelerator", "provider.operators.task_batch", "provider.operators.dispatch"),
            _modules("Microsoft Power BI", "provider.operators.powerbi"),
            _modules("Google Dataform", "provider.operators.dataform"),
            _modules(
                "Google Cloud", "provider.operators.bigquery", "provider.operators.bigquery_query", "provider.operators.gcs"
            ),
        ],
        "sensors": [
            _modules("Google Cloud Pub/Sub", "provider.sensors.pubsub"),
            _modules("Cloud Accelerator", "provider.sensors.completion"),
        ],
        "hooks": [
            _modules("Microsoft Power BI", "provider.hooks.powerbi.hook"),
            _modules("Google Dataform", "provider.hooks.dataform.hook"),
            _modules("Google Cloud", "provider.hooks.bigquery"),
        ],
        "triggers": [
            _modules("Google Cloud Pub/Sub", "provider.triggers.pubsub"),
            _modules("Cloud Accelerator", "provider.triggers.remote_job", "provider.triggers.completion"),
        ],
        "connection-types": [_powerbi_connection_type()],
        "extra-links": [
            "provider.links.powerbi.PowerBILink",
            "provider.links.dataform.DataformInvocationLink",
            "provider.links.bigquery.BigQueryJobLink",
        ],
        "config": {
            settings.SECTION: {
                "description": "Settings of airflow-provider-cloud-accelerator.",
                "options": settings.OPTIONS,
            }
        },
        "cli": ["provider.cli.airflow_group.get_accelerator_cli_commands"],
    }


def _modules(integration: str, *modules: str) -> dict[str, Any]:
    return {"integration-name": integration, "python-modules": list(modules)}


def _powerbi_connection_type() -> dict[str, Any]:
    def field(label: str, description: str, **schema: Any) -> dict[str, Any]:
        return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}

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
                "client_secret (default), certificate, managed_identity, or google_federation (the Google account this runs as).",
                enum=["client_secret", "certificate", "managed_identity", "google_federation", None],
            ),
            "cloud": field(
                "Cloud", "Which Microsoft cloud; public by default.", enum=["public", "gcc", "gcc_high", "dod", "china", None]
            ),
            "certificate_path": field(
                "Certificate", "PEM file with certificate and private key, or PFX file; its passphrase is the client secret."
            ),
            "authority": field("Authority", "Another address of Entra ID, without the tenant."),
            "portal_url": field("Portal URL", "Another address of the Power BI service, for links."),
            "ca_file": field("CA file", "PEM file of the certificate authorities to trust instead of the system's."),
        },
    }
