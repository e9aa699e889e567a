"""
What is wrong with the definitions, found out seldom: the API server has other things to do.

Where the dag-processor's folder is to be seen, what its last parse has left is read. Elsewhere the rows are checked here, as
far as they are not too many, and the findings are kept while the rows stay the same. Whoever may not see all workflows is told
what is wrong with the rows that may be seen, as though there were no others: a message may name what it compares with.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from dag_factory import problem_file, snapshot
from dag_factory.problems import Problem
from dag_factory.validation import validate
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import read_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Entry, by_workflow, entry_of

#: For so many seconds findings are shown again.
KEPT_SECONDS = 15.0
#: So many tasks are checked here; a check takes a millisecond for about ten.
MOST_TASKS = 5000
#: Findings of so many sets of workflows are kept.
_MOST_KEPT = 16

#: A message begins with the column that is wrong.
_COLUMN = re.compile(r"(?P<column>[a-z_]+(?:\[\d+\]|\.[\w-]+)*): (?P<rest>.*)", re.DOTALL)

_SHOWN = ("workflow_id", "description", "schedule", "timezone", "enabled", "owner", "file_pattern")


@dataclass(frozen=True)
class Checked:
    """
    What was found.

    :param workflows: columns of the table, each with the number of its tasks.
    :param entries: workflow id → its rows as they are now.
    :param last_good: workflow id → what Airflow has, as far as it is seen from here; None where it is not.
    :param unchecked: why nothing was checked; empty where it was.
    :param by_last_parse: whether the problems are those of the dag-processor's last parse.
    """

    at: datetime
    workflows: list[dict[str, Any]] = field(default_factory=list)
    entries: Mapping[str, Entry | None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    last_good: Mapping[str, Entry] | None = None
    unchecked: str = ""
    by_last_parse: bool = False


class Checks:
    """Findings by what may be seen. While one look is under way, others are shown the one before it, or wait."""

    def __init__(self) -> None:
        self._kept: OrderedDict[frozenset[str] | None, tuple[float, Checked]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, visible: frozenset[str] | None) -> Checked:
        """
        Return the findings.

        :param visible: the workflows that may be seen; None for all.
        """
        before = self._kept.get(visible)
        if before is not None and time.monotonic() - before[0] < KEPT_SECONDS:
            return before[1]
        if not self._lock.acquire(blocking=before is None):
            return before[1] if before is not None else self.of(visible)
        try:
            checked = _look(visible, before[1] if before is not None else None)
            self._kept[visible] = (time.monotonic(), checked)
            self._kept.move_to_end(visible)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return checked
        finally:
            self._lock.release()


def as_shown(problem: Problem) -> dict[str, str]:
    """Return a problem in parts: the row, the column where the message begins with one, and what to do."""
    match = _COLUMN.fullmatch(problem.message)
    column, message = (match["column"], match["rest"]) if match else ("", problem.message)
    return {"workflow_id": problem.workflow_id, "row": problem.row, "column": column, "message": message}


def _look(visible: frozenset[str] | None, before: Checked | None) -> Checked:
    with read_session() as session:
        rows = read_definitions(session, visible)
    groups = by_workflow(rows)
    workflows = [
        {**{name: row[name] for name in _SHOWN}, "tasks": len(groups[row["workflow_id"]].tasks)} for row in rows.workflows
    ]
    entries = {workflow_id: entry_of(group) for workflow_id, group in groups.items()}
    try:
        last_good = snapshot.load_followed()
    except snapshot.SnapshotError:  # the folder may be another's; the parse that uses it tells what is wrong with it
        last_good = None
    found = Checked(datetime.now(UTC), workflows, entries, last_good=last_good)
    left = problem_file.load_followed() if visible is None else None
    if left is not None:
        return replace(found, problems=left, by_last_parse=True)
    if before is not None and before.entries == entries and not before.by_last_parse:
        return replace(found, problems=before.problems, unchecked=before.unchecked)
    if len(rows.tasks) > MOST_TASKS:
        return replace(found, unchecked=_too_many(rows))
    return replace(found, problems=validate(rows).problems)


def _too_many(rows: DefinitionRows) -> str:
    return (
        f"{len(rows.tasks)} tasks are too many to be checked here, and what the last parse found is not in "
        f"{snapshot.folder()}: run `accelerator validate`."
    )
