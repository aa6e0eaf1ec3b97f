"""The first tables: users, logs, states, items and API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "warmprompt_users",
        sa.Column("no", _NUMBER, sa.Identity(always=True), primary_key=True),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.Column("first_seen_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("no", name="pk_warmprompt_users"),
        sa.UniqueConstraint("id", name="uq_warmprompt_users_id"),
    )
    op.create_table(
        "warmprompt_entries",
        _user_no("warmprompt_entries"),
        sa.Column("seq", sa.BigInteger(), autoincrement=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.Column("time_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_no", "seq", name="pk_warmprompt_entries"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "warmprompt_appends",
        _user_no("warmprompt_appends"),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_no", "idempotency_key", name="pk_warmprompt_appends"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "warmprompt_states",
        _user_no("warmprompt_states"),
        sa.Column("model_hash", sa.Text()),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("user_no", "model_hash", name="pk_warmprompt_states"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # States are dense numbers: the server would try to compress each of them in vain.
        op.execute("ALTER TABLE warmprompt_states ALTER COLUMN data SET STORAGE EXTERNAL")
    _make_items_and_keys()


def _make_items_and_keys() -> None:
    op.create_table(
        "warmprompt_items",
        sa.Column("id", sa.Text()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_warmprompt_items"),
    )
    op.create_index("ix_warmprompt_items_version", "warmprompt_items", ["version"])
    version = op.create_table(
        "warmprompt_items_version",
        sa.Column("version", sa.BigInteger(), autoincrement=False),
        sa.PrimaryKeyConstraint("version", name="pk_warmprompt_items_version"),
    )
    op.bulk_insert(version, [{"version": 0}])
    op.create_table(
        "warmprompt_api_keys",
        sa.Column("name", sa.Text()),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_s", sa.BigInteger(), nullable=False),
        sa.Column("revoked_s", sa.BigInteger()),
        sa.PrimaryKeyConstraint("name", name="pk_warmprompt_api_keys"),
        sa.UniqueConstraint("key_hash", name="uq_warmprompt_api_keys_key_hash"),
    )


def _user_no(table: str) -> sa.Column[int]:
    return sa.Column(
        "user_no",
        _NUMBER,
        sa.ForeignKey("warmprompt_users.no", name=f"fk_{table}_user_no"),
        autoincrement=False,
    )
