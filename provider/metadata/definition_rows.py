"""
What a parse and a task process read of the definitions, without the classes of the tables.

Mapping those takes longer than all of this, and the first query that names one maps the tables of Airflow as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import CONFIRMED, Meant, Shard, by_workflow, joined
from provider.metadata.written_rows import IDS_AT_ONCE, boolean, can_be_sent, parsed
from provider.plain_data import texts_among, without_bytes
from provider.texts import chunks

#: All columns. PostgreSQL's driver would read JSON that nobody casts, and one number that is too long would hide all rows.
COLUMNS = {
    "workflows": (
        *(
            "workflow_id",
            "description",
            "schedule",
            "timezone",
            "start_date",
            "end_date",
            "catchup",
            "enabled",
            "paused_at_first",
        ),
        *("max_active_batches", "max_active_tasks", "max_failed_batches", "run_timeout_seconds", "display_name", "doc"),
        *("default_args", "params", "tags", "owner", "file_pattern", "file_min_size", "after"),
    ),
    "tasks": (
        *(
            "task_id",
            "workflow_id",
            "task_type",
            "config",
            "expand",
            "enabled",
            "on_parent_skip",
            "run_if",
            "task_group",
            "outlets",
        ),
        *("retries", "retry_delay_seconds", "retry_backoff", "max_retry_delay_seconds", "timeout_seconds", "pool", "pool_slots"),
        *(
            "priority",
            "weight_rule",
            "queue",
            "executor",
            "depends_on_past",
            "max_active_tis_per_dag",
            "max_active_tis_per_dagrun",
        ),
        *("owner", "display_name", "doc"),
    ),
}
#: Columns whose stored text may be something else than what the column is for.
JSON_COLUMNS = {"workflows": ("default_args", "params", "tags", "after"), "tasks": ("config", "expand", "outlets")}
BOOLEAN_COLUMNS = {"workflows": ("catchup", "enabled", "paused_at_first"), "tasks": ("enabled", "depends_on_past")}

#: Longest text of a column with a list, ``after`` or ``outlets``, that is looked into: more than a valid row can have.
_LONGEST_LIST = 200_000

_DEPENDENCIES = "SELECT parent_id, child_id FROM task_dependencies"


def read_definitions(session: Session, workflow_ids: Collection[str] | None = None) -> DefinitionRows:
    """
    Read all definitions, or those of some workflows, in three SELECTs, or in three for every 500 workflows.

    A JSON column whose text is no JSON, and a boolean that is none, which SQLite lets people write, come back as that text: the
    mistake of one row must not hide the others. For the same reason a BLOB is a text that no check lets pass.

    :param workflow_ids: only these workflows.
    """
    found = DefinitionRows()
    for ids in [None] if workflow_ids is None else chunks(list(filter(can_be_sent, workflow_ids)), IDS_AT_ONCE):
        some = "" if ids is None else " WHERE workflow_id IN :ids"
        of_them = "" if ids is None else f" WHERE child_id IN (SELECT task_id FROM tasks{some})"
        found.workflows.extend(_rows(session, "workflows", f"{some} ORDER BY workflow_id", ids))
        found.tasks.extend(_rows(session, "tasks", f"{some} ORDER BY task_id", ids))
        found.dependencies.extend(_dicts(session, f"{_DEPENDENCIES}{of_them} ORDER BY parent_id, child_id", ids))
    return found


def read_shard(session: Session, shard: Shard) -> DefinitionRows:
    """Read the definitions of the workflows of one shard."""
    if shard.count == 1:
        return read_definitions(session)
    # Tasks may have lost the row of their workflow, where no foreign key minds them.
    ids = session.scalars(text("SELECT workflow_id FROM workflows UNION SELECT workflow_id FROM tasks")).all()
    if all(map(can_be_sent, ids)):
        return read_definitions(session, [workflow_id for workflow_id in ids if workflow_id in shard])
    # No statement can name them, and the shard they fall to has to.
    groups = by_workflow(read_definitions(session))
    return joined(group for workflow_id, group in groups.items() if workflow_id in shard)


def read_task_rows(session: Session, workflow_id: str, task_id: str) -> DefinitionRows:
    """
    Read the row of a workflow, those of a task and of its parents and children, and the edges between them.

    They are as :func:`read_definitions` gives them. What it costs does not depend on how many tasks the workflow has: a task
    process reads this each time.
    """
    next_to = " WHERE parent_id IN :ids OR child_id IN :ids ORDER BY parent_id, child_id"
    dependencies = _dicts(session, f"{_DEPENDENCIES}{next_to}", [task_id])
    ids = {one for one in (task_id, *(one for edge in dependencies for one in edge.values())) if can_be_sent(one)}
    tasks = [row for some in chunks(ids, IDS_AT_ONCE) for row in _rows(session, "tasks", " WHERE task_id IN :ids", some)]
    return DefinitionRows(
        _rows(session, "workflows", " WHERE workflow_id IN :ids", [workflow_id]),
        sorted(tasks, key=lambda row: str(row["task_id"])),
        dependencies,
    )


def read_predecessors(session: Session, *, enabled_only: bool = False) -> dict[str, list[str]]:
    """
    Return workflow id → what it comes after (column ``after``), for all workflows that come after something.

    :param enabled_only: leave out those that are switched off, which nothing starts.
    """
    return dict(_lists(session, "workflows", "after", " AND enabled" if enabled_only else ""))


def read_makers(session: Session) -> dict[str, list[str]]:
    """Return URI of an asset → the workflows whose tasks make it (column ``outlets``)."""
    found: dict[str, list[str]] = {}
    for workflow_id, uris in _lists(session, "tasks", "outlets"):
        for uri in uris:
            if workflow_id not in found.setdefault(uri, []):
                found[uri].append(workflow_id)
    return found


def meant_since(session: Session, version: int, workflow_id: str | None = None) -> Meant:
    """
    Return what people did on purpose after a version, see :mod:`provider.metadata.versions`.

    :param workflow_id: only as far as this workflow is concerned.
    """
    newest = session.scalar(text("SELECT max(version) FROM workflow_versions")) or 0
    which = "" if workflow_id is None else " AND workflow_id IN ('', :workflow_id)"
    statement = f"SELECT workflow_id, action, digest FROM workflow_versions WHERE version > :version{which} ORDER BY version"
    found = session.execute(text(statement), {"version": version, "workflow_id": workflow_id}).all()
    return Meant(
        newest,
        {owner: found_digest for owner, action, found_digest in found if action != CONFIRMED},
        any(action == CONFIRMED for _, action, _ in found),
    )


def disabled_task_ids(session: Session, workflow_id: str) -> set[str]:
    """Return the tasks of a workflow that are switched off; a workflow that is not in the tables has none."""
    statement = text("SELECT task_id, CAST(enabled AS TEXT) FROM tasks WHERE workflow_id = :workflow_id")
    return {task_id for task_id, enabled in session.execute(statement, {"workflow_id": workflow_id}) if boolean(enabled) is False}


def _lists(session: Session, table: str, column: str, where: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield workflow and texts of the rows in which a JSON column says something, in the order of the workflows."""
    said = f"CAST({column} AS TEXT)"
    says = f"{said} NOT IN ('[]', 'null') AND length({said}) <= {_LONGEST_LIST}{where}"
    for workflow_id, written in session.execute(
        text(f"SELECT workflow_id, {said} FROM {table} WHERE {says} ORDER BY workflow_id")
    ):
        # A row that says something else is reported when it is built.
        yield without_bytes(workflow_id) or "", texts_among(parsed(written))


