"""Database faults: typed errors, no unit half written after kills or full disks, and the next one works."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import Context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.engine import default
from sqlalchemy.exc import DBAPIError

from src.data.core.disk import atomic, calls, files
from src.data.core.disk import database as disk_database
from src.data.db.core import database as databases
from src.data.db.core import engine, schema
from src.data.db.core.database import Database
from src.data.db.core.engine import typed_errors
from src.data.db.symbols.models import Symbol
from src.data.errors import DatabaseError
from tests.core.cache.counts import some
from tests.db.conftest import execute
from tests.processes import ended, fork, killed_at, places

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
# Of ours all that a migration and a unit run, and of SQLAlchemy where each statement is sent.
KILLED = {str(module.__file__) for module in
          (databases, engine, schema, default, atomic, calls, files, disk_database)}  # fmt: skip


def add(database: Database, *names: str, text_: str = "") -> None:
    with database.writing() as session:
        for name in names:
            session.add(Symbol(symbol=name, updated_at=NOW, sources={}, company_name=text_))
            session.flush()


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(Symbol.symbol).order_by(Symbol.symbol)))


def use(url: str) -> list[str]:
    """Add two rows in one unit by a new object, if they are not there; return all."""
    database = Database(url)
    if "A" not in names(database):
        add(database, "A", "B")
    found = names(database)
    database.close()
    return found


# --- killed --------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_killed_at_any_place_of_the_first_use(database_url: str) -> None:
    count = places(lambda: use(database_url), KILLED)
    assert use(database_url) == ["A", "B"] and count > 200
    for place in some(range(1, count + 1), 3):
        forget(database_url)
        killed_at(place, lambda: use(database_url), KILLED)
        database = Database(database_url)
        state = database.schema.state()
        assert state.name in ("empty", "own"), f"at {place}"
        assert state.name == "empty" or names(database) in ([], ["A", "B"]), f"at {place}"
        assert use(database_url) == ["A", "B"] and database.schema.differences() == [], (
            f"at {place}"
        )
        database.close()


@pytest.mark.timeout(600)
def test_killed_at_any_place_of_an_upgrade(
    database_url: str, add_revision: Callable[[], None]
) -> None:
    first = Database(database_url)
    add(first, "A")
    add_revision()
    upgrade: Callable[[], Any] = lambda: Database(database_url).schema.upgrade()  # noqa: E731 - for both uses
    count = places(upgrade, KILLED)
    assert count > 100
    for place in some(range(1, count + 1), 3):
        with engine.for_work(first.engine, "migrating").begin() as connection:
            first.schema._run(connection, "downgrade", "0001")
        first.close()
        killed_at(place, upgrade, KILLED)
        database = Database(database_url)
        state = database.schema.state()
        assert (state.name, state.revision) in (("older", "0001"), ("own", "9001")), f"at {place}"
        database.schema.upgrade()
        assert database.schema.state().name == "own" and names(database) == ["A"], f"at {place}"
        database.close()


def forget(url: str) -> None:
    """Remove the tables with all files, by other means than ours."""
    path = Database(url).url.path
    if path is None:
        execute(url, "DROP SCHEMA IF EXISTS backtester CASCADE")
    else:
        for file in path.parent.glob(f"*{path.name}*"):
            file.unlink()


# --- in words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text_", "sqlstate", "said"),
    [
        ("", None, "cannot be used: _Failure (check whether the server is running"),
        ("the disk is full", "53100", "the disk is full (free up space on the server's disk)"),
    ],
)
def test_a_lost_connection_is_told_with_its_cause(
    text_: str, sqlstate: str | None, said: str
) -> None:
    class _Failure(Exception):
        pass

    cause = _Failure(text_)
    cause.sqlstate = sqlstate  # type: ignore[attr-defined]
    lost = DBAPIError("SELECT 1", None, cause, connection_invalidated=True)
    url = Database("sqlite:///x.db").url
    with pytest.raises(DatabaseError) as caught, typed_errors(url):
        raise lost
    assert said in str(caught.value)


# --- locked --------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let units wait for others for a moment only."""
    monkeypatch.setattr(engine, "WAIT_S", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_locked_database_is_a_typed_error_and_works_again(database: Database) -> None:
    add(database, "A")
    second = Database(database.url)

    def change() -> None:
        with second.writing() as session:
            session.get_one(Symbol, "A", with_for_update=True).sector = "x"

    with database.writing() as session:
        session.get_one(Symbol, "A", with_for_update=True)
        session.flush()
        # A program of its own, so to speak: in this one the second unit is refused before it waits.
        reader = fork_refused(change)
        assert names(second) == ["A"], "readers do not wait"
    assert reader
    change()
    second.close()


def fork_refused(work: Callable[[], object]) -> bool:
    """Tell whether another process is refused with the error for locks."""

    def expect() -> None:
        with pytest.raises(DatabaseError, match=r"locked|lock timeout") as caught:
            Context().run(work)  # outside the unit of work that was copied with the process
        assert (
            caught.value.hint is not None
            and "close the program that holds the lock, or try again" in caught.value.hint
        )

    return ended(fork(expect)) == 0


@pytest.mark.usefixtures("impatient")
def test_tables_cannot_be_created_while_another_program_locks_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match="locked by another program"):
        names(Database(f"sqlite:///{path}"))
    other.execute("COMMIT")
    other.close()
    assert names(Database(f"sqlite:///{path}")) == []


