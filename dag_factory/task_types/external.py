"""Task type ``external``: work done elsewhere, whose end a message tells."""

from __future__ import annotations

from dag_factory.task_types import OperatorCall, TaskConfig, TaskType
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, Seconds


class ExternalConfig(TaskConfig):
    """
    Configuration of the wait for a message.

    :param poll_interval: seconds between two looks into the inbox; None for the sensor's default.
    :param wait_timeout: seconds until the wait fails; None for Airflow's default of sensors, seven days.
    """

    poll_interval: Seconds | None = None
    wait_timeout: Seconds | None = None


def operator(config: ExternalConfig) -> OperatorCall:
    """Return the sensor of an ``external`` task."""
    from provider.sensors.completion import TaskCompletionSensor

    given = {"poke_interval": config.poll_interval, "timeout": config.wait_timeout}
    return TaskCompletionSensor, {name: value for name, value in given.items() if value is not None}


# A message names a task, and not one of its instances.
TASK_TYPE = TaskType("external", ExternalConfig, operator, REMOTE_JOB_DEFAULTS, can_expand=False)
