"""
The last good definitions, in a file: a line that says how things stand, then one for each workflow.

DAGs are built from it while the application database is away, and for a workflow whose rows turned bad or are lost. It holds
rows, not specs, so that a newer version of this package checks them by its own rules.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from provider import settings
from provider.files import replace_file
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Entry, Loss, Shard, to_rows
from provider.plain_data import texts_among

log = logging.getLogger(__name__)

_FORMAT = 1

#: So many damaged snapshots are kept aside; older ones are deleted.
DAMAGED_KEPT = 3

#: After so many seconds the files of another number of shards are deleted: nobody looks after them any more.
_OTHER_SHARDS_SECONDS = 86_400.0


class SnapshotError(Exception):
    """The snapshot cannot be read or written; the message names the file."""


class DamagedSnapshotError(SnapshotError):
    """The file is not a snapshot of this version's format."""


@dataclass(frozen=True)
class Waiting:
    """
    A change that loses tasks or edges, and waits to be read once more.

    :param digest: of the rows as they were read; None where they are gone.
    :param since: when they were first read so, in seconds since 1970.
    """

    digest: str | None
    since: float


@dataclass(frozen=True)
class Snapshot:
    """
    Rows by workflow, and how things stood at the parse that wrote them.

    :param entries: workflow id → its last good rows.
    :param waiting: those of them that lost something at the last parse.
    :param held: those of them that lost something in a way that looks like an accident, and are kept until somebody decides.
    :param version: what people did up to this version has taken effect.
    :param meant: what some of them lose on purpose, though it could not take effect yet: the rows had another mistake, or there
        was no time to build them.
    :param predecessors: workflow id → what its DAG comes after, of all shards.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    version: int = 0
    meant: Mapping[str, Loss] = field(default_factory=dict)
    predecessors: Mapping[str, list[str]] = field(default_factory=dict)

    def was_meant(self, workflow_id: str, loss: Loss) -> bool:
        """Return whether all of a loss was meant before, and has not taken effect yet."""
        return workflow_id in self.meant and loss <= self.meant[workflow_id]

    def rows(self, workflow_ids: Iterable[str]) -> DefinitionRows:
        """Return the rows of some workflows; those that are not in the snapshot have none."""
        return to_rows(self.entries[workflow_id] for workflow_id in workflow_ids if workflow_id in self.entries)


def folder() -> Path:
    """Return where the snapshot and what stands beside it are: ``[accelerator] snapshot_dir``."""
    return Path(settings.get("snapshot_dir")).expanduser()


def file_name(stem: str, shard: Shard) -> str:
    """Return the name of a shard's file."""
    return f"{stem}.json" if shard.count == 1 else f"{stem}-{shard.number}-of-{shard.count}.json"


def path(shard: Shard) -> Path:
    """Return where the snapshot of a shard is."""
    return folder() / file_name("definitions", shard)


def load(shard: Shard, only: str | None = None) -> Snapshot:
    """
    Read the snapshot of a shard; one that is new takes its workflows from the snapshots of another number of shards.

    :param only: this workflow alone, which costs next to nothing.
    :raises DamagedSnapshotError: the file is there and makes no sense.
    :raises SnapshotError: the file is there and cannot be read.
    """
    if (found := _load(path(shard), only)) is not None:
        return found
    others = [other for file in _all_files() if (other := _load(file, only)) is not None]
    entries = {name: entry for other in others for name, entry in other.entries.items() if name in shard}
    predecessors = {name: said for other in others for name, said in other.predecessors.items()}
    return Snapshot(entries, version=min((other.version for other in others), default=0), predecessors=predecessors)


class Agreement(Enum):
    """What the snapshot says to rows that were read."""

    SAME = "the same"
    DIFFERS = "something else, or nothing that can be told at a glance"
    SILENT = "nothing: there is no last good definition"


