"""Rules of which messages take long, and fail"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("alert_rules", sa.Column("slow_failures", sa.Integer(), server_default="0", nullable=False))
    op.add_column("alert_rules", sa.Column("rests_until", sa.DateTime(timezone=True), nullable=True))


def losses(_connection: sa.Connection) -> list[str]:
    return ["of alert_rules the columns slow_failures and rests_until; no alert is lost with them"]


def downgrade() -> None:
    op.drop_column("alert_rules", "rests_until")
    op.drop_column("alert_rules", "slow_failures")
