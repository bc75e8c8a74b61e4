"""Dated symbol changes: imported whole or not at all, and resolved by date."""

from __future__ import annotations

import random
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from src.data.db.core.database import Database
from src.data.db.core.sessions import run
from src.data.db.symbols.models import SymbolName
from src.data.db.symbols.tables import changes_by_name, import_changes, resolve
from src.data.errors import DatabaseError, QueryError
from tests.core.cache.counts import FULL

from .symbols import NOW, dump, imported

COUNT = 10_000 if FULL else 1_000
HEADER = "date,type,symbol,successor,source\n"
RENAMES = (
    HEADER + "2022-06-09,rename,fb,meta,Nasdaq notice\n2022-01-31,rename,META,METV,Roundhill\n"
)
INTERVALS = (
    "symbol,instrument,from,to,source\n"
    "FB,Meta Platforms,2012-05-18,2022-06-09,list\n"
    "META,Meta Platforms,2022-06-09,,list\n"
    "META,Roundhill Ball Metaverse ETF,2021-06-30,2022-01-31,list\n"
)


def resolved(database: Database, symbol: str, on: str) -> tuple[str, str, str]:
    with database.reading() as session:
        found = resolve(session, symbol, date.fromisoformat(on))
    return found.instrument, found.current, found.source


def test_a_name_is_resolved_by_date_and_by_its_source(database: Database, tmp_path: Path) -> None:
    report = imported(database, tmp_path, RENAMES)
    assert (report.rows, report.added, report.removed) == (4, 4, 0)
    assert report.symbols == ("FB", "META", "METV")
    assert resolved(database, "FB", "2022-06-08") == ("META", "META", "Nasdaq notice")
    assert resolved(database, "META", "2022-06-09") == ("META", "META", "Nasdaq notice")
    assert resolved(database, "META", "2021-07-01") == ("METV", "METV", "Roundhill")
    for symbol, on in (("FB", "2022-06-09"), ("META", "2022-03-01")):
        with pytest.raises(
            QueryError,
            match=f"{symbol} does not refer to any instrument on {on}; recorded periods:",
        ):
            resolved(database, symbol, on)
    with pytest.raises(QueryError, match="nothing is recorded for NOPE"):
        resolved(database, "NOPE", "2022-06-09")


def test_names_are_dated_rows_with_their_source(database: Database, tmp_path: Path) -> None:
    imported(database, tmp_path, RENAMES)
    with database.reading() as session:
        row = session.scalars(select(SymbolName).where(SymbolName.symbol == "FB")).one()
    assert (row.valid_from, row.valid_to, row.instrument) == (None, date(2022, 6, 9), "META")
    assert (row.end_source, row.origin, row.recorded_at) == ("Nasdaq notice", "names.csv", NOW)
    assert row.recorded_at.tzinfo is UTC


def test_intervals_resolve_like_dated_changes(database: Database, tmp_path: Path) -> None:
    imported(database, tmp_path, INTERVALS)
    assert resolved(database, "FB", "2020-01-02") == ("Meta Platforms", "META", "list")
    with database.reading() as session:
        changes = changes_by_name(session, "META")
    assert [change.type for change in changes["FB"]] == ["rename"]
    assert changes["META"][0].before == "META named Roundhill Ball Metaverse ETF until 2022-01-31"
    with pytest.raises(QueryError, match="FB does not refer to any instrument on 2012-05-17"):
        resolved(database, "FB", "2012-05-17")


def test_a_repeated_import_changes_no_row(database: Database, tmp_path: Path) -> None:
    for text in (RENAMES, INTERVALS):
        imported(database, tmp_path, text)
        before = dump(database)
        path = tmp_path / "names.csv"
        later = datetime(2025, 1, 1, tzinfo=UTC)
        report = import_changes(database, path, str.upper, later)
        assert (report.added, report.removed, report.symbols) == (0, 0, ())
        assert dump(database) == before
        with database.reading() as session:
            assert {row.recorded_at for row in session.scalars(select(SymbolName))} == {NOW}


def test_a_corrected_file_takes_the_place_of_the_one_before(
    database: Database, tmp_path: Path
) -> None:
    imported(database, tmp_path, RENAMES)
    report = imported(database, tmp_path, HEADER + "2022-06-08,rename,FB,META,Nasdaq notice\n")
    assert report.symbols == ("FB", "META", "METV")
    assert resolved(database, "META", "2022-06-08")[0] == "META"


def test_files_are_stored_side_by_side_unless_they_overlap(
    database: Database, tmp_path: Path
) -> None:
    imported(database, tmp_path, INTERVALS, "a.csv")
    before = dump(database)
    with pytest.raises(QueryError, match=r"META as MTPL .*made up. overlaps|overlaps META"):
        imported(database, tmp_path, HEADER + "2024-05-01,rename,META,MTPL,made up\n", "b.csv")
    assert dump(database) == before
    imported(database, tmp_path, HEADER + "2000-01-03,delisting,XYZQ,,s\n", "b.csv")
    assert [change.type for change in _changes(database)["XYZQ"]] == ["delisting"]
    assert resolved(database, "FB", "2022-06-08") == ("Meta Platforms", "META", "list")


