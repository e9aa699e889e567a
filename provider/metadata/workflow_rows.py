"""The rows of one workflow: as they stand in a version, in the snapshot, and as they are compared."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from provider.metadata.rows import DefinitionRows

#: What a version records: an import, a way back, a deletion by ``import --prune``, and what an import found.
IMPORTED, ROLLED_BACK, DELETED, FOUND = "import", "rollback", "delete", "found"

#: ``accelerator enable`` and ``disable``.
SWITCHED_ON, SWITCHED_OFF = "enable", "disable"

#: ``accelerator rename``: of the workflow, of those that name it, and, without rows, of the name that it had.
RENAMED = "rename"

#: ``accelerator confirm``: what is lost from the tables was meant to go. A row without a workflow.
CONFIRMED = "confirm"


class Entry(TypedDict):
    """Rows of one workflow."""

    workflow: dict[str, Any]
    tasks: list[dict[str, Any]]
    dependencies: list[dict[str, Any]]


@dataclass(frozen=True)
class Shard:
    """
    One part of all workflows, told by a hash of their ids that is the same on every machine.

    :param number: from 1 to *count*.
    """

    number: int = 1
    count: int = 1

    @property
    def title(self) -> str:
        """Return how messages name it; empty where there is one alone."""
        return "" if self.count == 1 else f" of shard {self.number} of {self.count}"

    def __contains__(self, workflow_id: str) -> bool:
        return zlib.crc32(workflow_id.encode("utf-8", "replace")) % self.count == self.number - 1


@dataclass(frozen=True)
class Meant:
    """
    What people did on purpose to the definitions since a certain version.

    :param newest: the newest version there is.
    :param digests: workflow id → digest of the rows of its newest version; None where that deleted it.
    :param confirmed: somebody said of all that is lost that it was meant to go.
    """

    newest: int = 0
    digests: Mapping[str, str | None] = field(default_factory=dict)
    confirmed: bool = False

    def covers(self, workflow_id: str, entry: Entry | None) -> bool:
        """Return whether somebody meant the workflow to be what it is now; None is a deleted one."""
        if self.confirmed:
            return True
        return workflow_id in self.digests and self.digests[workflow_id] == (None if entry is None else digest(entry))


def by_workflow(rows: DefinitionRows) -> dict[str, DefinitionRows]:
    """
    Return the rows of each workflow; the order of the rows does not matter.

    Tasks without the row of their workflow are a group without a workflow, and edges without tasks stand under ``""``, as
    does all whose workflow is no text.
    """
    groups: dict[str, DefinitionRows] = {}

    def group(workflow_id: Any) -> DefinitionRows:
        return groups.setdefault(workflow_id if isinstance(workflow_id, str) else "", DefinitionRows())

    for row in rows.workflows:
        group(row["workflow_id"]).workflows.append(row)
    for row in sorted(rows.tasks, key=lambda row: str(row["task_id"])):
        group(row["workflow_id"]).tasks.append(row)
    workflow_of = {row["task_id"]: row["workflow_id"] for row in rows.tasks}
    for row in sorted(rows.dependencies, key=lambda row: (str(row["parent_id"]), str(row["child_id"]))):
        owner = workflow_of.get(row["child_id"]) or workflow_of.get(row["parent_id"]) or ""
        group(owner).dependencies.append(row)
    return groups


def joined(groups: Iterable[DefinitionRows]) -> DefinitionRows:
    """Return the rows of several workflows as one."""
    found = DefinitionRows()
    for group in groups:
        found.workflows.extend(group.workflows)
        found.tasks.extend(group.tasks)
        found.dependencies.extend(group.dependencies)
    return found


def to_entry(rows: DefinitionRows) -> Entry:
    """Return the rows of one workflow, which has its own row, as an entry."""
    return {"workflow": rows.workflows[0], "tasks": rows.tasks, "dependencies": rows.dependencies}


def entry_of(rows: DefinitionRows | None) -> Entry | None:
    """Return the rows of a workflow as an entry; None where its own row is gone."""
    return to_entry(rows) if rows is not None and rows.workflows else None


def to_rows(entries: Iterable[Entry]) -> DefinitionRows:
    """Return the rows of entries."""
    found = list(entries)
    return DefinitionRows(
        [entry["workflow"] for entry in found],
        [task for entry in found for task in entry["tasks"]],
        [edge for entry in found for edge in entry["dependencies"]],
    )


def task_ids(entry: Entry) -> set[str]:
    """Return the ids of the tasks."""
    return {row["task_id"] for row in entry["tasks"]}


def edges(entry: Entry) -> set[tuple[str, str]]:
    """Return the edges, as parent and child."""
    return {(row["parent_id"], row["child_id"]) for row in entry["dependencies"]}


@dataclass(frozen=True)
class Loss:
    """
    Tasks and edges of an entry that later rows lack.

    :param tasks: ids.
    :param edges: as parent and child.
    """

    tasks: frozenset[str] = frozenset()
    edges: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def between(cls, entry: Entry, now: Entry | None) -> Loss:
        """Return what an entry has and a later one lacks; None is a workflow that is gone."""
        if now is None:
            return cls(frozenset(task_ids(entry)), frozenset(edges(entry)))
        return cls(frozenset(task_ids(entry) - task_ids(now)), frozenset(edges(entry) - edges(now)))

    def __bool__(self) -> bool:
        return bool(self.tasks or self.edges)

    def __le__(self, other: Loss) -> bool:
        """Whether the other one has all that is lost by this one."""
        return self.tasks <= other.tasks and self.edges <= other.edges


def digest(entry: Entry) -> str:
    """Return a digest that is the same for the same rows, whether they are good or not."""
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()
