"""
Makes task instances that wait in the triggerer, without the tasks: the rows that as many task processes would have left behind.

Runs in the environment of an Airflow whose database has the DAG. On standard input: ``{"dag_id", "connections": {connection id:
JSON}, "tasks": {task id: [trigger of each map index, as Airflow stores it]}}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.deferrals import Stored


def defer(dag_id: str, connections: Mapping[str, str], tasks: Mapping[str, Sequence[Stored]]) -> None:
    """
    Create a run, and defer its task instances to these triggers.

    :raises ValueError: a task has not as many task instances as there are triggers for it.
    """
    from airflow.models.connection import Connection
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.sdk import timezone
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select

    now = timezone.utcnow()
    with create_session() as session:
        session.add_all([Connection.from_json(value, conn_id) for conn_id, value in connections.items()])
        dag: Any = SerializedDagModel.get_dag(dag_id, session=session)
        run = dag.create_dagrun(
            run_id="batch_1",
            run_after=now,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        for task_id, triggers in tasks.items():
            of_task = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run.run_id, TaskInstance.task_id == task_id)
            instances = session.scalars(select(TaskInstance).where(*of_task).order_by(TaskInstance.map_index))
            for instance, (path, arguments) in zip(instances, triggers, strict=True):
                instance.trigger = Trigger(path, arguments)
                instance.state = TaskInstanceState.DEFERRED
                instance.try_number = 1
                instance.start_date = now
                instance.next_method = "execute_complete"
                instance.next_kwargs = {}


if __name__ == "__main__":
    defer(**json.load(sys.stdin))