# --- no room, no right ---------------------------------------------------------------------------


def test_a_unit_on_a_full_database_is_rolled_back_whole(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    add(database, "A")
    room = {"pages": 0}

    @event.listens_for(database.engine, "begin")
    def limit(connection: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        most = pages + room["pages"] if room["pages"] is not None else 1_000_000
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")

    with pytest.raises(DatabaseError, match="full"):
        add(database, "B", "C", "D", text_="x" * 50_000)
    assert names(database) == ["A"]
    room["pages"] = 1000
    add(database, "B", "C", text_="x" * 50_000)
    assert names(database) == ["A", "B", "C"]
    database.close()


def limited(size: int, work: Callable[[], object]) -> int:
    """Do ``work`` in a child whose files cannot grow beyond a size, as on a full disk."""

    def run() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        with pytest.raises(DatabaseError):
            work()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        work()

    return ended(fork(run))


@pytest.mark.parametrize("size", [0, 20_000])
def test_a_disk_that_is_full_at_the_first_use(tmp_path: Path, size: int) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    assert limited(size, lambda: add(Database(url), "A", "B")) == 0
    assert use(url) == ["A", "B"] and [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_a_disk_that_is_full_at_the_backup_before_an_upgrade(
    tmp_path: Path, add_revision: Callable[[], None]
) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    url = f"sqlite:///{folder / 'a.db'}"
    use(url)
    add_revision()
    assert limited(8192, lambda: names(Database(url))) == 0
    assert Database(url).schema.state().name == "own"
    assert len(list(folder.glob("*.bak"))) == 1 and not list(folder.glob("*.tmp*"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that another user may enter."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user takes root")
@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_a_file_that_may_not_be_written(open_folder: Path, mode: int) -> None:
    path = open_folder / "a.db"
    url = f"sqlite:///{path}"
    use(url)
    path.chmod(mode)
    before = path.read_bytes()

    def as_another() -> None:
        os.setuid(65534)
        database = Database(url)
        for _ in range(2):
            with pytest.raises(DatabaseError):
                add(database, "C")
        with pytest.raises(DatabaseError):
            Database(f"sqlite:///{open_folder}/new.db").schema.prepare()

    assert ended(fork(as_another)) == 0
    assert path.read_bytes() == before and [p.name for p in open_folder.iterdir()] == ["a.db"]
    assert use(url) == ["A", "B"]


# --- damage --------------------------------------------------------------------------------------


def in_log(path: Path) -> bytes:
    """Have a child die with its last two units in the log alone; return the log."""

    def work() -> None:
        database = Database(f"sqlite:///{path}")
        add(database, "C")
        add(database, "D")
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(fork(work)) == -signal.SIGKILL
    return Path(f"{path}-wal").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "cut in a frame", "flipped", "zeros", "garbage behind"])
def test_a_torn_log_costs_the_last_units_at_most(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.db"
    use(f"sqlite:///{path}")
    whole = in_log(path)
    torn = {
        "cut": whole[: len(whole) // 2],
        "cut in a frame": whole[:-100],
        "flipped": whole[:-500] + bytes([whole[-500] ^ 1]) + whole[-499:],
        "zeros": whole[: -4096 * 2] + bytes(4096 * 2),
        "garbage behind": whole + os.urandom(5000),
    }[damage]
    Path(f"{path}-wal").write_bytes(torn)
    Path(f"{path}-shm").unlink()  # as after a power failure: it is memory
    database = Database(f"sqlite:///{path}")
    found = names(database)
    assert found in (["A", "B"], ["A", "B", "C"], ["A", "B", "C", "D"])
    assert database.schema.differences() == []
    add(database, "E")
    assert names(database) == sorted([*found, "E"])
    database.close()


def spoilt(path: Path) -> dict[str, Callable[[], object]]:
    """Return ways of making a database unreadable."""
    whole = path.read_bytes()
    return {
        "garbage": lambda: path.write_bytes(os.urandom(len(whole))),
        "another format": lambda: path.write_bytes(b"PK\3\4" + whole[4:]),
        "half": lambda: path.write_bytes(whole[: len(whole) // 2]),
        "a torn page": lambda: path.write_bytes(whole[:4096] + os.urandom(4096) + whole[8192:]),
        "a folder": lambda: (path.unlink(), path.mkdir()),
        "a pipe": lambda: (path.unlink(), os.mkfifo(path)),
        "empty, with its log": lambda: (
            path.write_bytes(b""),
            Path(f"{path}-wal").write_bytes(b"x" * 99),
        ),
        "gone, with its log": lambda: (path.unlink(), Path(f"{path}-wal").write_bytes(b"x" * 99)),
    }


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return what lies in a folder, but for the memory that readers share, and a log of nothing."""
    found = {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}
    return {name: data for name, data in found.items() if not name.endswith("-shm") and data != b""}


@pytest.mark.parametrize(
    "how", ["garbage", "another format", "half", "a torn page", "a folder", "a pipe",
            "empty, with its log", "gone, with its log"],
)  # fmt: skip
def test_an_unreadable_database_is_never_replaced(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.db"
    url = f"sqlite:///{path}"
    use(url)
    good = path.read_bytes()
    spoilt(path)[how]()
    before = contents(tmp_path)
    for action in (lambda: add(Database(url), "C"), lambda: Database(url).schema.init(),
                   lambda: Database(url).schema.upgrade()):  # fmt: skip
        with pytest.raises(DatabaseError):
            action()
    assert contents(tmp_path) == before
    for place in list(tmp_path.iterdir()):
        place.rmdir() if place.is_dir() else place.unlink()
    path.write_bytes(good)
    assert use(url) == ["A", "B"]


def test_the_error_about_a_damaged_file_names_its_log(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(
        DatabaseError, match="move it with its -wal and -shm away, and put a backup"
    ):
        names(Database(f"sqlite:///{path}"))


def test_a_damaged_page_is_reported_by_check(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = Database(f"sqlite:///{path}")
    add(database, *(f"S{n}" for n in range(300)), text_="x" * 200)
    database.close()
    data = bytearray(path.read_bytes())
    place = data.index(b"x" * 200, 4096 * 14)
    page = place // 4096 * 4096
    data[page : page + 12] = bytes(12)
    path.write_bytes(data)
    try:
        told = Database(f"sqlite:///{path}").schema.differences()
    except DatabaseError as error:
        told = [str(error)]
    assert told


# --- the server goes away ------------------------------------------------------------------------


@pytest.fixture
def served(tables: str) -> Database:
    database = Database(tables)
    with database.writing() as session:
        session.execute(text("DELETE FROM backtester.symbols_v2"))
    return database


def end_connections(url: str) -> None:
    execute(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                 "WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip


def test_a_unit_is_rolled_back_whole_if_the_server_closes_the_connection(
    served: Database, tables: str
) -> None:
    add(served, "A")

    def cut_off() -> None:
        with served.writing() as session:
            session.add(Symbol(symbol="B", updated_at=NOW, sources={}))
            session.flush()
            end_connections(tables)
            session.add(Symbol(symbol="C", updated_at=NOW, sources={}))

    for _ in range(2):
        with pytest.raises(DatabaseError) as caught:
            cut_off()
        assert caught.value.hint is not None and "the next one reconnects" in caught.value.hint
        assert names(served) == ["A"]
    add(served, "B")
    assert names(served) == ["A", "B"]
    served.close()


def test_a_server_restarted_between_units_is_reconnected_without_an_error(
    served: Database, tables: str
) -> None:
    add(served, "A")
    end_connections(tables)
    assert names(served) == ["A"]
    served.close()


def test_an_unreachable_database_server_raises_a_database_error(tmp_path: Path) -> None:
    for url in ("postgresql://u:p@127.0.0.1:9/x", f"postgresql://u@/x?host={tmp_path}",
                "postgresql://u:p@127.0.0.1:9/x?nonsense=1"):  # fmt: skip
        with pytest.raises(DatabaseError):
            names(Database(url))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_unit_without_a_free_connection_raises_a_database_error(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, "A")
    monkeypatch.setattr(database.engine.pool, "_timeout", 0)
    with ExitStack() as held:
        for _ in range(15):
            held.enter_context(database.engine.connect())
        with pytest.raises(DatabaseError, match=r"all connections are in use .*fewer threads"):
            names(database)
    assert names(database) == ["A"]
