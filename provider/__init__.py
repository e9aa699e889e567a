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
    from provider.hooks import airflow_api_form
    from provider.hooks.powerbi import connection_form

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
            {
                "integration-name": "Hypertext Transfer Protocol (HTTP)",
                "external-doc-url": "https://www.rfc-editor.org/rfc/rfc9110",
                "tags": ["protocol"],
            },
        ],
        **_parts(),
        "connection-types": [connection_form.connection_type(), airflow_api_form.connection_type()],
        "extra-links": [
            f"provider.links.{link}" for link in ("PowerBILink", "DataformInvocationLink", "BigQueryJobLink", "RemoteJobLink")
        ],
        "config": {
            settings.SECTION: {
                "description": "Settings of airflow-provider-cloud-accelerator.",
                "options": settings.OPTIONS,
            }
        },
        "cli": ["provider.cli.airflow_group.get_accelerator_cli_commands"],
    }


def _parts() -> dict[str, Any]:
    """Return the modules by what is in them."""
    return {
        "operators": [
            _modules(
                "Cloud Accelerator",
                "provider.operators.task_batch",
                "provider.operators.dispatch",
                "provider.operators.run_workflow",
                "provider.operators.wait_for_workflow",
                "provider.operators.alerts",
                "provider.reconciler.operator",
            ),
            _modules("Microsoft Power BI", "provider.operators.powerbi"),
            _modules("Google Dataform", "provider.operators.dataform"),
            _modules(
                "Google Cloud",
                "provider.operators.bigquery",
                "provider.operators.bigquery_check",
                "provider.operators.bigquery_query",
                "provider.operators.gcs",
            ),
            _modules("Google Cloud Pub/Sub", "provider.operators.pubsub"),
            _modules("Hypertext Transfer Protocol (HTTP)", "provider.operators.http"),
        ],
        "sensors": [
            _modules("Google Cloud Pub/Sub", "provider.sensors.pubsub"),
            _modules("Cloud Accelerator", "provider.sensors.completion"),
        ],
        "hooks": [
            _modules("Microsoft Power BI", "provider.hooks.powerbi.hook"),
            _modules("Google Dataform", "provider.hooks.dataform.hook"),
            _modules("Google Cloud", "provider.hooks.bigquery"),
            _modules("Cloud Accelerator", "provider.hooks.airflow_api", "provider.hooks.airflow_runs"),
        ],
        "triggers": [
            _modules("Google Cloud Pub/Sub", "provider.triggers.pubsub"),
            _modules(
                "Cloud Accelerator",
                "provider.triggers.remote_job",
                "provider.triggers.completion",
                "provider.triggers.alerts",
                "provider.reconciler.trigger",
            ),
        ],
    }


def _modules(integration: str, *modules: str) -> dict[str, Any]:
    return {"integration-name": integration, "python-modules": list(modules)}
