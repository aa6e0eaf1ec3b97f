"""Items that are in no ranking until they are shown again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table; nothing is hidden at first."""
    op.create_table(
        "warmprompt_hidden_items",
        sa.Column("id", sa.Text()),
        sa.Column("is_hidden", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_warmprompt_hidden_items"),
    )
    op.create_index("ix_warmprompt_hidden_items_version", "warmprompt_hidden_items", ["version"])
