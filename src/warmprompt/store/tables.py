"""The tables, the same on SQLite and PostgreSQL; migrations create them, and a test compares the two.

Names begin with `warmprompt_`, so that the tables can live in an application's own database.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

REVISION = "0002"
"""The last of the migrations that make these tables."""

REVISION_TABLE = "warmprompt_revision"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite numbers the rows by itself only where the type is spelled INTEGER.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

users = Table(
    "warmprompt_users",
    metadata,
    Column("no", _NUMBER, Identity(always=True), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("first_seen_s", BigInteger, nullable=False),
)

# Clustered by user: reading a log is one range scan.
entries = Table(
    "warmprompt_entries",
    metadata,
    Column("user_no", _NUMBER, ForeignKey(users.c.no), primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("time_s", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

appends = Table(
    "warmprompt_appends",
    metadata,
    Column("user_no", _NUMBER, ForeignKey(users.c.no), primary_key=True, autoincrement=False),
    Column("idempotency_key", Text, primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The bytes come last, so that looking at `seq` does not read them.
states = Table(
    "warmprompt_states",
    metadata,
    Column("user_no", _NUMBER, ForeignKey(users.c.no), primary_key=True, autoincrement=False),
    Column("model_hash", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

items = Table(
    "warmprompt_items",
    metadata,
    Column("id", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("version", BigInteger, nullable=False, index=True),
)

# Of any item, trained or added; a row stays when an item is shown again, so that other processes see it.
hidden_items = Table(
    "warmprompt_hidden_items",
    metadata,
    Column("id", Text, primary_key=True),
    Column("is_hidden", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False, index=True),
)

# One row; every change of the items locks it, so versions become visible in their order.
items_version = Table(
    "warmprompt_items_version",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
)

api_keys = Table(
    "warmprompt_api_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("key_hash", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_s", BigInteger, nullable=False),
    Column("revoked_s", BigInteger),
)
