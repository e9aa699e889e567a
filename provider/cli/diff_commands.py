"""``accelerator diff``: what an import of a file would change, value by value."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from provider.cli.import_plan import UNCHANGED, Change, make_plan
from provider.cli.output import busy, printable, say, write_data
from provider.cli.row_changes import ABSENT
from provider.cli.workflow_commands import read_workflows, write_problems
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import read_session
from provider.metadata.renaming import names_before
from provider.texts import cut_around_difference

#: Longest value in a line for people.
_CHARACTERS = 400
#: Keys of a row and of a value, as programs get them.
_ROW, _SIDES = ("change", "table", "key"), ("before", "after")


def diff(args: argparse.Namespace) -> int:
    """Compare a file with what is stored; return 0 where an import would change nothing, 1 where something, 2 for mistakes."""
    with busy("Comparing the workflows"):
        parsed = read_workflows(args.file)
        with read_session() as session:
            plan = make_plan(read_definitions(session), parsed.rows, names_before(session), prune=args.prune)
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
            shown = cut_around_difference(_text(before), _text(after), _CHARACTERS)
            say(f"      {printable(name)}: {' → '.join(shown)}")


def _text(value: Any) -> str:
    """Return a value as JSON; its keys in one order, so that two values begin to differ where they do."""
    return "default" if value is ABSENT else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _data(change: Change) -> dict[str, Any]:
    rows = [
        {
            "change": row.change,
            "table": row.table,
            "key": row.key,
            "values": [_present(zip(("name", *_SIDES), value, strict=True)) for value in row.values()],
        }
        for row in change.rows
    ]
    return {"workflow_id": change.workflow_id, "change": change.kind, "rows": rows}


def _present(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields that have a value: null is one, and what is not there is left out."""
    return {name: value for name, value in fields if value is not ABSENT}


def _lines(data: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a line for each value; for each row and each workflow without any, one without them."""
    for workflow in data:
        for row in workflow["rows"] or [dict.fromkeys(_ROW)]:
            for value in row.get("values") or [{}]:
                of_row = {"row": row["change"], "table": row["table"], "key": row["key"]}
                both = {name: _cell(value[name]) for name in _SIDES if name in value}
                of_value = {"name": value.get("name"), **dict.fromkeys(_SIDES), **both}
                yield {"workflow_id": workflow["workflow_id"], "workflow": workflow["change"], **of_row, **of_value}


def _cell(value: Any) -> Any:
    """Return a value as JSON, so that ``null`` is not what is not there, and ``"1"`` not 1; a number stays one."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
