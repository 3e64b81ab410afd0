"""Alembic's entry: runs the scripts over the connection that infra.database hands in."""

from alembic import context

from scantrail.infra.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