def _rows(session: Session, table: str, which: str, ids: Collection[str] | None) -> list[dict[str, Any]]:
    """
    Return the rows of a table, with the values of :data:`JSON_COLUMNS` and :data:`BOOLEAN_COLUMNS`.

    :param which: what comes after the table in the SELECT, and may name ``:ids``.
    """
    readers: dict[str, Callable[[str | None], Any]] = {
        **dict.fromkeys(JSON_COLUMNS[table], parsed),
        **dict.fromkeys(BOOLEAN_COLUMNS[table], boolean),
    }
    columns = ", ".join(f"CAST({name} AS TEXT) AS {name}" if name in readers else name for name in COLUMNS[table])
    rows = _dicts(session, f"SELECT {columns} FROM {table}{which}", ids)
    for row in rows:
        for name, reader in readers.items():
            row[name] = reader(row[name])
    return rows


def _dicts(session: Session, statement: str, ids: Collection[str] | None) -> list[dict[str, Any]]:
    """
    Return what a SELECT gives.

    :param ids: what ``:ids`` in it stands for; None where it has none.
    """
    if ids is None:
        result = session.execute(text(statement))
    else:
        result = session.execute(text(statement).bindparams(bindparam("ids", expanding=True)), {"ids": list(ids)})
    names = list(result.keys())
    return [
        dict(zip(names, map(without_bytes, values) if bytes in map(type, values) else values, strict=True)) for values in result
    ]
