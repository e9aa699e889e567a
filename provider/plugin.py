"""Airflow plugin: loaded by every Airflow process, task processes included, so it imports next to nothing."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from provider.listeners import task_log


class AcceleratorPlugin(AirflowPlugin):
    """Registers the listener that mirrors task instances to the application database."""

    name = "cloud_accelerator"
    listeners = [task_log]  # noqa: RUF012 - Airflow's own attribute, read only
