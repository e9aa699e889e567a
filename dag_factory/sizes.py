"""
How much rows hold.

A workflow cannot be broken off while it is built, and Airflow gives up on a DAG file after its time, with all of its DAGs. So
what one row can cost is bounded, far above what anybody needs, and what a workflow will take is told before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dag_factory.problems import Problem, row_name
from dag_factory.templates import contains_template
from provider.metadata.rows import DefinitionRows

#: Parameters of a workflow. Airflow makes and checks an object of each, which takes as long as two tasks.
MOST_PARAMS = 500
#: Values in one column, at any depth: each key and each entry of a list is one.
MOST_VALUES = 20_000
#: Characters of all texts in one column; a query of BigQuery may have half as many.
MOST_CHARACTERS = 2_000_000

#: What an ordinary row has, and how many more take as long as one such row. A text is copied a few times, at worst of what is not
#: ASCII in a tenth of a microsecond a character; templates in it are parsed, each in a tenth of a millisecond.
_ORDINARY_VALUES, _VALUES_OF_A_ROW = 100, 5
_ORDINARY_CHARACTERS, _CHARACTERS_OF_A_ROW, _TEMPLATED_CHARACTERS_OF_A_ROW = 2000, 2000, 50

#: Columns whose templates are parsed.
_TEMPLATED = ("config", "expand", "run_if")


def oversized(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield which columns of a row hold too much."""
    for column, value in row.items():
        if column == "params" and isinstance(value, list) and len(value) > MOST_PARAMS:
            yield f"params: has {len(value)} entries; {MOST_PARAMS} are the most, so make one an object with many keys"
            continue
        values, characters = measure(value)
        if values > MOST_VALUES:
            yield f"{column}: holds more than {MOST_VALUES} values; share them out to several rows"
        elif characters > MOST_CHARACTERS:
            yield f"{column}: has more than {MOST_CHARACTERS} characters; shorten it"


def too_large(rows: DefinitionRows) -> list[Problem]:
    """Return a problem for each column of the rows of a workflow that holds too much."""
    return [
        Problem(str(row.get("workflow_id")), row_name(table, key, row.get(key)), reason)
        for table, key, of_table in (("workflows", "workflow_id", rows.workflows), ("tasks", "task_id", rows.tasks))
        for row in of_table
        for reason in oversized(row)
    ]


def surplus(rows: Iterable[Any]) -> int:
    """Return as how many further rows it counts that these are larger than usual."""
    found = 0
    for row in rows:
        values, characters = measure(row)
        if isinstance(row, dict) and isinstance(instances := row.get("expand"), list):
            found += len(instances)
        found += max(0, values - _ORDINARY_VALUES) // _VALUES_OF_A_ROW
        if (more := characters - _ORDINARY_CHARACTERS) > 0:
            parsed = any(contains_template(row.get(column)) for column in _TEMPLATED)
            found += more // (_TEMPLATED_CHARACTERS_OF_A_ROW if parsed else _CHARACTERS_OF_A_ROW)
    return found


def measure(value: Any) -> tuple[int, int]:
    """Return how many values there are, and characters; what comes after far too many values is not counted any more."""
    if isinstance(value, str):
        return 0, len(value)
    values = characters = 0
    pending: list[Any] = [value] if isinstance(value, dict | list | tuple) else []  # nearly all columns are one value
    while pending and values <= 10 * MOST_VALUES:
        one = pending.pop()
        if isinstance(one, str):
            characters += len(one)
        elif isinstance(one, dict):
            values += len(one)
            characters += sum(len(key) for key in one if isinstance(key, str))
            pending += filter(None, one.values())  # nearly all columns of a row are empty
        elif isinstance(one, list | tuple):
            values += len(one)
            pending += filter(None, one)
    return values, characters
