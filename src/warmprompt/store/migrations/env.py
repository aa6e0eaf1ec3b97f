"""Runs the steps on the connection that `warmprompt.store.migrating` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from warmprompt.store.tables import REVISION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=REVISION_TABLE,
    include_name=lambda name, kind, _: kind != "table" or name in metadata.tables,
)
with context.begin_transaction():
    context.run_migrations()
