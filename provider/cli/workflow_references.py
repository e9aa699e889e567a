"""Where the rows of a workflow name others: in ``after``, and in the configs of tasks that start others or wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dag_factory.task_types.run_workflow import TASK_TYPE as RUN_WORKFLOW
from dag_factory.task_types.wait_for_workflow import TASK_TYPE as WAIT_FOR_WORKFLOW
from provider.metadata.rows import DefinitionRows
from provider.plain_data import as_list, leaves

#: Task types whose config names a workflow.
_NAMING = frozenset({RUN_WORKFLOW.name, WAIT_FOR_WORKFLOW.name})


@dataclass(frozen=True)
class References:
    """
    What names workflows that are to have other ids, beside their own rows.

    :param after: workflow id → its column ``after``, as it is to be.
    :param configs: task id → its column ``config``, as it is to be.
    :param owners: the workflows of both.
    :param waiting: those of them with tasks that wait for a batch.
    :param others: places that have the same text and may mean something else.
    """

    after: dict[str, list[Any]] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    owners: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)


def references_to(rows: DefinitionRows, names: Mapping[str, str]) -> References:
    """
    Return what in the rows names a workflow.

    :param names: id → the id that it is to have.
    """
    found = References()
    for row in rows.workflows:
        after = as_list(row.get("after"))
        if isinstance(after, list) and any(_other(one, names) for one in after):
            found.after[row["workflow_id"]] = [_other(one, names) or one for one in after]
            found.owners.add(row["workflow_id"])
    for row in rows.tasks:
        config = row.get("config")
        if row["task_type"] in _NAMING and isinstance(config, dict) and (other := _other(config.get("workflow"), names)):
            found.configs[row["task_id"]] = config = {**config, "workflow": other}
            found.owners.add(row["workflow_id"])
            if row["task_type"] == WAIT_FOR_WORKFLOW.name:
                found.waiting.add(row["workflow_id"])
        if any(_other(one, names) for one in leaves((config, row.get("expand")))):
            found.others.append(f"tasks row {row['task_id']}")
    return found


def with_references(rows: DefinitionRows, references: References) -> DefinitionRows:
    """Return the rows as they are to be."""
    workflows = [_with(row, "after", references.after.get(row["workflow_id"])) for row in rows.workflows]
    tasks = [_with(row, "config", references.configs.get(row["task_id"])) for row in rows.tasks]
    return DefinitionRows(workflows, tasks, rows.dependencies)


def _other(value: Any, names: Mapping[str, str]) -> str | None:
    return names.get(value) if isinstance(value, str) else None


def _with(row: dict[str, Any], column: str, value: Any) -> dict[str, Any]:
    return {**row, column: value} if value is not None else row
