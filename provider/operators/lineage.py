"""
What OpenLineage is told of a remote job, where Airflow's provider for it is installed.

Only that provider's listener asks, in the process of a task that has ended. It logs what goes wrong here, and the task stays as
it is.

.. seealso:: https://airflow.apache.org/docs/apache-airflow-providers-openlineage/stable/guides/developer.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset

    from provider.hooks.dataform.lineage import MadeTable
    from provider.hooks.remote_job import RemoteJob

#: https://openlineage.io/docs/spec/naming
_BIGQUERY = "bigquery"
_POWER_BI = "powerbi"


def job_lineage(job: RemoteJob, service: str, inputs: Iterable[Dataset], outputs: Iterable[Dataset]) -> OperatorLineage[Any, Any]:
    """Return what a job has read and made, with its id at its service."""
    from airflow.providers.common.compat.openlineage.facet import ExternalQueryRunFacet
    from airflow.providers.openlineage.extractors import OperatorLineage

    facet = ExternalQueryRunFacet(externalQueryId=job["id"], source=service)
    return OperatorLineage(inputs=list(inputs), outputs=list(outputs), run_facets={"externalQuery": facet})


def read_table(name: str) -> Dataset:
    """Return a table of BigQuery, from ``project.dataset.table``."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    return Dataset(namespace=_BIGQUERY, name=name)


def made_table(table: MadeTable) -> Dataset:
    """Return a table that Dataform has made, with what its repository says of it; the types of columns are not known."""
    from airflow.providers.common.compat.openlineage.facet import (
        Dataset,
        DatasetFacet,
        DocumentationDatasetFacet,
        SchemaDatasetFacet,
        SchemaDatasetFacetFields,
    )

    facets: dict[str, DatasetFacet] = {}
    if table.description:
        facets["documentation"] = DocumentationDatasetFacet(description=table.description)
    if table.columns:
        fields = [SchemaDatasetFacetFields(name=name, description=text or None) for name, text in table.columns]
        facets["schema"] = SchemaDatasetFacet(fields=fields)
    return Dataset(namespace=_BIGQUERY, name=table.name, facets=facets)


def power_bi_item(job: RemoteJob) -> Dataset:
    """Return what a refresh of Power BI has refreshed: ``workspace.item``, by their ids, as names change."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    return Dataset(namespace=_POWER_BI, name=f"{job['workspace_id']}.{job['item_id']}")
