"""Workflows for the measurements: each task follows the two before it."""

from __future__ import annotations

import itertools
from typing import Any

from provider.metadata.rows import DefinitionRows

_CONFIG = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales", "git_commitish": "main"}


def add_chain(rows: DefinitionRows, workflow_id: str, tasks: int, **options: Any) -> None:
    """
    Add a workflow.

    :param tasks: how many; they are ``<workflow_id>_t0`` and so on.
    :param options: columns of its row.
    """
    ids = [f"{workflow_id}_t{number}" for number in range(tasks)]
    rows.workflows.append({"workflow_id": workflow_id, **options})
    rows.tasks.extend({"task_id": one, "workflow_id": workflow_id, "task_type": "dataform", "config": _CONFIG} for one in ids)
    edges = [*itertools.pairwise(ids), *zip(ids, ids[2:], strict=False)]
    rows.dependencies.extend({"parent_id": parent, "child_id": child} for parent, child in edges)
