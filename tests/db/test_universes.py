"""Universes in a database: made, imported, refreshed and read, on both engines."""

from __future__ import annotations

import asyncio
import os
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.data.core.clock import ManualClock
from src.data.core.model.identity.universe import Members, Universes
from src.data.core.model.time.instant import to_ms
from src.data.core.provider_selector import ProviderSelector
from src.data.db import Database, UniverseDefinition, UniverseManager
from src.data.db.symbols.models import Symbol
from src.data.db.universe import StoredUniverses
from src.data.db.universe.models import Universe, UniverseMember
from src.data.errors import QueryError, SurvivorshipWarning, UniverseError
from tests.db.made_index import MadeIndex, made_index

FULL = bool(os.environ.get("ONETAPE_FULL"))
MONDAY = datetime(2026, 1, 5, 12, 0)


@pytest.fixture(scope="module")
def spelling() -> Any:
    """Return what spells symbols as the packaged rules do, and has no bars."""
    return SimpleNamespace(provider_selector=ProviderSelector())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(to_ms(MONDAY))


@pytest.fixture
def universes(database: Database, clock: ManualClock, spelling: Any) -> StoredUniverses:
    return StoredUniverses(database, spelling, clock)


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def static(*symbols: str, description: str = "") -> UniverseDefinition:
    return UniverseDefinition("static", description, symbols=list(symbols))


def days_later(clock: ManualClock, days: float) -> None:
    clock.sleep(days * 86_400)


def rows(database: Database, model: type[Any]) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


# --- lists -----------------------------------------------------------------------------------


def test_a_static_universe_returns_its_members_sorted_and_point_in_time(
    universes: StoredUniverses,
) -> None:
    made = universes.create("tech", static("aapl", "BRK.B", "AAPL", description="mine"))
    assert (made.is_changed, made.opened, made.members) == (True, 2, 2)
    members = universes.members("tech")
    assert list(members) == ["AAPL", "BRK.B"]
    assert members.as_of == members.known_from == date(2026, 1, 5)
    assert members.is_pit
    protocol: Universes = universes
    assert protocol.members("tech", strict=True) == members


def test_todays_list_for_a_past_day_warns_and_strict_raises(universes: StoredUniverses) -> None:
    universes.create("tech", static("AAPL"))
    with pytest.warns(
        SurvivorshipWarning,
        match=r"tech on 2015-03-02: 1 member, not point-in-time: nothing is known",
    ):
        past = universes.members("tech", "2015-03-02")
    assert (list(past), past.is_pit) == (["AAPL"], False)
    with pytest.raises(
        UniverseError,
        match=r"not point-in-time: .* \(the members are point-in-time from 2026-01-05\)",
    ):
        universes.members("tech", date(2015, 3, 2), strict=True)


def test_a_day_to_come_is_not_point_in_time(universes: StoredUniverses) -> None:
    universes.create("tech", static("AAPL"))
    assert universes.members("tech", "2026-01-06").is_pit  # its day has begun in the east
    for more in ({}, {"since": "2026-01-06"}):
        with pytest.warns(SurvivorshipWarning, match="2026-01-07 is in the future"):
            assert list(universes.members("tech", "2026-01-07", **more)) == ["AAPL"]  # type: ignore[arg-type]
    with pytest.raises(UniverseError, match="in the future"):
        universes.members("tech", "2030-01-01", strict=True)


def test_symbols_are_kept_as_their_source_writes_them(
    universes: StoredUniverses, tmp_path: Path
) -> None:
    log = written(
        tmp_path / "log.csv",
        "date,added,removed\n2015-01-02,BF.B,OLD\n2020-01-02,brk-b,\n2021-01-04,,BF-B\n"
        "2022-01-03,BF.B,\n",
    )
    today = written(tmp_path / "today.csv", "symbol\nBRK.B\nBF.B\n")
    universes.import_file("index", log, today)
    assert list(universes.members("index")) == ["BF.B", "BRK-B"]
    assert list(universes.members("index", "2019-01-02")) == ["BF.B"]
    assert list(universes.members("index", "2021-06-01")) == ["BRK-B"]