@pytest.mark.parametrize(
    "text, what",
    [
        (HEADER + "2022-06-09,rename,A,B,s\n09.06.2022,rename,C,D,s\n", "line 3: date is not a date: '09"),
        (HEADER + "2022-06-09,rename,A,B,s\n2022-06-10,rename,A,C,t\n", "has already ended"),
        (HEADER + "2022-06-09,rename,A,B,s\n2022-06-09,rename,A,B,t\n", "has already ended"),
        (HEADER + "2022-06-08,rename,FB,META,other\n", "overlaps"),
        ("symbol,instrument,from,to\nA,x,2022-01-03,2021-01-04\n", "line 2: `to` .2021-01-04. is not after"),
        ("symbol,instrument,from,to\nA,x,,2022-01-03\nA,y,2022-01-02,\n", "overlaps"),
    ],
)  # fmt: skip
def test_a_refused_import_changes_no_table(
    database: Database, tmp_path: Path, text: str, what: str
) -> None:
    imported(database, tmp_path, RENAMES, "first.csv")
    before = dump(database)
    with pytest.raises(QueryError, match=what):
        imported(database, tmp_path, text, "second.csv")
    assert dump(database) == before


def test_an_unreadable_file_is_refused(database: Database, tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name, what in (
        ("none.csv", "No such file"),
        ("binary.csv", "is not UTF-8 text"),
        (".", "directory"),
    ):
        with pytest.raises(QueryError, match=what):
            import_changes(database, tmp_path / name, str.upper, NOW)


@pytest.mark.parametrize(
    "name", ["BRK-B", "^VIX", "GC=F", "O'NEIL", "a%s", "Ü", "x;DROP TABLE", "日本"]
)
def test_hostile_names_come_back_as_they_are(database: Database, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.csv"
    path.write_text(f'{HEADER}2022-06-09,rename,"{name}","{name}2","{name}"\n')
    import_changes(database, path, str, NOW)
    assert resolved(database, name, "2022-06-08") == (f"{name}2", f"{name}2", name)
    assert [c.source for c in _changes(database)[name]] == [name]


def _changes(database: Database) -> dict[str, list]:  # type: ignore[type-arg]
    with database.reading() as session:
        return changes_by_name(session)


def test_thousands_of_changes_are_imported_within_seconds(
    database: Database, tmp_path: Path
) -> None:
    chance, rows = random.Random(38), []
    for number in range(COUNT // 2):
        day = date(2000, 1, 3) + timedelta(days=chance.randint(0, 8000))
        rows += [
            f"{day},rename,A{number},B{number},s",
            f"{day + timedelta(9)},delisting,B{number},,t",
        ]
    chance.shuffle(rows)
    started = time.process_time()
    report = imported(database, tmp_path, HEADER + "\n".join(rows) + "\n")
    assert (report.rows, report.added) == (COUNT, COUNT)
    assert time.process_time() - started < 10
    assert resolved(database, "A77", "1999-01-04")[0] == "B77"
    with database.reading() as session:
        every = changes_by_name(session)
        one = changes_by_name(session, "A77")
    assert len(every) == COUNT
    assert one == {name: every[name] for name in ("A77", "B77")}
    assert time.process_time() - started < 15


def test_concurrent_imports_run_one_after_another(database: Database, tmp_path: Path) -> None:
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            text = HEADER + f"2022-06-09,rename,A{number},B,s\n"
            imported(database, tmp_path, text, f"{number}.csv")
        except QueryError as error:
            errors.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # B can begin as one instrument alone: of six files one is taken.
    assert len(errors) == 5
    with database.reading() as session:
        assert len(session.scalars(select(SymbolName)).all()) == 2


def test_the_tables_themselves_refuse_a_reversed_interval(database: Database) -> None:
    day = date(2022, 6, 9)
    alias = SymbolName(
        symbol="A", instrument="x", valid_from=day, valid_to=day, source="s", ending="", successor="",
        parent="", end_source="", origin="", recorded_at=NOW,
    )  # fmt: skip
    with pytest.raises(DatabaseError), database.writing() as session:
        session.add(alias)


async def _resolved(session: object) -> str:
    return (await run(session, resolve, "FB", date(2020, 1, 2))).instrument


def test_sessions_of_the_callers_own_reach_the_tables(database: Database, tmp_path: Path) -> None:
    import asyncio

    imported(database, tmp_path, RENAMES)
    engine = create_engine(database.url.url)
    with Session(engine) as session:
        assert asyncio.run(_resolved(session)) == "META"
    engine.dispose()
