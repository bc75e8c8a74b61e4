"""Universes under kills, full disks, concurrent processes, and later records."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, select

from src.data.core.clock import ManualClock, SystemClock
from src.data.core.model.time.instant import parse_iso
from src.data.core.provider_selector import ProviderSelector
from src.data.db import Database, UniverseDefinition
from src.data.db.core.database import get_database
from src.data.db.universe import StoredUniverses, open_universes
from src.data.db.universe.models import Universe, UniverseMember
from src.data.errors import DatabaseError
from tests.processes import ended, fork

FULL = bool(os.environ.get("ONETAPE_FULL"))
MEMBERS = 60 if FULL else 20
SPELLING: Any = SimpleNamespace(provider_selector=ProviderSelector())
MORNING, NOON = parse_iso("2024-06-10T08:00:00"), parse_iso("2024-06-10T12:00:00")
MODELS = (Universe, UniverseMember)


def universes_of(database: Database, clock: Any = None) -> StoredUniverses:
    return StoredUniverses(database, SPELLING, clock or SystemClock())


def static(*symbols: str) -> UniverseDefinition:
    return UniverseDefinition("static", symbols=list(symbols))


def forked(work: Callable[[], object]) -> int:
    """Run work in a child; return the signal that ended it, 0 for none."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def content(database: Database) -> list[list[tuple[Any, ...]]]:
    with database.reading() as session:
        return [
            sorted(map(tuple, session.connection().execute(select(model)).all()), key=repr)
            for model in MODELS
        ]


# --- kills -----------------------------------------------------------------------------------


def killing(database: Database, step: int) -> None:
    """Let the process end at a statement of its writing unit, or at the commit behind the last."""
    count = 0

    def kill(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(database.engine, "after_cursor_execute", kill)
    event.listen(database.engine, "commit", kill)


def test_a_kill_in_any_step_leaves_before_or_after(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("symbol,from,to\nA,2015-01-02,\nB,2015-01-02,2020-01-02\nC,2016-01-04,\n")
    universes = universes_of(database)
    universes.import_file("index", file)
    before = content(database)
    file.write_text("symbol,from,to\nA,2015-01-02,\nB,2015-01-02,2019-01-02\nD,2017-01-03,\n")
    killed = 0
    for step in range(1, 60, 1 if FULL else 3):

        def work(step: int = step) -> None:
            killing(database, step)
            universes.refresh("index")

        if not forked(work):
            break
        killed += 1
        # The child that ended at its last commit may have been a moment before it.
        assert content(database) == before
    assert killed >= (6 if FULL else 2)
    after = content(database)
    assert after != before
    assert list(universes.members("index", "2018-06-01", strict=True)) == ["A", "B", "D"]
    assert not universes.refresh("index").is_changed


def test_a_kill_during_the_creation_of_a_universe_leaves_no_rows(database: Database) -> None:
    universes = universes_of(database)
    empty = content(database)
    for step in (1, 3, 6):

        def work(step: int = step) -> None:
            killing(database, step)
            universes.create("u", static("A", "B"))

        assert forked(work) == signal.SIGKILL
        assert content(database) == empty
    assert universes.create("u", static("A", "B")).members == 2


# --- no room --------------------------------------------------------------------------------


def test_an_import_on_a_full_disk_is_all_or_nothing_and_the_next_succeeds(
    tmp_path: Path,
) -> None:
    """The limit for a file grows by a page until the import fits."""
    file, lists = tmp_path / "a.csv", []
    for last in ("2020-01-02", "2021-01-04"):
        rows = [f"S{n},2015-01-02,{last if n % 2 else ''}" for n in range(MEMBERS)]
        lists.append("\n".join(["symbol,from,to", *rows]))
    template = Database(f"sqlite:///{tmp_path / 'records.db'}")
    template.schema.prepare()
    file.write_text(lists[0])
    universes_of(template, ManualClock(MORNING)).import_file("index", file)
    before = content(template)
    file.write_text(lists[1])
    template.close()
    refused = 0
    for pages in range(0, 200, 1 if FULL else 4):
        path = shutil.copy(tmp_path / "records.db", tmp_path / f"{pages}.db")
        database = Database(f"sqlite:///{path}")

        def work(database: Database = database, pages: int = pages) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * pages, resource.RLIM_INFINITY))
            try:
                universes_of(database, ManualClock(NOON)).import_file("index", file)
            except DatabaseError as refusal:
                os._exit(3 if "full" in str(refusal) or "disk" in str(refusal) else 4)

        code = ended(fork(work))
        assert code in (0, 3)
        now = content(database)
        refused += now == before
        if code == 3:
            assert now == before
        universes_of(database, ManualClock(NOON)).import_file("index", file)
        members = universes_of(database).members("index", "2020-06-01", strict=True)
        assert len(members) == MEMBERS
        database.close()
        if code == 0:
            assert now != before
            break
    else:
        raise AssertionError("it never fits")
    assert refused > (3 if FULL else 1)


# --- several processes -----------------------------------------------------------------------


def test_refreshes_of_two_processes_come_one_after_the_other(database: Database) -> None:
    lists = (("A", "B", "C"), ("B", "C", "D", "E"))
    times = 50 if FULL else 5
    children = []
    for symbols in lists:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                own = universes_of(database)
                for turn in range(times):
                    own.create("u", static(*symbols[: 2 + turn % 2]))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    universes = universes_of(database)
    with database.reading() as session:
        rows = session.scalars(select(UniverseMember)).all()
    held = [row.symbol for row in rows if row.valid_to is None]
    assert tuple(sorted(held)) == universes.members("u").symbols and len(held) == len(set(held))
    assert tuple(sorted(held)) in {symbols[:size] for symbols in lists for size in (2, 3)}


# --- the default database --------------------------------------------------------------------


def test_the_default_database_is_the_one_of_the_environment(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    universes_of(database).create("u", static("A"))
    url = database.url.url.render_as_string(hide_password=False)
    monkeypatch.setenv("DB_URL", url)
    assert list(open_universes().members("u", strict=True)) == ["A"]
    get_database().close()
