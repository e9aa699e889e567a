"""
The last good definitions, in a file.

DAGs are built from it while the application database is away, and for a workflow whose rows turned bad. It holds rows, not
specs, so that a newer version of this package checks them by its own rules.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from provider import settings
from provider.files import replace_file
from provider.metadata.rows import DefinitionRows

log = logging.getLogger(__name__)

FILE_NAME = "definitions.json"
_FORMAT = 1


class Entry(TypedDict):
    """Rows of one workflow."""

    workflow: dict[str, Any]
    tasks: list[dict[str, Any]]
    dependencies: list[dict[str, Any]]


class SnapshotError(Exception):
    """The snapshot cannot be read or written; the message names the file."""


@dataclass(frozen=True)
class Snapshot:
    """
    Rows by workflow.

    :param entries: workflow id → its rows.
    :param missing: those of them that went missing at once, and are kept until somebody decides.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()

    def rows(self, workflow_ids: Iterable[str]) -> DefinitionRows:
        """Return the rows of some workflows; those that are not in the snapshot have none."""
        found = [self.entries[workflow_id] for workflow_id in workflow_ids if workflow_id in self.entries]
        return DefinitionRows(
            [entry["workflow"] for entry in found],
            [task for entry in found for task in entry["tasks"]],
            [edge for entry in found for edge in entry["dependencies"]],
        )


def by_workflow(rows: DefinitionRows, workflow_ids: Collection[str]) -> dict[str, Entry]:
    """Return the rows of some valid workflows as entries; the order of the rows does not matter."""
    entries: dict[str, Entry] = {
        row["workflow_id"]: {"workflow": row, "tasks": [], "dependencies": []}
        for row in rows.workflows
        if row["workflow_id"] in workflow_ids
    }
    workflow_of = {row["task_id"]: row["workflow_id"] for row in rows.tasks}
    for row in sorted(rows.tasks, key=lambda row: str(row["task_id"])):
        if row["workflow_id"] in entries:
            entries[row["workflow_id"]]["tasks"].append(row)
    for row in sorted(rows.dependencies, key=lambda row: (str(row["parent_id"]), str(row["child_id"]))):
        if (workflow_id := workflow_of.get(row["child_id"])) in entries:
            entries[workflow_id]["dependencies"].append(row)
    return entries


def still_missing(last_good: Snapshot, present: Collection[str]) -> list[str]:
    """
    Return the workflows whose rows are gone, as far as that looks like the wrong database.

    That is when all rows of workflows go at once, or those of more than half of them and at least three: a lost setting makes
    an empty embedded database, a restored backup an old one, and both are read without any error. What went missing so stays
    missing until its rows are back or the snapshot is deleted, whatever else changes meanwhile.
    """
    before = set(last_good.entries) - last_good.missing
    gone = before - set(present)
    if not (gone and (gone == before or (len(gone) >= 3 and len(gone) * 2 > len(before)))):
        gone = set()
    return sorted(gone | (last_good.missing - set(present)))


def path() -> Path:
    """Return where the snapshot is: in ``[accelerator] snapshot_dir``."""
    return Path(settings.get("snapshot_dir")).expanduser() / FILE_NAME


def load() -> Snapshot:
    """
    Read the snapshot; an installation without one has an empty one.

    :raises SnapshotError: the file is there and cannot be read.
    """
    file = path()
    try:
        content = json.loads(file.read_bytes())
        entries, missing = content["workflows"], frozenset(content["missing"])
        if content["format"] != _FORMAT or not all(
            isinstance(entry["workflow"], dict) and isinstance(entry["tasks"], list) and isinstance(entry["dependencies"], list)
            for entry in entries.values()
        ):
            raise SnapshotError(f"{file} has another format than this version reads; delete it, it is made anew.")
    except FileNotFoundError:
        return Snapshot()
    except OSError as error:
        raise SnapshotError(f"{file} cannot be read ({error.strerror}); give Airflow's user access to it.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SnapshotError(f"{file} is damaged; delete it, it is made anew.") from error
    return Snapshot(entries, missing & set(entries))


def save(snapshot: Snapshot) -> None:
    """
    Write the snapshot in one step, if it says anything new; readers see the old or the new one, never a part.

    :raises SnapshotError: the folder cannot be written.
    """
    file = path()
    document = {"format": _FORMAT, "workflows": snapshot.entries, "missing": sorted(snapshot.missing)}
    content = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    try:
        if file.exists() and file.read_bytes() == content:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, content)
    except OSError as error:
        where = error.filename or file.parent
        raise SnapshotError(
            f"{where} cannot be written ({error.strerror}), so there are no definitions to fall back on; "
            "set [accelerator] snapshot_dir to a folder that Airflow's user may write."
        ) from error
    log.info("Wrote the definitions of %d workflows to %s.", len(snapshot.entries), file)
