"""The database schema: creation, upgrades and refusals, each in one transaction."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text

from src.data.db.core import schema
from src.data.db.core.base import SCHEMA
from src.data.db.core.database import Database
from src.data.db.core.schema import revisions
from src.data.db.models import METADATA, AuthIdentity, User
from src.data.db.symbols.models import CorporateAction, Symbol
from src.data.errors import DatabaseError, SchemaError
from tests.core.cache.counts import FULL
from tests.db.conftest import SECOND
from tests.processes import together

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def place(database: Database) -> str:
    return f"{SCHEMA}." if database.dialect == "postgresql" else ""


def run(url: str, *statements: str) -> list[Any]:
    """Execute statements as another program does; return what the last one gives."""
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execution_options(schema_translate_map={})
        for statement in statements:
            result = connection.execute(text(statement))
        rows = list(result) if result.returns_rows else []
    database.close()
    return rows


def use(url: str) -> list[str]:
    """Write a symbol by a new object, and return all."""
    database = Database(url)
    with database.writing() as session:
        session.merge(Symbol(symbol="USED", updated_at=NOW, sources={}))
    with database.reading() as session:
        names = list(session.scalars(select(Symbol.symbol).order_by(Symbol.symbol)))
    database.close()
    return names


def files(url: str) -> dict[str, bytes]:
    """Return the files of a database of SQLite; of a server, none."""
    path = Database(url).url.path
    return {} if path is None else {p.name: p.read_bytes() for p in path.parent.glob("records*")}


@pytest.fixture
def foreign(database_url: str) -> str:
    """Return the URL of a database that has a table of others."""
    path = Database(database_url).url.path
    if path is not None:
        path.touch()
    run(database_url, "CREATE TABLE theirs (id INTEGER)", "INSERT INTO theirs VALUES (1)")
    return database_url


# --- states --------------------------------------------------------------------------------------


def test_the_first_unit_makes_the_tables(database_url: str) -> None:
    database = Database(database_url)
    assert database.schema.state().name == "empty" and files(database_url) == {}
    with database.reading() as session:
        assert session.scalars(select(Symbol)).all() == []
    assert database.schema.state() == ("own", revisions()[-1], ())
    assert database.schema.differences() == []
    database.close()


def test_tables_of_others_are_left_alone_until_ours_are_wanted(foreign: str) -> None:
    before = files(foreign)
    with pytest.raises(SchemaError, match="theirs") as caught, Database(foreign).reading():
        pass
    assert "onetape db init" in str(caught.value)
    assert files(foreign) == before, "not even its journal is another one"
    assert Database(foreign).schema.init() is True
    assert Database(foreign).schema.init() is False
    assert use(foreign) == ["USED"] and run(foreign, "SELECT id FROM theirs") == [(1,)]


def test_a_table_of_others_by_a_name_of_ours_is_refused(database_url: str) -> None:
    database = Database(database_url)
    if database.url.path is not None:
        database.url.path.touch()
    make = [f"CREATE TABLE {place(database)}symbols_v2 (symbol TEXT)"]
    if database.dialect == "postgresql":
        make.insert(0, f"CREATE SCHEMA {SCHEMA}")
    run(database_url, *make)
    with pytest.raises(DatabaseError, match=r"symbols_v2\"? already exists"):
        database.schema.init()
    assert database.schema.state().name == "foreign"


def test_a_newer_database_is_refused_and_not_changed(database_url: str) -> None:
    use(database_url)
    database = Database(database_url)
    run(database_url, f"UPDATE {place(database)}onetape_version SET version_num = '8000'")
    for action in (database.schema.prepare, database.schema.init, database.schema.upgrade):
        with pytest.raises(SchemaError, match=r"newer version.*8000"):
            action()
    with pytest.raises(SchemaError), database.writing():
        pass
    assert run(database_url, f"SELECT version_num FROM {place(database)}onetape_version") == [
        ("8000",)
    ]


@pytest.mark.parametrize("recorded", ["'0001'), ('0000'", "NULL"])
def test_a_database_with_another_number_of_revisions_is_refused(
    database_url: str, recorded: str
) -> None:
    use(database_url)
    table = f"{place(Database(database_url))}onetape_version"
    run(database_url, f"DROP TABLE {table}", f"CREATE TABLE {table} (version_num VARCHAR(32))")
    run(database_url, f"INSERT INTO {table} VALUES ({recorded})")
    with pytest.raises(SchemaError, match="newer version"), Database(database_url).writing():
        pass


# --- upgrades ------------------------------------------------------------------------------------


def tables_of(url: str) -> set[str]:
    database = Database(url)
    place = None if database.dialect == "sqlite" else SCHEMA
    names = {
        name for own in (None, place) for name in inspect(database.engine).get_table_names(own)
    }
    database.close()
    return names


def test_a_second_revision_upgrades_a_database(
    database_url: str, add_revision: Callable[[], None], tmp_path: Path
) -> None:
    database = Database(database_url)
    with database.writing() as session:
        session.add(User(email="a@b.example", created_at=NOW, updated_at=NOW))
        session.flush()
        session.add(AuthIdentity(user_id=1, provider="telegram", external_id="7", created_at=NOW))
    database.close()
    add_revision()
    if database.dialect == "postgresql":
        with (
            pytest.raises(SchemaError, match="onetape db upgrade"),
            Database(database.url).reading(),
        ):
            pass
        assert Database(database.url).schema.upgrade() is True
    assert use(database_url) == use(database_url) == ["USED"], "once"
    assert Database(database_url).schema.state() == ("own", "9001", ())
    users, identities = (
        f"{place(database)}{name}" for name in ("usr_users", "usr_auth_identities")
    )
    rows = f"SELECT email, nickname, external_id FROM {users} u JOIN {identities} i ON i.user_id = u.id"
    assert run(database_url, rows) == [("a@b.example", "none", "7")]
    if database.dialect == "sqlite":
        (backup,) = tmp_path.glob("records.db.*.bak")
        assert backup.name.startswith("records.db.0001-")
        assert stat.S_IMODE(backup.stat().st_mode) == 0o600
        assert Database(f"sqlite:///{backup}").schema.state() == ("older", "0001", ())
        assert run(f"sqlite:///{backup}", f"SELECT email FROM {users}") == [("a@b.example",)]


BROKEN = (
    SECOND
    + """
