"""Task type ``external``: work done elsewhere, whose end a message tells."""

from __future__ import annotations

from dag_factory.task_types import TaskConfig, TaskType
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, Seconds


class ExternalConfig(TaskConfig):
    """
    Configuration of the wait for a message.

    :param poll_interval: seconds between two looks into the inbox; None for the sensor's default.
    :param wait_timeout: seconds until the wait fails; None for Airflow's default of sensors, seven days.
    """

    poll_interval: Seconds | None = None
    wait_timeout: Seconds | None = None


TASK_TYPE = TaskType("external", ExternalConfig, "dag_factory.task_types.operators:external", REMOTE_JOB_DEFAULTS)
