"""
The DAG that a task process needs, from the rows of its task and of those next to it.

Its cost does not depend on how many tasks the workflow or the tables have. It is used where the whole would give the same: the
rows are what they are in the last good definitions, or there are none and the rows are good. Else whoever asks builds the whole
workflow, by all its rules.
"""

from __future__ import annotations

from airflow.sdk import DAG

from dag_factory import snapshot
from dag_factory.snapshot import Agreement
from dag_factory.source import read_task
from dag_factory.specs import RESERVED_TASK_IDS
from dag_factory.task_types.registry import TaskTypes
from dag_factory.validation import validate
from dag_factory.workflow_dag import build_dag
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Shard


def single_task_dag(workflow_id: str, task_id: str, shard: Shard, types: TaskTypes) -> DAG | None:
    """
    Return the DAG of a workflow with one task in full; None where the whole workflow has to be looked at.

    :raises DefinitionsUnavailableError: the rows cannot be read.
    """
    if task_id in RESERVED_TASK_IDS:
        return None
    rows = read_task(workflow_id, task_id)
    try:
        if not _can_stand_alone(rows, workflow_id, task_id, types):
            return None
        if snapshot.agrees(shard, workflow_id, task_id, rows) is Agreement.DIFFERS:
            return None
        spec = validate(rows, types, only_task=task_id).workflows.get(workflow_id)
        return None if spec is None else build_dag(spec, types, only_task=task_id)
    except Exception:  # noqa: BLE001 - whatever rows, snapshot or an operator do, building the whole finds it again and says so
        return None


def _can_stand_alone(rows: DefinitionRows, workflow_id: str, task_id: str, types: TaskTypes) -> bool:
    """Tell whether the task is there and its operator does not look at the rest of the DAG, as those of others may."""
    own = [row for row in rows.tasks if row["task_id"] == task_id and row["workflow_id"] == workflow_id]
    return bool(own) and bool(rows.workflows) and types.is_built_in(str(own[0]["task_type"]))
