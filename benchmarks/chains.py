"""Workflows for the measurements: each task follows the two before it."""

from __future__ import annotations

import itertools
from typing import Any

from provider.metadata.rows import DefinitionRows

CONFIG = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales", "git_commitish": "main"}


def add_chain(rows: DefinitionRows, workflow_id: str, tasks: int, **options: Any) -> None:
    """
    Add a workflow.

    :param tasks: how many; they are ``<workflow_id>_t0`` and so on.
    :param options: columns of its row.
    """
    ids = [f"{workflow_id}_t{number}" for number in range(tasks)]
    rows.workflows.append({"workflow_id": workflow_id, **options})
    rows.tasks.extend({"task_id": one, "workflow_id": workflow_id, "task_type": "dataform", "config": CONFIG} for one in ids)
    edges = [*itertools.pairwise(ids), *zip(ids, ids[2:], strict=False)]
    rows.dependencies.extend({"parent_id": parent, "child_id": child} for parent, child in edges)


def store(rows: DefinitionRows) -> None:
    """Make the tables of the configured database, with these rows, and the snapshot that a dag-processor would have written."""
    from dag_factory import snapshot
    from provider import settings
    from provider.metadata.definition_rows import read_definitions
    from provider.metadata.definitions import replace_workflows
    from provider.metadata.engine import create_engine, read_session, write_session
    from provider.metadata.schema import upgrade
    from provider.metadata.workflow_rows import Shard, by_workflow, to_entry

    upgrade(create_engine(settings.get("sql_alchemy_conn")))
    with write_session() as session:
        replace_workflows(session, rows)
    with read_session() as session:
        groups = by_workflow(read_definitions(session))
    snapshot.save(snapshot.Snapshot({name: to_entry(group) for name, group in groups.items()}), Shard())