begun = upgrade
def upgrade():
    begun()
    schema = op.get_context().version_table_schema
    op.execute("DELETE FROM " + (f"{schema}." if schema else "") + "symbols_v2")
    op.execute("SELECT no such thing")
"""
)


def test_a_failed_upgrade_is_rolled_back(
    database_url: str, add_revision: Callable[[str], None]
) -> None:
    use(database_url)
    add_revision(BROKEN)
    before = tables_of(database_url)
    for _ in range(2):
        with pytest.raises(DatabaseError):
            Database(database_url).schema.upgrade()
        state = Database(database_url).schema.state()
        assert (state.name, state.revision) == ("older", "0001")
        assert tables_of(database_url) == before
    symbols = f"{place(Database(database_url))}symbols_v2"
    assert run(database_url, f"SELECT count(*) FROM {symbols}") == [(1,)]


# --- models and revisions ------------------------------------------------------------------------


def test_the_revisions_are_those_of_alembic() -> None:
    walked = [one.revision for one in ScriptDirectory(schema.MIGRATIONS).walk_revisions()]
    assert walked[::-1] == revisions()


def test_models_and_revisions_are_the_same(database: Database) -> None:
    assert database.schema.differences() == []


def test_each_changed_table_is_reported_as_a_difference(database_url: str) -> None:
    use(database_url)
    database = Database(database_url)
    changes = {
        "remove column": "ALTER TABLE {}symbols_v2 ADD COLUMN odd TEXT",
        "add column": "ALTER TABLE {}symbols_v2 DROP COLUMN sector",
        "add table": "DROP TABLE {}symbol_names",
    }
    run(database_url, *(change.format(place(database)) for change in changes.values()))
    found = database.schema.differences()
    assert [told for told in changes if not any(told in line for line in found)] == []


def test_every_constraint_has_a_name_and_every_table_its_schema() -> None:
    for table in METADATA.tables.values():
        assert table.schema == SCHEMA
        assert all(constraint.name for constraint in table.constraints), table.name


def test_a_row_comes_back_column_by_column(database: Database) -> None:
    rows = [
        Symbol(symbol="META", updated_at=NOW, sources={"sector": {"source": "fmp"}}, is_active=True,
               market_cap=10**13, available_timeframes=["1d"], ipo_date=date(2012, 5, 18)),
        CorporateAction(symbol="X", ex_date=date(2024, 1, 2), action_type="split", ratio=Decimal(1) / 15,
                        source="yahoo", source_at=NOW, created_at=NOW),
    ]  # fmt: skip
    with database.writing() as session:
        session.add_all(rows)
    with database.reading() as session:
        for row in rows:
            read = session.scalars(select(type(row))).one()
            for column in type(row).__table__.columns:
                assert getattr(read, column.key) == getattr(row, column.key), column


def test_a_second_action_of_a_day_is_refused(database: Database) -> None:
    def add() -> None:
        with database.writing() as session:
            session.add(CorporateAction(symbol="X", ex_date=date(2024, 1, 2), action_type="split",
                                        source="s", source_at=NOW, created_at=NOW))  # fmt: skip

    add()
    with pytest.raises(DatabaseError, match="rejected a row:"):
        add()


# --- first use -----------------------------------------------------------------------------------


def test_several_processes_begin_at_once(database_url: str) -> None:
    def begin(number: int) -> None:
        with Database(database_url).writing() as session:
            session.add(Symbol(symbol=f"S{number}", updated_at=NOW, sources={}))

    count = 8 if FULL else 2
    together(count, begin)
    assert use(database_url) == [*(f"S{n}" for n in range(count)), "USED"]


def test_several_threads_begin_at_once(database_url: str) -> None:
    database, barrier, failed = Database(database_url), Barrier(8), []

    def begin() -> None:
        barrier.wait()
        try:
            with database.reading() as session:
                session.scalars(select(Symbol)).all()
        except DatabaseError as error:
            failed.append(error)

    threads = [Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    database.close()


def test_several_processes_upgrade_at_once(
    tmp_path: Path, add_revision: Callable[[], None]
) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    use(url)
    add_revision()
    together(3 if FULL else 2, lambda _: use(url))
    assert Database(url).schema.state().name == "own"
    assert len(list(tmp_path.glob("*.bak"))) == 1, "one process upgraded"


@pytest.fixture
def loose() -> Iterator[None]:
    """Let new files be readable by all, but for what the library does."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("loose")
def test_the_file_is_its_owners_alone(data_home: Path) -> None:
    database = Database()
    with database.writing() as session:
        session.add(Symbol(symbol="X", updated_at=NOW, sources={}))
    folder = data_home / "onetape"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"onetape.db": 0o600, "onetape.db-wal": 0o600, "onetape.db-shm": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    database.close()
    assert sqlite3.connect(folder / "onetape.db").execute("PRAGMA journal_mode").fetchone() == (
        "wal",
    )


def test_a_folder_that_is_named_and_lacks_is_not_made(tmp_path: Path) -> None:
    with (
        pytest.raises(DatabaseError, match="No such file"),
        Database(f"sqlite:///{tmp_path}/no/a.db").writing(),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


# --- removal -------------------------------------------------------------------------------------


def test_tables_are_removed_only_where_that_is_allowed(
    foreign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(foreign)
    database.schema.init()
    with pytest.raises(SchemaError, match="is not enabled"):
        database.schema.drop_all_tables()
    assert database.schema.state().name == "own"
    monkeypatch.setenv("ALLOW_DROP_TABLES", "1")
    database.schema.drop_all_tables()
    names = tables_of(foreign)
    assert names == {"theirs"}
    database.schema.drop_all_tables()
    database.close()
