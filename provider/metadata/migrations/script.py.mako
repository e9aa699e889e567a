"""${message}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def losses(connection: sa.Connection) -> list[str]:
    """What a person loses by the downgrade, line by line; `hindrances` beside it says what has to be done before."""
    return []


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