def test_symbols_that_no_market_has_and_columns_that_are_not_read_are_named(
    universes: StoredUniverses, tmp_path: Path
) -> None:
    file = written(tmp_path / "list.csv", "symbol,sector\nAAPL,a\nXX12Y,b\nBTC,c\nBF.B,d\n")
    made = universes.import_file("index", file)
    assert made.notes == (
        "columns that were not read: sector",
        "no market is known for 2 symbols: XX12Y, BTC",
    )
    assert list(universes.members("index")) == ["AAPL", "BF.B", "BTC", "XX12Y"]
    assert universes.create("own", static("AAPL", "XX12Y")).notes == (
        "no market is known for 1 symbol: XX12Y",
    )


def test_a_new_definition_is_a_difference(
    universes: StoredUniverses, database: Database, clock: ManualClock
) -> None:
    universes.create("tech", static("AAPL", "MSFT"))
    days_later(clock, 30)
    made = universes.create("tech", static("MSFT", "NVDA", description="new"))
    assert (made.opened, made.replaced, made.members) == (2, 1, 2)  # one is the closed interval
    assert list(universes.members("tech")) == ["MSFT", "NVDA"]
    assert list(universes.members("tech", "2026-01-20")) == ["AAPL", "MSFT"]
    assert [row.description for row in universes.universes()] == ["new"]


def test_the_same_universe_again_changes_no_row(
    universes: StoredUniverses, database: Database, clock: ManualClock
) -> None:
    universes.create("tech", static("AAPL", "MSFT"))
    before = rows(database, UniverseMember)
    days_later(clock, 1)
    assert not universes.create("tech", static("MSFT", "AAPL")).is_changed
    assert not universes.refresh("tech").is_changed
    assert rows(database, UniverseMember) == before
    assert universes.universes()[0].checked_at == (MONDAY + timedelta(days=1)).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "name", ["S&P 500", "'; DROP TABLE universes;--", "指数", "../../etc", "%(x)s"]
)
def test_hostile_names_come_back(universes: StoredUniverses, name: str) -> None:
    universes.create(name, static("AAPL"))
    assert list(universes.members(name)) == ["AAPL"]
    assert [one.name for one in universes.universes()] == [name]


def test_a_universe_of_ten_thousand_members_is_stored(universes: StoredUniverses) -> None:
    count = 10_000 if FULL else 2_000
    symbols = [
        f"{chr(65 + n // 1000)}{chr(65 + n // 100 % 10)}{n % 100:02d}.L" for n in range(count)
    ]
    assert universes.create("all", static(*symbols)).members == count
    assert list(universes.members("all")) == sorted(symbols)


def test_an_invalid_universe_is_not_created(universes: StoredUniverses, database: Database) -> None:
    for name, definition, message in [
        ("u", static("AAPL", "A;B"), "entry 2 in the list: the symbol 'A;B' contains ';'"),
        ("", static("AAPL"), "invalid name"),
        (
            "u",
            UniverseDefinition("index", index_name="SP500"),
            "SP500 cannot be read: No such file",
        ),
        (
            "u",
            UniverseDefinition("filter", filters={"min_price": 5}),
            "the database has no active symbols, so there is nothing to filter",
        ),
        ("u", UniverseDefinition("filter", filters={"pe": 5}), "unknown filter 'pe'"),
    ]:
        with pytest.raises(UniverseError, match=message):
            universes.create(name, definition)
    assert rows(database, Universe) == 0
    with pytest.raises(UniverseError, match=r"the universe does not exist: 'u'.*there are none"):
        universes.members("u")
    universes.create("real", static("AAPL"))
    for call in (universes.members, universes.refresh):
        with pytest.raises(
            UniverseError, match=r"does not exist: 'u' \(existing universes: real\)"
        ):
            call("u")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"as_of": "2026/01/05"}, "as_of is not a date: '2026/01/05'"),
        ({"as_of": datetime(2026, 1, 5, 12)}, "is not a date:"),
        ({"as_of": 5}, "is not a date:"),
        ({"since": "x"}, "since is not a date: 'x'"),
        ({"as_of": "2026-01-05", "since": "2026-01-06"}, "since .2026-01-06. is after as_of"),
    ],
)  # fmt: skip
def test_invalid_days_and_times_of_members_are_refused(
    universes: StoredUniverses, arguments: Any, message: str
) -> None:
    universes.create("u", static("AAPL"))
    with pytest.raises(UniverseError, match=message):
        universes.members("u", **arguments)
    assert universes.members("u", as_of=datetime(2026, 1, 5)).is_pit


# --- files about an index --------------------------------------------------------------------


