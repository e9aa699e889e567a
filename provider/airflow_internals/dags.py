"""DAGs as Airflow stores them. Airflow is imported when it is asked: its serialization is large, and no task process needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import DAG


def serialized(dag: DAG) -> dict[str, Any]:
    """
    Return a DAG as Airflow stores it: what JSON can hold, the same for the same DAG.

    Stands on ``airflow.serialization.serialized_objects.DagSerialization`` (3.3.2), by which the dag-processor stores DAGs.

    :raises airflow.exceptions.SerializationError: Airflow cannot store the DAG. The dag-processor would report that for the
        file of the DAG, and lose the other DAGs in it.
    """
    from airflow.serialization.serialized_objects import DagSerialization

    stored: dict[str, Any] = DagSerialization.to_dict(dag)
    return stored
