"""Alembic runs the revisions through this module, on the connection and in the transaction that `upgrade` opened."""

from alembic import context

from api.models import User

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=User.metadata,
    render_as_batch=True,  # SQLite cannot alter a table in place: Alembic copies it
)
with context.begin_transaction():
    context.run_migrations()
