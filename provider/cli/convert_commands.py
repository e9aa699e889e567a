"""``accelerator convert``: the tables of another engine → a file of workflows, for people to look at before they import it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

from provider.cli.original_tables import Naming, convert
from provider.cli.output import printable
from provider.exceptions import AcceleratorError
from provider.metadata.database_url import parse_database_url
from provider.metadata.engine import create_engine
from provider.strict_yaml import dump

#: Most rows of a table that are read.
MOST_ROWS = 100_000

_TASKS = ("tasks", "task")
_EDGES = ("task_dependencies", "taskdependencies", "task_dependency", "dependencies")


def convert_tables(args: argparse.Namespace) -> int:
    """
    Print workflows in the format of import; what was not taken over is told on stderr. Nothing is written to either database.

    :raises AcceleratorError: the tables are not there, or have no columns for ids.
    """
    url = parse_database_url(args.url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise AcceleratorError("the database of the URL is a file that is not there.")
    engine = create_engine(args.url)
    try:
        with engine.connect() as connection:
            tasks = _rows(connection, args.tasks, _TASKS)
            edges = _rows(connection, args.dependencies, _EDGES)
    finally:
        engine.dispose()
    try:
        converted = convert(tasks, edges, Naming(dict(args.column or ()), dict(args.type or ())))
    except ValueError as error:
        raise AcceleratorError(f"{error}.") from error
    sys.stdout.write(dump(converted.data))
    for note in converted.notes:
        sys.stderr.write(f"note: {printable(note)}.\n")
    return 0


def _rows(connection: Connection, named: str | None, usual: tuple[str, ...]) -> list[dict[str, Any]]:
    """
    Return the rows of a table.

    :param named: the table, by its name or as ``schema.table``; None for one that is called as usual.
    """
    schema, _, table = (named or "").rpartition(".")
    there = inspect(connection).get_table_names(schema=schema or None)
    by_name = {name: name for name in there} if named else {name.lower(): name for name in there}
    found = next((by_name[name] for name in ([table] if named else usual) if name in by_name), None)
    if found is None:
        raise AcceleratorError(
            f"there is no table {named or usual[0]}; there are: {', '.join(sorted(there)) or 'none'}. Name it with "
            f"--{'tasks' if usual is _TASKS else 'dependencies'}."
        )
    quote = connection.dialect.identifier_preparer.quote
    place = f"{quote(schema)}.{quote(found)}" if schema else quote(found)
    rows = connection.execute(text(f"SELECT * FROM {place} LIMIT {MOST_ROWS + 1}")).mappings().all()  # noqa: S608 - quoted
    if len(rows) > MOST_ROWS:
        raise AcceleratorError(f"table {found} has more than {MOST_ROWS} rows; convert a part of it, from a table of its own.")
    return [dict(row) for row in rows]
