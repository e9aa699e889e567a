"""
Problems that a parse found, in a file beside the snapshot, for the DAG file that shows them.

So nothing is read or built twice, and the errors shown are those of the DAGs that Airflow has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import astuple
from datetime import UTC, datetime

from dag_factory import snapshot
from dag_factory.problems import Problem
from provider.metadata.workflow_rows import Shard

#: So many problems are left; ``accelerator validate`` lists all.
_KEPT = 1000

#: The name of a shard's file: its number and how many there are; one alone has neither.
_NAME = re.compile(r"problems(?:-(\d+)-of-(\d+))?\.json")


def save(problems: Sequence[Problem], shard: Shard) -> None:
    """
    Leave the problems of a shard.

    :raises SnapshotError: the folder cannot be written.
    """
    kept = sorted(set(problems))[:_KEPT]
    if (more := len(set(problems)) - len(kept)) > 0:
        kept.append(Problem("", "workflow definitions", f"{more} more problems; `accelerator validate` lists them all"))
    content = json.dumps([astuple(problem) for problem in kept], indent=1, ensure_ascii=False)
    snapshot.write(snapshot.folder() / snapshot.file_name("problems", shard), content.encode("utf-8", "replace"))


def load(shard: Shard) -> list[Problem]:
    """Return the problems that the last parse of a shard left, or why there are none to be read."""
    file = snapshot.folder() / snapshot.file_name("problems", shard)
    try:
        content = file.read_bytes()
        seen = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return _not_left()
    try:
        found = [Problem(*map(str, fields)) for fields in json.loads(content)]
    except (ValueError, TypeError):
        return [Problem("", "workflow definitions", f"{file} is damaged; the next parse makes it anew")]
    if not snapshot.is_followed(file):
        text = f"their DAG file was not parsed to its end since {seen:%Y-%m-%d %H:%M} UTC; the log of the dag-processor says why"
        found.append(Problem("", f"workflow definitions{shard.title}", text))
    return found


def load_followed() -> list[Problem] | None:
    """Return the problems that the last parses of all shards left; None where no dag-processor leaves any in this folder."""
    shards = [
        Shard(*map(int, match.groups("1")))
        for file in sorted(snapshot.folder().glob("problems*.json"))
        if (match := _NAME.fullmatch(file.name)) and snapshot.is_followed(file)
    ]
    return [problem for shard in shards for problem in load(shard)] if shards else None


def _not_left() -> list[Problem]:
    """No file: the first parse is still to come, or nothing can be left."""
    try:
        snapshot.check_folder()
    except snapshot.SnapshotError as error:
        return [Problem("", "definitions snapshot", str(error))]
    return []
