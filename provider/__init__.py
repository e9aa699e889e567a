"""Run table-defined workflows on Apache Airflow: see ``docs/architecture.md`` for the map of this package."""

from __future__ import annotations

from typing import Any

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
            {"integration-name": "Google Cloud Pub/Sub", "external-doc-url": "https://cloud.google.com/pubsub", "tags": ["gcp"]},
        ],
        "operators": [
            _modules("Cloud Accelerator", "provider.operators.task_batch", "provider.operators.dispatch"),
            _modules("Microsoft Power BI", "provider.operators.powerbi"),
            _modules("Google Dataform", "provider.operators.dataform"),
        ],
        "sensors": [_modules("Google Cloud Pub/Sub", "provider.sensors.pubsub")],
        "hooks": [
            _modules("Microsoft Power BI", "provider.hooks.powerbi"),
            _modules("Google Dataform", "provider.hooks.dataform"),
        ],
        "triggers": [
            _modules("Microsoft Power BI", "provider.triggers.powerbi"),
            _modules("Google Dataform", "provider.triggers.dataform"),
            _modules("Google Cloud Pub/Sub", "provider.triggers.pubsub"),
        ],
        "connection-types": [_powerbi_connection_type()],
        "extra-links": [
            "provider.links.powerbi.PowerBILink",
            "provider.links.dataform.DataformInvocationLink",
        ],
        "config": {
            settings.SECTION: {
                "description": "Settings of airflow-provider-cloud-accelerator.",
                "options": settings.OPTIONS,
            }
        },
        "cli": ["provider.cli.definition.get_accelerator_cli_commands"],
    }


def _modules(integration: str, *modules: str) -> dict[str, Any]:
    return {"integration-name": integration, "python-modules": list(modules)}


def _powerbi_connection_type() -> dict[str, Any]:
    def field(label: str, description: str, **schema: Any) -> dict[str, Any]:
        return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}

    return {
        "connection-type": "powerbi",
        "hook-class-name": "provider.hooks.powerbi.PowerBIHook",
        "hook-name": "Power BI",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {"login": "Client ID", "password": "Client secret", "host": "API URL (optional)"},
            "placeholders": {"host": "https://api.powerbi.com", "login": "application (client) id"},
        },
        "conn-fields": {
            "tenant_id": field("Tenant ID", "Directory (tenant) id of the Entra application."),
            "cloud": field(
                "Cloud",
                "Which Power BI cloud: public, gcc, gcc_high, dod or china.",
                enum=["public", "gcc", "gcc_high", "dod", "china"],
            ),
        },
    }