def test_a_walked_log_is_the_replay(universes: StoredUniverses, tmp_path: Path) -> None:
    index = made_index(members=100, years=20, changes_a_year=25 if FULL else 2)
    log, today = (
        written(tmp_path / "log.csv", index.log()),
        written(tmp_path / "today.csv", index.list_()),
    )
    imported = universes.import_file("index", log, today)
    assert (imported.members, imported.notes) == (100, ())
    # Every change and the day before, and with them every day: nothing changes in between.
    turns = {day - timedelta(days=back) for day, _, _ in index.changes for back in (0, 1)}
    compared = 0
    for day, expected in index.replayed():
        if day in turns and day >= index.changes[0][0]:
            members = universes.members("index", day, strict=True)
            assert set(members) == expected, day
            compared += 1
    assert compared > (800 if FULL else 60)
    before = index.changes[0][0] - timedelta(days=1)
    (first,) = [members for day, members in index.replayed() if day == before]
    for day in (before, before - timedelta(days=1_000)):
        with pytest.warns(SurvivorshipWarning, match="not known for certain") as caught:
            assert set(universes.members("index", day)) == first
        assert str(index.changes[0][0]) in str(caught[0].message)
    with pytest.warns(SurvivorshipWarning):
        assert first <= set(universes.members("index", before, since=before))


def test_an_imported_file_is_refreshed_from_its_path(
    universes: StoredUniverses, tmp_path: Path, clock: ManualClock, database: Database
) -> None:
    file = written(
        tmp_path / "index.csv", "symbol,from,to\nAAPL,2015-01-02,\nGONE,2015-01-02,2020-01-02\n"
    )
    assert universes.import_file("index", file).opened == 2
    assert not universes.refresh("index").is_changed
    written(file, "symbol,from,to\nAAPL,2015-01-02,\nGONE,2015-01-02,2019-06-03\nNEW,2026-02-02,\n")
    days_later(clock, 30)
    refreshed = universes.refresh("index")
    assert (refreshed.opened, refreshed.replaced, refreshed.members) == (2, 1, 2)
    members = universes.members("index", "2019-12-02")
    assert (list(members), members.is_pit) == (["AAPL"], True)
    with pytest.warns(
        SurvivorshipWarning, match="nothing is known before 2015-01-02; the members of"
    ):
        assert list(universes.members("index", "2010-01-04")) == ["AAPL", "GONE"]
    file.unlink()
    before = rows(database, UniverseMember)
    with pytest.raises(UniverseError, match="cannot be read: No such file"):
        universes.refresh("index")
    assert rows(database, UniverseMember) == before


def test_a_file_with_a_mistake_imports_no_row(
    universes: StoredUniverses, tmp_path: Path, database: Database
) -> None:
    universes.import_file("index", written(tmp_path / "a.csv", "symbol,from,to\nA,2015-01-02,\n"))
    before = [rows(database, model) for model in (Universe, UniverseMember)]
    for text, line in [
        ("symbol,from,to\nB,2015-01-02,\nA,2014-01-02,02.01.2015\n", 3),
        ("symbol,from,to\nB,2015-01-02,\nB,2016-01-04,\n", 3),
        ("symbol,from,to\nB,2015-01-02,2015-01-01\n", 2),
    ]:
        for name in ("index", "new"):
            with pytest.raises(UniverseError) as caught:
                universes.import_file(name, written(tmp_path / "b.csv", text))
            assert caught.value.line == line
    log = written(tmp_path / "log.csv", "date,added,removed\n2015-01-02,B,\n")
    with pytest.raises(
        UniverseError, match="is a change log, which can only be read together with today's list"
    ):
        universes.import_file("index", log)
    with pytest.raises(UniverseError, match="more than 5%"):
        universes.import_file("index", log, written(tmp_path / "today.csv", "symbol\nA\n"))
    assert [rows(database, model) for model in (Universe, UniverseMember)] == before


def test_a_list_without_dates_goes_on_from_dated_members(
    universes: StoredUniverses, tmp_path: Path, clock: ManualClock
) -> None:
    file = written(tmp_path / "a.csv", "symbol,from,to\nA,2015-01-02,\nB,2015-01-02,\n")
    universes.import_file("index", file)
    days_later(clock, 7)
    written(file, "symbol\nB\nC\n")
    refreshed = universes.refresh("index")
    assert (refreshed.opened, refreshed.replaced, refreshed.members) == (2, 1, 2)
    then, now = (universes.members("index", day, strict=True) for day in ("2026-01-11", None))
    assert (list(then), list(now)) == (["A", "B"], ["B", "C"])
    assert now.known_from == date(2015, 1, 2)


