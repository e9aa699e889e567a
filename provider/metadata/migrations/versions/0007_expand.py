"""Tasks with many instances"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("expand", sa.JSON(), server_default="[]", nullable=False))


def losses(connection: sa.Connection) -> list[str]:
    rows = connection.scalar(sa.text("SELECT count(*) FROM tasks WHERE CAST(expand AS TEXT) <> '[]'"))
    return [f"of tasks the column expand, which {rows} rows use"]


def downgrade() -> None:
    op.drop_column("tasks", "expand")
