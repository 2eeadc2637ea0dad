"""The script that Alembic runs: migrates the connection from `store.database.migrate`."""

from alembic import context

from store.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
    compare_server_default=True,
)
context.run_migrations()
