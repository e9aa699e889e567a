"""Views for people and tools that read by SQL"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from provider.metadata.views import VIEWS, create_statements

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for statement in create_statements(op.get_bind().dialect.name):
        op.execute(statement)


def losses(_connection: sa.Connection) -> list[str]:
    return [f"the views {', '.join(VIEWS)}; no row is lost with them"]


def downgrade() -> None:
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
