"""Options of workflows and tasks that Airflow has"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

#: Table → the columns that people may leave empty, and the booleans with what else is said of them.
_COLUMNS: Mapping[str, Mapping[str, sa.types.TypeEngine[Any]]] = {
    "workflows": {
        **{"end_date": sa.String(40), "display_name": sa.String(250), "doc": sa.Text()},
        **dict.fromkeys(("max_active_tasks", "max_failed_batches", "run_timeout_seconds"), sa.Integer()),
    },
    "tasks": {
        "retry_backoff": sa.Float(),
        **dict.fromkeys(("max_retry_delay_seconds", "pool_slots"), sa.Integer()),
        **dict.fromkeys(("max_active_tis_per_dag", "max_active_tis_per_dagrun"), sa.Integer()),
        **{"weight_rule": sa.String(20), "queue": sa.String(256), "owner": sa.String(200), "display_name": sa.String(250)},
        **{"executor": sa.String(256), "run_if": sa.Text(), "task_group": sa.String(250)},
    },
}
_LISTS = {"workflows": "after", "tasks": "outlets"}
_BOOLEANS = {"workflows": ("paused_at_first", "DEFAULT false NOT NULL"), "tasks": ("depends_on_past", "")}


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table, columns in _COLUMNS.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind, nullable=True))
    for table, name in _LISTS.items():
        op.add_column(table, sa.Column(name, sa.JSON(), server_default="[]", nullable=False))
    for table, (name, more) in _BOOLEANS.items():
        # SQLite has no booleans, and Alembic adds no check to a table that is there; one made anew would lose its rows' children.
        check = f" CONSTRAINT ck_{table}_{name} CHECK ({name} IN (0, 1))" if sqlite else ""
        op.execute(f"ALTER TABLE {table} ADD COLUMN {name} BOOLEAN {more}{check}")


def losses(connection: sa.Connection) -> list[str]:
    found = []
    for table, columns in _COLUMNS.items():
        names = [*columns, _LISTS[table], _BOOLEANS[table][0]]
        said = [
            *(f"{name} IS NOT NULL" for name in columns),
            f"CAST({names[-2]} AS TEXT) <> '[]'",
            f"coalesce({names[-1]}, false)",
        ]
        used = " OR ".join(said)
        rows = connection.scalar(sa.text(f"SELECT count(*) FROM {table} WHERE {used}"))  # noqa: S608 - names of ours
        found.append(f"of {table} the columns {', '.join(names)}, which {rows} rows use")
    return found


def downgrade() -> None:
    for table, columns in _COLUMNS.items():
        for name in (*columns, _LISTS[table], _BOOLEANS[table][0]):
            op.drop_column(table, name)