def test_a_symbol_that_joins_and_leaves_a_list_on_one_day_was_no_member(
    universes: StoredUniverses,
) -> None:
    universes.create("tech", static("AAPL"))
    universes.create("tech", static("MSFT"))
    assert list(universes.members("tech", since="2026-01-05")) == ["MSFT"]


def test_an_impossible_entry_of_a_log_leaves_the_past_uncertain(
    universes: StoredUniverses, tmp_path: Path
) -> None:
    lines = "2015-01-02,SA,\n2016-01-04,,GONE\n2018-01-02,SB,GONE\n"
    log = written(tmp_path / "log.csv", f"date,added,removed\n{lines}")
    names = [f"S{chr(65 + n)}" for n in range(26)]
    today = written(tmp_path / "today.csv", "\n".join(["symbol", *names]))
    assert universes.import_file("index", log, today).notes == (
        "line 3: GONE is removed, but is a member after 2016-01-04",
    )
    assert universes.members("index", "2018-01-02", strict=True).is_pit
    with pytest.warns(SurvivorshipWarning, match="before 2018-01-02 are not known for certain"):
        assert "GONE" in universes.members("index", "2017-01-03")
    assert not universes.refresh("index").is_changed


def test_a_universe_stays_a_list_or_an_index(universes: StoredUniverses, tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", "symbol,from,to\nA,2015-01-02,\n")
    universes.create("list", static("A"))
    universes.create("index", UniverseDefinition("index", index_name=str(file)))
    assert universes.members("index", "2016-01-04").is_pit
    with pytest.raises(
        UniverseError, match="'list' is of type static and cannot be changed to type index"
    ):
        universes.import_file("list", file)
    with pytest.raises(UniverseError, match="'index' is of type index"):
        universes.create("index", static("A"))
    assert [row.type for row in universes.universes()] == ["index", "static"]


def test_members_of_any_day_of_a_range(universes: StoredUniverses, tmp_path: Path) -> None:
    text = "symbol,from,to\nA,2015-01-02,2016-01-04\nB,2016-01-04,2017-01-03\nC,2017-01-03,\n"
    universes.import_file("index", written(tmp_path / "a.csv", text))
    assert list(universes.members("index", "2016-06-01", since="2015-06-01")) == ["A", "B"]
    assert list(universes.members("index", "2020-06-01", since="2016-06-01", strict=True)) == [
        "B",
        "C",
    ]
    with pytest.warns(SurvivorshipWarning):
        universes.members("index", "2016-06-01", since="2014-06-01")


# --- filters ---------------------------------------------------------------------------------


@pytest.fixture
def listed(database: Database) -> None:
    technology, energy = "Technology", "Energy"
    known = [
        ("AAPL", 3_000, "USD", technology, True),
        ("XOM", 400, "USD", energy, True),
        ("VOD.L", 9_000, "GBP", technology, True),
        ("GONE", 9_000, "USD", technology, False),
    ]
    with database.writing() as session:
        session.add_all(
            Symbol(symbol=name, market_cap=cap, currency=currency, sector=sector, is_active=active,
                   avg_daily_volume=100, sources={"market_cap": {"currency": currency}},
                   updated_at=MONDAY)
            for name, cap, currency, sector, active in known
        )  # fmt: skip


@pytest.mark.usefixtures("listed")
def test_a_filter_universe_lists_excluded_symbols_with_the_reason(
    universes: StoredUniverses, database: Database, clock: ManualClock
) -> None:
    made = universes.create(
        "large", UniverseDefinition("filter", "", filters={"min_market_cap": 1_000})
    )
    assert list(universes.members("large")) == ["AAPL"]
    assert made.excluded == {
        "XOM": "min_market_cap: its market capitalization of 400 is below 1,000",
        "VOD.L": "min_market_cap: its market capitalization is in GBP and cannot be compared with USD",
    }
    with database.writing() as session:
        session.get_one(Symbol, "XOM").market_cap = 2_000
    days_later(clock, 1)
    refreshed = universes.refresh("large")
    assert (refreshed.opened, list(universes.members("large"))) == (1, ["AAPL", "XOM"])
    assert list(universes.members("large", "2026-01-05", strict=True)) == ["AAPL"]
    # The same universe may become a static one: its list goes on.
    universes.create("large", static("AAPL"))
    assert list(universes.members("large")) == ["AAPL"]


def test_a_bound_on_the_market_capitalization_goes_by_its_own_currency(
    universes: StoredUniverses, database: Database
) -> None:
    rows = [("TSM", "USD", {"currency": "TWD"}), ("VOD.L", "GBP", {"currency": "USD"}),
            ("ODD", "USD", {}), ("AAPL", "USD", {"currency": "USD"})]  # fmt: skip
    with database.writing() as session:
        session.add_all(
            Symbol(symbol=name, market_cap=20_000, currency=currency, is_active=True,
                   sources={"market_cap": {"source": "yahoo", "at": "", **more}}, updated_at=MONDAY)
            for name, currency, more in rows
        )  # fmt: skip
    for name, filters in [("low", {"min_market_cap": 1_000}), ("high", {"max_market_cap": 90_000})]:
        made = universes.create(name, UniverseDefinition("filter", "", filters=filters))
        (bound,) = filters
        text = f"{bound}: its market capitalization is in {{}} and cannot be compared with USD"
        assert list(universes.members(name)) == ["AAPL", "VOD.L"]
        assert made.excluded == {
            "ODD": text.format("an unknown currency"),
            "TSM": text.format("TWD"),
        }


# --- sessions of the caller's own ------------------------------------------------------------


def test_the_universe_manager_works_on_an_async_session(
    database: Database, clock: ManualClock, spelling: Any, tmp_path: Path
) -> None:
    async def use(manager: UniverseManager) -> Members:
        definition = UniverseDefinition(type="static", description="two", symbols=["AAPL", "MSFT"])
        await manager.create_universe("two", definition)
        await manager.refresh("two")
        with pytest.raises(UniverseError):
            await manager.create_universe("two", static("A;B"))
        log = written(tmp_path / "log.csv", "date,added,removed\n2015-01-02,B,\n")
        today = written(tmp_path / "today.csv", "symbol\nA\n")
        with pytest.raises(UniverseError, match="more than 5%"):
            await manager.import_file("new", log, today)
        return await manager.members("two")

    with Session(database.engine) as session:
        members = asyncio.run(use(UniverseManager(session, spelling, clock)))
    assert list(members) == ["AAPL", "MSFT"]
    universes = StoredUniverses(database, spelling, clock)
    assert universes.members("two") == members  # it was committed
    assert [one.name for one in universes.universes()] == ["two"]


def test_over_an_async_session(database: Database, clock: ManualClock, spelling: Any) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    driver = "sqlite+aiosqlite" if database.dialect == "sqlite" else "postgresql+psycopg"

    async def use() -> Members:
        engine = create_async_engine(database.url.url.set(drivername=driver))
        async with AsyncSession(engine) as session:
            manager = UniverseManager(session, spelling, clock)
            await manager.create_universe("two", static("AAPL", "MSFT"))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SurvivorshipWarning)
                past = await manager.members("two", "2015-01-02")
            assert not past.is_pit
            with pytest.raises(UniverseError):
                await manager.members("two", "2015-01-02", strict=True)
        async with AsyncSession(engine) as session:
            members = await UniverseManager(session, spelling, clock).members("two")
        await engine.dispose()
        return members

    assert list(asyncio.run(use())) == ["AAPL", "MSFT"]


def test_the_generated_index_has_a_constant_number_of_members(tmp_path: Path) -> None:
    index: MadeIndex = made_index(members=20, years=2)
    sizes = {len(members) for _, members in index.replayed()}
    assert sizes == {20}


def test_the_name_of_a_column_that_is_not_read_drives_no_terminal(
    universes: StoredUniverses, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        f"symbol,from,to,\u202e\x1b[1m{'x' * 5000}\nA,2015-01-02,,1\n", encoding="utf-8"
    )
    (note,) = universes.import_file("index", file).notes
    assert note.isprintable() and "xxx" in note and len(note) < 200


def test_half_of_a_surrogate_pair_is_an_error_of_the_question(universes: StoredUniverses) -> None:
    """Such a half is what an argument has that is not UTF-8; the drivers do not wrap it."""
    with pytest.raises(QueryError, match="unpaired surrogate"):
        universes.create("u", UniverseDefinition("static", "X\udcffY", symbols=["A"]))
    with pytest.raises(QueryError, match="unpaired surrogate"):
        universes.members("X\udcffY", "2020-01-02")
    assert universes.universes() == []
