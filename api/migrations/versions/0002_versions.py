"""Versions of users and posts.

The column gets its default from the database and no existing row is rewritten, so the revision takes no longer on large
tables and may run while processes of the previous version serve: their INSERTs leave the column out and get a 1.
Their UPDATEs do not increase the version. Until the last of them has stopped, a tag from before such a change still
matches after it.

After a downgrade and another upgrade, the versions begin at 1 again, so that a tag may name a state again that it named
before. Processes of the version that needs the column must have stopped before a downgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TABLES = ("users", "posts")


def upgrade() -> None:
    """Add the column to both tables; all rows have version 1."""
    for table in _TABLES:
        op.add_column(table, sa.Column("version", sa.BigInteger, server_default="1", nullable=False))


def downgrade() -> None:
    """Drop the column."""
    for table in _TABLES:
        op.drop_column(table, "version")
