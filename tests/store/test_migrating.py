"""The tables that the migrations make are those the code uses, and no other version's are touched."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.store.contract import Entry, Item, ItemChanges
from warmprompt.store.migrating import current_revision
from warmprompt.store.opening import open_store
from warmprompt.store.tables import REVISION, REVISION_TABLE, metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def bare(request, tmp_path):
    """Return the address of a database without tables, and a way to run SQL on it."""
    if request.param == "sqlite":
        file = tmp_path / "users.db"

        def run(statement):
            with sqlite3.connect(file) as connection:
                connection.execute(statement)
            connection.close()

        return f"sqlite:///{file}", run
    server = request.getfixturevalue("server")
    name = f"bare_{abs(hash(str(tmp_path)))}"
    return server.new_database(name), lambda statement: server.sql(statement, database=name)


def test_migrations_create_the_tables_of_the_code(bare):
    url, _ = bare
    open_store(url).close()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": REVISION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
        assert current_revision(connection) == REVISION
        named = {
            (table, key["name"])
            for table in metadata.tables
            for key in [
                inspect(connection).get_pk_constraint(table),
                *inspect(connection).get_foreign_keys(table),
            ]
        }
    engine.dispose()
    assert named == {
        (name, key.name) for name, table in metadata.tables.items() for key in table.constraints
        if not key.name.startswith("uq_")
    }  # fmt: skip


def test_newest_migration_is_the_required_one():
    config = Config()
    config.set_main_option("script_location", str(files("warmprompt.store") / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_later_version_is_refused_unchanged(bare):
    url, run = bare
    with open_store(url) as store:
        store.append("ada", [Entry(kind="event", body="{}")])
    run(f"UPDATE {REVISION_TABLE} SET version_num = '9999'")
    with pytest.raises(MismatchError, match=r"'9999'\. A later version wrote it .*: upgrade warmprompt"):
        open_store(url)
    run(f"UPDATE {REVISION_TABLE} SET version_num = '{REVISION}'")
    with open_store(url) as store:
        assert len(store.entries("ada")) == 1


def test_first_version_is_upgraded_with_its_data(bare):
    url, run = bare
    with open_store(url) as store:
        store.append("ada", [Entry(kind="event", body="{}")])
        store.put_items([Item(id="1", body="a")])
    # As version 0.1 left it.
    run("DROP TABLE warmprompt_hidden_items")
    run(f"UPDATE {REVISION_TABLE} SET version_num = '0001'")
    with open_store(url) as store:
        assert len(store.entries("ada")) == 1
        assert store.items() == ItemChanges(version=1, items=(Item(id="1", body="a"),))
        assert store.hide_items(["1"], hidden=True) == 2


def test_foreign_tables_are_left_alone(bare):
    url, run = bare
    for statement in ("CREATE TABLE users (x int)", "CREATE TABLE alembic_version (version_num text)"):
        run(statement)
    run("INSERT INTO alembic_version VALUES ('theirs')")
    with open_store(url) as store:
        store.append("ada", [Entry(kind="event", body="{}")])
    run("INSERT INTO users VALUES (1)")


def test_concurrent_first_opening_works(bare):
    url, _ = bare

    def open_and_write(number):
        with open_store(url) as store:
            store.append("ada", [Entry(kind="event", body=str(number))])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(open_and_write, range(6)))
    with open_store(url) as store:
        assert sorted(entry.body for entry in store.entries("ada")) == list("012345")


def test_opening_waits_for_a_writer(tmp_path):
    file = tmp_path / "users.db"
    writer = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    writer.execute("CREATE TABLE notes (line TEXT)")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO notes VALUES ('kept')")
    ends = threading.Timer(0.3, writer.execute, ["COMMIT"])
    ends.start()
    open_store(f"sqlite:///{file}").close()
    ends.join()
    writer.close()
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("SELECT line FROM notes").fetchall() == [("kept",)]
    connection.close()


def test_non_database_file_is_refused(tmp_path):
    (tmp_path / "users.db").write_bytes(b"title,year\nToy Story,1995\n" * 100)
    with pytest.raises(IntegrityError, match="no SQLite database, or damaged"):
        open_store(f"sqlite:///{tmp_path}/users.db")
    assert (tmp_path / "users.db").read_bytes().startswith(b"title,year")


def test_folder_instead_of_file_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="It is a folder"):
        open_store(f"sqlite:///{tmp_path}")


def test_non_unicode_database_is_refused(server):
    url = server.new_database("latin", encoding="SQL_ASCII")
    with pytest.raises(BadInputError, match=r"'SQL_ASCII'\. .*ENCODING 'UTF8'"):
        open_store(url)
