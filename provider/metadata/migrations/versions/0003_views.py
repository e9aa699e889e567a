"""Views for people and tools that read by SQL"""

from __future__ import annotations

from alembic import op

from provider.metadata.views import create_statements

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for statement in create_statements(op.get_bind().dialect.name):
        op.execute(statement)