def agrees(shard: Shard, workflow_id: str, task_id: str, rows: DefinitionRows) -> Agreement:
    """
    Compare the rows of a task, and of what is next to it, with the last good ones; the snapshot is not read as a whole.

    :param rows: as :func:`provider.metadata.definition_rows.read_task_rows` gives them.
    :raises SnapshotError: the file is there and cannot be read.
    """
    file = path(shard)
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            line = _find_line(content, workflow_id)
            head = json.loads(content[: content.find(b"\n")])
            if head["format"] != _FORMAT:
                return Agreement.DIFFERS
        # Rows that cannot be written down are in no snapshot.
        return Agreement.SILENT if line is None else Agreement.SAME if _has_rows(line, task_id, rows) else Agreement.DIFFERS
    except FileNotFoundError:
        return Agreement.DIFFERS if _all_files() else Agreement.SILENT
    except OSError as error:
        raise _cannot_read(file, error) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        return Agreement.DIFFERS


def _find_line(content: mmap.mmap, workflow_id: str) -> bytes | None:
    """Return the line of a workflow: they stand in the order of their ids, which are plain letters, digits and marks."""
    wanted = workflow_id.encode()
    low, high = content.find(b"\n") + 1, len(content)
    while low < high:
        start = max(low, content.rfind(b"\n", low, (low + high) // 2) + 1)
        end = content.find(b"\n", start, high)
        end = high if end < 0 else end
        found = content[start + 2 : content.find(b'"', start + 2, end)]
        if found == wanted:
            return content[start:end]
        low, high = (end + 1, high) if found < wanted else (low, start)
    return None


def _has_rows(line: bytes, task_id: str, rows: DefinitionRows) -> bool:
    """Tell whether a workflow's line has just these rows of a task; rows are written in one way only."""
    edges, _, tasks = line.partition(b'],"tasks":[')
    own = _line(task_id).encode()
    there = edges.count(b'{"child_id":%b,' % own) + edges.count(b',"parent_id":%b}' % own)
    return (
        there == len(rows.dependencies)
        and all(_line(row).encode() in edges for row in rows.dependencies)
        and all(_line(row).encode() in tasks for row in rows.tasks)
        and tasks.endswith(b'"workflow":%b}]' % _line(rows.workflows[0]).encode())
    )


def predecessors_elsewhere(shard: Shard) -> dict[str, list[str]]:
    """Return what comes after what in the other shards, at their last parse; of one that tells nothing there is nothing."""
    found: dict[str, list[str]] = {}
    for other in (Shard(number, shard.count) for number in range(1, shard.count + 1) if number != shard.number):
        try:
            with path(other).open("rb") as file:
                said = json.loads(file.readline())["predecessors"]
            found |= {name: texts_among(after) for name, after in said.items() if name in other}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def load_followed() -> dict[str, Entry] | None:
    """
    Return the last good definitions of all shards that a dag-processor looks after; None where this folder has none.

    :raises SnapshotError: one of them cannot be read.
    """
    found = [_load(file, None) for file in _all_files() if is_followed(file)]
    entries = [snapshot.entries for snapshot in found if snapshot is not None]
    return {name: entry for shard in entries for name, entry in shard.items()} if entries else None


def is_followed(file: Path) -> bool:
    """Return whether a dag-processor looks after a file of this folder: it touches the file at every parse."""
    from airflow.sdk import conf  # commands read snapshots as well, and most of them without Airflow

    patience = max(600.0, 5 * conf.getfloat("dag_processor", "min_file_process_interval"))
    try:
        return time.time() - file.stat().st_mtime < patience
    except OSError:
        return False


def check_folder() -> None:
    """
    Make sure that the folder can be written.

    :raises SnapshotError: it cannot.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder()):
            pass
    except OSError as error:
        raise _cannot_write(error) from error


def save(snapshot: Snapshot, shard: Shard) -> None:
    """
    Write the snapshot in one step, if it says anything new; readers see the old or the new one, never a part.

    :raises SnapshotError: the folder cannot be written.
    """
    head = {
        "format": _FORMAT,
        "count": len(snapshot.entries),
        "version": snapshot.version,
        "waiting": {workflow_id: [waits.digest, waits.since] for workflow_id, waits in snapshot.waiting.items()},
        "held": sorted(snapshot.held),
        "meant": {workflow_id: [sorted(loss.tasks), sorted(loss.edges)] for workflow_id, loss in snapshot.meant.items()},
        "predecessors": dict(snapshot.predecessors),
    }
    lines = [_line(head), *(_line([workflow_id, snapshot.entries[workflow_id]]) for workflow_id in sorted(snapshot.entries))]
    # Rows of other shards, good or not, say what comes after what.
    if write(path(shard), "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")):
        log.info("Wrote the definitions of %d workflows to %s.", len(snapshot.entries), path(shard))
    _forget_other_shards(shard)


def write(file: Path, content: bytes) -> bool:
    """
    Write a file of this folder where it says anything new; else note that it is still true.

    :raises SnapshotError: the folder cannot be written.
    """
    try:
        if file.exists() and file.read_bytes() == content:
            os.utime(file)
            return False
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, content)
    except OSError as error:
        raise _cannot_write(error) from error
    return True


def put_aside(shard: Shard) -> None:
    """
    Keep a damaged snapshot under another name, so that a person can look at it, and forget the oldest of those.

    :raises SnapshotError: it cannot be renamed.
    """
    file = path(shard)
    try:
        file.rename(file.with_name(f"{file.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"))
        for old in damaged(shard)[:-DAMAGED_KEPT]:
            old.unlink(missing_ok=True)
    except FileNotFoundError:
        return  # another parse was faster
    except OSError as error:
        raise SnapshotError(f"{file} is damaged and cannot be put aside ({error.strerror}); delete it.") from error


def damaged(shard: Shard) -> list[Path]:
    """Return the snapshots of a shard that were put aside, oldest first."""
    return sorted(path(shard).parent.glob(f"{path(shard).name}.damaged-*"))


def _cannot_read(file: Path, error: OSError) -> SnapshotError:
    return SnapshotError(f"{file} cannot be read ({error.strerror}); give Airflow's user access to it.")


def _cannot_write(error: OSError) -> SnapshotError:
    return SnapshotError(
        f"{folder()} cannot be written ({error.strerror}), so there are no definitions to fall back on; "
        "set [accelerator] snapshot_dir to a folder that Airflow's user may write."
    )


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _load(file: Path, only: str | None) -> Snapshot | None:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot_read(file, error) from error
    try:
        return _parse(content, only)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedSnapshotError(f"{file} is damaged, or another version's.") from error


def _parse(content: bytes, only: str | None) -> Snapshot:
    first, _, rest = content.partition(b"\n")
    head = json.loads(first)
    if head["format"] != _FORMAT:
        raise KeyError("format")
    if only is None:
        entries = dict(_parse_entry(line) for line in rest.splitlines())
        if len(entries) != head["count"]:
            raise KeyError("count")
    else:
        # Ids are plain letters, digits and marks, so the line begins as the id does.
        start = content.find(b"\n" + _line([only])[:-1].encode() + b",")
        line = content[start + 1 :].partition(b"\n")[0] if start >= 0 else None
        entries = {} if line is None else dict([_parse_entry(line)])
    waiting = {workflow_id: Waiting(digest, float(since)) for workflow_id, (digest, since) in head["waiting"].items()}
    meant = {
        workflow_id: Loss(frozenset(tasks), frozenset((parent, child) for parent, child in edges))
        for workflow_id, (tasks, edges) in head["meant"].items()
    }
    predecessors = {workflow_id: [str(one) for one in said] for workflow_id, said in head["predecessors"].items()}
    return Snapshot(entries, waiting, frozenset(head["held"]), int(head["version"]), meant, predecessors)


def _parse_entry(line: bytes) -> tuple[str, Entry]:
    workflow_id, entry = json.loads(line)
    complete = (
        entry["workflow"]["workflow_id"] == workflow_id
        and all(isinstance(row["task_id"], str) for row in entry["tasks"])
        and all(isinstance(row["parent_id"], str) and isinstance(row["child_id"], str) for row in entry["dependencies"])
    )
    if not complete:
        raise KeyError(workflow_id)
    return workflow_id, entry


def _all_files() -> list[Path]:
    return sorted({*folder().glob("definitions.json"), *folder().glob("definitions-*-of-*.json")})


def _forget_other_shards(shard: Shard) -> None:
    names = {file_name("definitions", Shard(number, shard.count)) for number in range(1, shard.count + 1)}
    for file in _all_files():
        try:
            if file.name not in names and time.time() - file.stat().st_mtime > _OTHER_SHARDS_SECONDS:
                file.unlink()
        except OSError as error:
            log.warning("%s is of another number of shards and cannot be deleted (%s); delete it.", file, error.strerror)
