"""The supervisor of a task."""

from __future__ import annotations


def task_instance_state(*, dag_id: str, run_id: str, task_id: str, map_index: int | None) -> str | None:
    """
    Ask Airflow for the committed state of one task instance.

    The answer names a mapped task instance ``<task_id>_<map_index>``.

    :raises AirflowRuntimeError: the API server refused or could not answer.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    index = -1 if map_index is None else map_index
    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, map_index=index, task_ids=[task_id], run_ids=[run_id])
    key = task_id if index < 0 else f"{task_id}_{index}"
    state = states.get(run_id, {}).get(key)
    return None if state is None else str(getattr(state, "value", state))
