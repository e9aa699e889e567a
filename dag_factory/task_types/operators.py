"""Operators of the built-in task types. Each function imports only the operator it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dag_factory.templates import to_airflow

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

    from dag_factory.task_types import TaskConfig
    from dag_factory.task_types.bigquery import BigQueryLoadConfig
    from dag_factory.task_types.bigquery_query import BigQueryQueryConfig
    from dag_factory.task_types.dataform import DataformConfig
    from dag_factory.task_types.external import ExternalConfig
    from dag_factory.task_types.gcs import GcsArchiveConfig
    from dag_factory.task_types.power_bi import PowerBIRefreshConfig


def dataform(config: DataformConfig, kwargs: dict[str, Any]) -> BaseOperator:
    """Make the operator of a ``dataform`` task."""
    from provider.operators.dataform import DataformWorkflowInvocationOperator

    return DataformWorkflowInvocationOperator(**_arguments(config), **kwargs)


def power_bi(config: PowerBIRefreshConfig, kwargs: dict[str, Any]) -> BaseOperator:
    """Make the operator of a ``power_bi_refresh`` task."""
    from provider.operators import powerbi

    if config.dataflow is not None:
        return powerbi.PowerBIDataflowRefreshOperator(**_arguments(config), **kwargs)
    return powerbi.PowerBISemanticModelRefreshOperator(**_arguments(config), **kwargs)


def bigquery_load(config: BigQueryLoadConfig, kwargs: dict[str, Any]) -> BaseOperator:
    """Make the operator of a ``bigquery_load`` task."""
    from provider.operators.bigquery import BigQueryLoadOperator

    arguments = _arguments(config)
    arguments["destination_project_dataset_table"] = arguments.pop("destination_table")
    return BigQueryLoadOperator(**arguments, **kwargs)


def bigquery_query(config: BigQueryQueryConfig, kwargs: dict[str, Any]) -> BaseOperator:
    """Make the operator of a ``bigquery_query`` task."""
    from provider.operators.bigquery_query import BigQueryQueryOperator

    return BigQueryQueryOperator(**_arguments(config), **kwargs)


def gcs_archive(config: GcsArchiveConfig, kwargs: dict[str, Any]) -> BaseOperator:
    """Make the operator of a ``gcs_archive`` task."""
    from provider.operators.gcs import GCSArchiveOperator

    return GCSArchiveOperator(**_arguments(config), **kwargs)


def external(config: ExternalConfig, kwargs: dict[str, Any]) -> BaseOperator:
    """Make the sensor of an ``external`` task."""
    from provider.sensors.completion import TaskCompletionSensor

    given = {"poke_interval": config.poll_interval, "timeout": config.wait_timeout}
    return TaskCompletionSensor(**{name: value for name, value in given.items() if value is not None}, **kwargs)


def _arguments(config: TaskConfig) -> dict[str, Any]:
    """Return what the row says, with templates in Airflow's names; the operator's defaults hold for the rest."""
    arguments = to_airflow(config.model_dump(mode="json", by_alias=True, exclude_none=True))
    return dict(arguments)
