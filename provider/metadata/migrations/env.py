"""Alembic environment: runs on the connection, in the transaction, that :func:`provider.metadata.schema.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from provider.metadata.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table="accelerator_alembic_version",
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
