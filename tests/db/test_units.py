"""Units of work: all or nothing, in several processes, threads and forked children, on both engines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from src.data.core.model.request.unit_of_work import refuse_inside_unit
from src.data.db.core import engine as engines
from src.data.db.core.database import Database, adapted, get_database, locked
from src.data.db.symbols.models import Symbol
from src.data.errors import DatabaseError
from tests.core.cache.counts import FULL
from tests.e2e.fresh import Fresh
from tests.processes import ended, fork, together

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PROCESSES, CHANGES = (8, 200) if FULL else (2, 12)


def add(database: Database, name: str) -> None:
    with database.writing() as session:
        session.add(Symbol(symbol=name, updated_at=NOW, sources={}, avg_daily_volume=0))


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(Symbol.symbol).order_by(Symbol.symbol)))


def volume(database: Database) -> int | None:
    with database.reading() as session:
        return session.scalars(select(Symbol.avg_daily_volume)).one()


# --- one unit ------------------------------------------------------------------------------------


def test_a_unit_of_work_reads_what_the_previous_one_wrote(database: Database) -> None:
    with database.writing() as session:
        session.add(Symbol(symbol="AAPL", updated_at=NOW, volatility_30d=Decimal("0.1")))
    with database.reading() as session:
        row = session.scalars(select(Symbol)).one()
    assert (row.symbol, row.updated_at, row.volatility_30d) == ("AAPL", NOW, Decimal("0.1"))


def test_a_failed_unit_of_work_is_rolled_back(database: Database) -> None:
    def fail() -> None:
        with database.writing() as session:
            session.add(Symbol(symbol="AAPL", updated_at=NOW))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(database) == []


def test_a_reading_unit_cannot_write(database: Database) -> None:
    def write() -> None:
        with database.reading() as session:
            session.add(Symbol(symbol="AAPL", updated_at=NOW))
            session.flush()

    with pytest.raises(DatabaseError):
        write()
    add(database, "MSFT")
    assert names(database) == ["MSFT"]


def test_a_reading_unit_sees_one_state_and_blocks_no_writer(database: Database) -> None:
    add(database, "A")
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Symbol)) == 1
        add(database, "B")
        assert session.scalar(select(func.count()).select_from(Symbol)) == 1
    assert names(database) == ["A", "B"]


def test_a_locked_row_is_read_anew(database: Database) -> None:
    add(database, "AAPL")
    with database.writing() as session:
        row = session.get_one(Symbol, "AAPL")
        assert locked(session, select(Symbol).where(Symbol.symbol == "AAPL")).one() is row


def test_a_unit_inside_a_unit_would_wait_for_itself(database: Database) -> None:
    def nest() -> None:
        with database.writing():
            add(database, "A")

    with pytest.raises(DatabaseError, match="inside another"):
        nest()
    add(database, "B")
    assert names(database) == ["B"]


def test_errors_contain_no_values(database: Database) -> None:
    add(database, "CANARY-VALUE")
    with pytest.raises(DatabaseError) as caught:
        add(database, "CANARY-VALUE")
    assert "CANARY-VALUE" not in str(caught.value)


def test_rows_refer_to_rows_that_are_there(database: Database) -> None:
    with database.writing() as session:
        if database.dialect == "sqlite":
            assert session.connection().exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


# --- no request inside a unit --------------------------------------------------------------------


@pytest.mark.parametrize("work", ["reading", "writing"])
def test_a_request_to_a_vendor_inside_a_unit_of_work_is_refused(
    database: Database, work: str, vendors: object, tmp_path: Path
) -> None:
    from src.data.data_manager import DataManager
    from tests.vendor_server import VendorServer

    assert isinstance(vendors, VendorServer)
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        f"crypto: {{primary: binance, backup: []}}\nproviders:\n  binance: "
        f"{{base_url: '{vendors.base_url('binance')}', transport: http}}\n"
    )
    manager = DataManager(str(tmp_path / "cache"), str(rules))
    asked = vendors.count()
    unit: Callable[[], object] = getattr(database, work)
    with pytest.raises(DatabaseError, match="inside a unit"), unit():  # type: ignore[attr-defined]
        manager.get_ohlcv("BTCUSDT", "1d", "2024-01-01", "2024-01-05")
    assert vendors.count() == asked
    assert len(manager.get_ohlcv("BTCUSDT", "1d", "2024-01-01", "2024-01-05")) == 5
    with unit():  # type: ignore[attr-defined]
        assert len(manager.get_ohlcv("BTCUSDT", "1d", "2024-01-01", "2024-01-05")) == 5, "cached"
    refuse_inside_unit("outside of one nothing")


# --- several processes and threads ---------------------------------------------------------------


def increments(database: Database, count: int, select_row: Callable[[Session], Symbol]) -> None:
    for _ in range(count):
        with database.writing() as session:
            row = select_row(session)
            before = row.avg_daily_volume or 0
            os.sched_yield()  # to whoever would read the same
            row.avg_daily_volume = before + 1


def with_lock(session: Session) -> Symbol:
    return locked(session, select(Symbol)).one()


def without_lock(session: Session) -> Symbol:
    return session.scalars(select(Symbol)).one()


def test_concurrent_increments_of_processes_are_not_lost(database: Database) -> None:
    add(database, "A")
    together(PROCESSES, lambda _: increments(database, CHANGES, with_lock))
    assert volume(database) == PROCESSES * CHANGES


def test_without_its_lock_a_writing_unit_loses_or_refuses_changes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, "A")
    if (
        database.dialect == "sqlite"
    ):  # the same begin as a reading unit, and no lock before the first write
        event.remove(database.engine, "begin", engines.begin_sqlite)
        event.listen(database.engine, "begin", lambda c: c.exec_driver_sql("BEGIN"))

    def change(_: int) -> None:
        for _ in range(CHANGES):
            try:
                increments(database, 1, without_lock)
            except DatabaseError:
                assert database.dialect == "sqlite"

    together(PROCESSES, change)
    kept = volume(database)
    assert kept is not None and kept < PROCESSES * CHANGES


def test_threads_share_a_database(database: Database) -> None:
    add(database, "A")
    threads = [Thread(target=increments, args=(database, 6, with_lock)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert volume(database) == 24


def test_a_forked_child_has_connections_of_its_own(database: Database) -> None:
    add(database, "A")
    with database.reading():  # its connection is in use while the process forks
        children = [fork(lambda: increments(database, 4, with_lock)) for _ in range(2)]
        assert [ended(child) for child in children] == [0] * 2
    increments(database, 4, with_lock)
    assert volume(database) == 12


def test_a_fork_beside_an_idle_connection_leaves_both_sides_working(database: Database) -> None:
    add(database, "A")
    assert database.engine.pool.checkedin() == 1  # type: ignore[attr-defined]

    def work() -> None:
        assert database.engine.pool.checkedin() == 0  # type: ignore[attr-defined]
        increments(database, 4, with_lock)

    child = fork(work)
    increments(database, 4, with_lock)
    assert ended(child) == 0
    assert volume(database) == 8


# --- which database ------------------------------------------------------------------------------


def test_a_process_has_one_database_for_each_url(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_URL", database_url)
    assert get_database() is get_database(database_url)
    assert get_database(f"sqlite:///{tmp_path}/other.db") is not get_database()
    assert ended(fork(lambda: add(get_database(), "CHILD"))) == 0
    assert names(get_database()) == ["CHILD"]
    get_database().close()


def test_a_session_of_the_callers_own_reaches_the_tables(database: Database) -> None:
    add(database, "A")
    from sqlalchemy import create_engine

    own = create_engine(database.engine.url if database.url.path else database.url.url)
    with Session(own) as session:
        assert adapted(session).scalars(select(Symbol.symbol)).all() == ["A"]
    own.dispose()


def test_an_asynchronous_session_reaches_the_tables(database: Database) -> None:
    add(database, "A")
    driver = "sqlite+aiosqlite" if database.url.path else "postgresql+psycopg"

    async def read() -> list[str]:
        own = create_async_engine(database.url.url.set(drivername=driver))
        async with AsyncSession(own) as session:
            found = await session.run_sync(
                lambda s: adapted(s).scalars(select(Symbol.symbol)).all()
            )
        await own.dispose()
        return list(found)

    assert asyncio.run(read()) == ["A"]


def test_a_replaced_database_file_is_used_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = Database(f"sqlite:///{path}")
    add(database, "OLD")
    backup = database.schema.backup(tmp_path / "backup.db")
    add(database, "NEW")
    database.close()
    backup.replace(path)
    assert names(database) == ["OLD"]
    database.close()
    path.unlink()
    add(database, "FRESH")
    assert names(database) == ["FRESH"]


# --- what is loaded ------------------------------------------------------------------------------

STEPS = [
    ("import src.data, onetape, src.data.v2", ""),
    ("from onetape import get_data_manager; get_data_manager('.')", ""),
    ("get_data_manager('.').get_ohlcv_batch(['BTCUSDT'], '1d', offline=True)", ""),
    ("import src.data.db, src.data.cli.db", ""),
    ("from src.data.v2 import *; from src.data.db.universe import UniverseDefinition", ""),
    ("from src.data.db import Database; database = Database('sqlite:///a.db')", "sqlalchemy"),
    # Alembic is for changes of the tables, which are there.
    ("database.reading().__enter__()", "sqlalchemy"),
    ("from src.data.v2 import UniverseManager", "sqlalchemy"),
    ("Database('sqlite:///b.db').schema.prepare()", "sqlalchemy alembic"),
]


def test_the_packages_are_loaded_when_they_are_used(fresh: Fresh, tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path / 'a.db'}")) as made:
        made.schema.prepare()
    show = "print(*[n for n in ('sqlalchemy', 'alembic', 'psycopg') if n in sys.modules])"
    lines = [
        "import os, sys, warnings",
        f"os.chdir({str(tmp_path)!r})",
        "warnings.simplefilter('ignore')",
    ]
    lines += [f"{line}; {show}" for line, _ in STEPS]
    found = fresh.run("\n".join(lines), HOME=str(tmp_path)).splitlines()
    assert found == [names for _, names in STEPS]
