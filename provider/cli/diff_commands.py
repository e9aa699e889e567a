"""``accelerator diff``: what an import of a file would change, value by value."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from provider.cli.import_plan import UNCHANGED, Change, make_plan
from provider.cli.output import busy, printable, say, write_data
from provider.cli.workflow_commands import read_workflows, write_problems
from provider.metadata.definitions import read_definitions
from provider.metadata.engine import read_session
from provider.texts import cut

#: Longest value in a line for people.
_CHARACTERS = 400
#: Of the table for spreadsheets, which has a line for each value.
_COLUMNS = ("workflow_id", "workflow", "row", "table", "key", "name", "before", "after")


def diff(args: argparse.Namespace) -> int:
    """Compare a file with what is stored; return 0 where an import would change nothing, 1 where something, 2 for mistakes."""
    with busy("Comparing the workflows"):
        parsed = read_workflows(args.file)
        with read_session() as session:
            plan = make_plan(read_definitions(session), parsed.rows, prune=args.prune)
    if problems := [*parsed.problems, *plan.problems]:
        write_problems(problems, args.file, parsed)
        return 2
    changes = [change for change in plan.changes if change.kind != UNCHANGED]
    if args.output == "table":
        for change in changes:
            _say(change)
    else:
        write_data([_data(change) for change in changes], args.output, _cells(changes))
    return 1 if changes else 0


def _say(change: Change) -> None:
    say(f"{change.kind:<9}  {change.workflow_id}{f' ({change.detail})' if change.detail else ''}")
    for row in change.rows:
        say(f"  {printable(str(row))}")
        for name, before, after in row.values():
            say(f"      {printable(name)}: {_value(before)} → {_value(after)}")


def _value(value: Any) -> str:
    return "default" if value is None else printable(cut(json.dumps(value, ensure_ascii=False), _CHARACTERS))


def _data(change: Change) -> dict[str, Any]:
    rows = [
        {
            "change": row.change,
            "table": row.table,
            "key": row.key,
            "values": [{"name": name, "before": before, "after": after} for name, before, after in row.values()],
        }
        for row in change.rows
    ]
    return {"workflow_id": change.workflow_id, "change": change.kind, "rows": rows}


def _cells(changes: list[Change]) -> Iterator[dict[str, Any]]:
    nothing: tuple[Any, Any, Any] = (None, None, None)
    for change in changes:
        for row in change.rows or (None,):
            told = (None, None, None) if row is None else (row.change, row.table, row.key)
            for values in (*(() if row is None else row.values()),) or (nothing,):
                yield dict(zip(_COLUMNS, (change.workflow_id, change.kind, *told, *values), strict=True))
