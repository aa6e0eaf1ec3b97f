"""Migrate a database to this version's tables; refuse one of a later version."""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.sql import column, table

from warmprompt.errors import MismatchError
from warmprompt.store.tables import REVISION, REVISION_TABLE

_LOCK = 0x7761726D  # "warm": the number under which processes agree who migrates


def migrate(engine: Engine, reading: Engine) -> None:
    """Create or upgrade the tables; if they are up to date this only reads, and waits for no lock.

    All steps are one transaction. Of several processes that start at once, one migrates and the others wait.

    Args:
        engine: Its transactions begin as writers do.
        reading: Its connections lock nothing.

    Raises:
        MismatchError: A later version wrote the database.
    """
    with reading.connect() as connection:
        if current_revision(connection) == REVISION:
            return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if current_revision(connection) != REVISION:
            _upgrade(connection)


def current_revision(connection: Connection) -> str | None:
    """Return the revision of a database, None for one without our tables."""
    if not inspect(connection).has_table(REVISION_TABLE):
        return None
    return connection.execute(select(column("version_num")).select_from(table(REVISION_TABLE))).scalar()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(files("warmprompt.store") / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    current = current_revision(connection)
    if current is not None and current not in known:
        raise MismatchError(
            field="revision of the database",
            value=current,
            remedy=f"A later version wrote it (this one supports {REVISION}): upgrade warmprompt.",
        )
    command.upgrade(config, "head")
