"""What workflows were called before"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "earlier_names",
        sa.Column("workflow_id", sa.String(250), nullable=False),
        sa.Column("earlier_id", sa.String(250), nullable=False),
        sa.Column("renamed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("renamed_by", sa.String(250), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "earlier_id", name="pk_earlier_names"),
    )


def losses(connection: sa.Connection) -> list[str]:
    rows = connection.scalar(sa.text("SELECT count(*) FROM earlier_names"))
    return [f"the table earlier_names with {rows} rows: batches of renamed workflows are found under their earlier names alone"]


def downgrade() -> None:
    op.drop_table("earlier_names")
