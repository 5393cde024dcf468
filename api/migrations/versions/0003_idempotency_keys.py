"""The answers to requests with an idempotency key."""

import sqlalchemy as sa
from alembic import op

from api.database import UtcDateTime, UtcNow

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("operation", sa.Text),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.JSON),
        sa.Column("body", sa.LargeBinary),
        sa.Column("created_at", UtcDateTime, server_default=UtcNow(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    """Drop the table: a request that is sent again is then carried out again."""
    op.drop_table("idempotency_keys")
