"""Task type ``gcs_copy``: copy objects of Cloud Storage to another place."""

from __future__ import annotations

from dag_factory.task_types import OperatorCall, TaskType, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS
from dag_factory.task_types.gcs import GcsTransferConfig


def operator(config: GcsTransferConfig) -> OperatorCall:
    """Return the operator of a ``gcs_copy`` task."""
    from provider.operators.gcs import GCSCopyOperator

    return GCSCopyOperator, operator_arguments(config)


TASK_TYPE = TaskType("gcs_copy", GcsTransferConfig, operator, REMOTE_JOB_DEFAULTS)
