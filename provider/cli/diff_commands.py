"""``accelerator diff``: what an import of a file would change, value by value."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from provider.cli.import_plan import UNCHANGED, Change, make_plan
from provider.cli.output import busy, printable, say, write_data
from provider.cli.workflow_commands import read_workflows, write_problems
from provider.metadata.definitions import read_definitions
from provider.metadata.engine import read_session
from provider.texts import cut

#: Longest value in a line for people.
_CHARACTERS = 400
#: Keys of a row and of a value, as programs get them.
_ROW, _VALUE = ("change", "table", "key"), ("name", "before", "after")


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
        data = [_data(change) for change in changes]
        write_data(data, args.output, _lines(data))
    return 1 if changes else 0


def _say(change: Change) -> None:
    say(str(change))
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
            "values": [dict(zip(_VALUE, value, strict=True)) for value in row.values()],
        }
        for row in change.rows
    ]
    return {"workflow_id": change.workflow_id, "change": change.kind, "rows": rows}


def _lines(data: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a line for each value; for each row and each workflow without any, one without them."""
    for workflow in data:
        for row in workflow["rows"] or [dict.fromkeys(_ROW)]:
            for value in row.get("values") or [dict.fromkeys(_VALUE)]:
                of_row = {"row": row["change"], "table": row["table"], "key": row["key"]}
                yield {"workflow_id": workflow["workflow_id"], "workflow": workflow["change"], **of_row, **value}
