"""How Alembic runs a revision: on the connection, and inside the transaction, that `upgrade` opened."""

from alembic import context

from api.models import User

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=User.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
