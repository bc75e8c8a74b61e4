"""Refreshes of ``symbols_v2`` and ``corporate_actions``: values with sources, in one unit of work."""

from __future__ import annotations

import math
import shutil
import statistics
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from src.data.core.clock import ManualClock
from src.data.core.model.identity.symbol_changes import SymbolChange
from src.data.core.model.market.actions import Action, current
from src.data.core.model.stored.stored import KnownAction
from src.data.core.model.time.instant import day_ms
from src.data.data_manager import DataManager
from src.data.db.core.database import Database
from src.data.db.symbols.gather import SymbolFacts, action_facts, exact, gather, volatility
from src.data.db.symbols.models import CorporateAction, Symbol
from src.data.db.symbols.refresh import RefreshedSymbol, refresh_symbols, write
from src.data.errors import AllProvidersFailedError, DatabaseError, QueryError, StorageError
from tests.conftest import WEDNESDAY
from tests.core.cache.counts import FULL
from tests.vendor_server import VendorServer

from .symbols import NOW, dump, imported, killed_at, manager_on

RENAME = "date,type,symbol,successor,source\n2022-06-09,rename,FB,META,Nasdaq\n"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with half a year of AAPL, its fundamentals, and two series of a coin."""
    folder, clock = tmp_path_factory.mktemp("stored"), ManualClock(WEDNESDAY)
    with VendorServer(clock) as vendors:
        manager = manager_on(folder, clock, vendors)
        manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-06-11")
        manager.get_actions("AAPL")
        manager.get_fundamentals("AAPL")
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-10")
        manager.get_ohlcv("BTCUSDT", "15m", "2024-06-09", "2024-06-10")
    return folder / "cache"


@pytest.fixture
def manager(tmp_path: Path, stored: Path, clock: ManualClock) -> DataManager:
    """Return a manager on that cache; no vendor can be reached."""
    shutil.copytree(stored, tmp_path / "cache")
    return manager_on(tmp_path, clock)


def refreshed(database: Database, manager: DataManager, *symbols: str) -> list[RefreshedSymbol]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is missing is told in the result
        return list(refresh_symbols(database, manager, symbols or None))


def row_of(database: Database, symbol: str) -> Symbol:
    with database.reading() as session:
        row = session.get(Symbol, symbol)
        assert row is not None
        return row


def test_each_value_has_its_source_and_time(database: Database, manager: DataManager) -> None:
    (result,) = refreshed(database, manager, "AAPL")
    assert (result.outcome, result.problems) == ("written", ())
    row = row_of(database, "AAPL")
    assert (row.company_name, row.exchange, row.currency) == ("Apple Inc.", "NasdaqGS", "USD")
    assert (row.first_price_date, row.last_price_date) == (date(2024, 1, 2), date(2024, 6, 11))
    assert list(row.available_timeframes or ()) == ["1d"]
    assert (row.is_active, row.delisting_date) == (True, None)
    assert row.data_quality_score == Decimal("1")
    columns = {c.key for c in Symbol.__mapper__.column_attrs} - {"symbol", "sources", "updated_at"}
    filled = {name for name in columns if getattr(row, name) is not None}
    assert set(row.sources) == filled
    assert all(told["source"] for told in row.sources.values())
    assert row.sources["company_name"]["source"] == "yahoo"
    assert row.sources["company_name"]["at"].startswith("2024-06-12T15:00:3")
    figures = ("avg_daily_volume", "avg_daily_dollar_volume", "volatility_30d")
    windows = {row.sources[name]["window"] for name in figures}
    assert windows == {"30 daily bars, 2024-04-30 to 2024-06-11"}
    assert "Hull" in row.sources["volatility_30d"]["formula"]
    assert row.updated_at.tzinfo is UTC


def test_figures_are_those_of_the_bars(database: Database, manager: DataManager) -> None:
    refreshed(database, manager, "AAPL")
    row, bars = row_of(database, "AAPL"), manager.get_ohlcv("AAPL", "1d", bars=31)
    last = bars.iloc[1:]
    assert row.avg_daily_volume == round(last["volume"].mean())
    assert float(row.avg_daily_dollar_volume or 0) == pytest.approx(
        (last["close"] * last["volume"]).mean(), abs=0.01
    )
    returns = [math.log(b / a) for a, b in zip(bars["close"], bars["close"][1:], strict=False)]
    expected = statistics.stdev(returns) * math.sqrt(252)
    assert row.volatility_30d == Decimal(f"{expected:.6f}")


def test_volatility_needs_thirty_returns_and_sound_closes() -> None:
    closes = [100 * 1.01**i for i in range(31)]
    assert volatility(closes, 252) == pytest.approx(0, abs=1e-12)
    assert volatility(closes[1:], 252) is None
    assert volatility([*closes[:-1], math.nan], 252) is None
    assert volatility([*closes[:-1], 0.0], 252) is None
    swing = [100.0, 110.0] * 16
    step = math.log(1.1)
    assert volatility(swing, 365) == pytest.approx(step * math.sqrt(30 / 29 * 365), rel=1e-12)


def test_coins_and_hours_have_a_row_too(database: Database, manager: DataManager) -> None:
    refreshed(database, manager, "BTCUSDT")
    row = row_of(database, "BTCUSDT")
    assert list(row.available_timeframes or ()) == ["15m", "1h"]
    assert (row.first_price_date, row.last_price_date) == (date(2024, 6, 1), date(2024, 6, 10))
    assert (row.avg_daily_volume, row.volatility_30d) == (None, None)
    assert "avg_daily_volume" not in row.sources


def test_the_score_is_that_of_the_validation_and_a_change_moves_the_time_of_a_row(
    database: Database, manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed(database, manager, "AAPL")
    before = row_of(database, "AAPL").updated_at
    judged = replace(manager.validate("AAPL", "1d"), score=0.87654)
    monkeypatch.setattr(manager, "validate", lambda *_, **__: judged)
    clock.advance(60)
    (result,) = refreshed(database, manager, "AAPL")
    row = row_of(database, "AAPL")
    assert (result.outcome, row.data_quality_score) == ("written", Decimal("0.8765"))
    assert row.updated_at - before == timedelta(seconds=60)


def test_splits_and_dividends_keep_all_digits(database: Database, manager: DataManager) -> None:
    refreshed(database, manager, "AAPL")
    with database.reading() as session:
        rows = session.scalars(
            select(CorporateAction).where(CorporateAction.symbol == "AAPL")
        ).all()
    known = [one for one in manager.client.actions("AAPL") if one.counts]
    assert len(rows) == len(known) > 2
    by_key = {(row.ex_date, row.action_type): row for row in rows}
    split = by_key[date(2014, 6, 9), "split"]
    assert (split.ratio, split.numerator, split.denominator) == (7, 7, 1)
    assert split.source == "yahoo"
    assert split.source_at.tzinfo is UTC
    paid = by_key[date(2020, 8, 7), "dividend"]
    assert (paid.amount, paid.currency) == (Decimal("0.82"), "USD"), "per share of its own day"
    assert paid.description == "dividend of 0.82 (yahoo)"


def known(*actions: Action) -> list[KnownAction]:
    return [KnownAction(action) for action in current(actions)]


def test_the_ratio_of_a_one_for_fifteen_split_is_stored_with_48_digits(database: Database) -> None:
    day = date(2021, 3, 1)
    (facts,) = action_facts(known(Action(day, "split", day_ms(day), 1, 15, source="acme")))
    assert facts.ratio is not None
    assert abs(Fraction(facts.ratio) * 15 - 1) < Fraction(1, 10**48)
    with database.writing() as session:
        values = {**vars(facts), "symbol": "ACME", "created_at": facts.source_at}
        session.add(CorporateAction(**values))
    with database.reading() as session:
        row = session.scalars(select(CorporateAction)).one()
    assert row.ratio == facts.ratio
    assert (row.numerator, row.denominator) == (1, 15)
    assert 1000 / Fraction(row.numerator or 0) * Fraction(row.denominator or 0) == 15000


def test_two_dividends_of_one_day_are_one_row_that_names_both() -> None:
    day = date(2021, 3, 1)
    both = [
        Action(day, "dividend", day_ms(day), amount=x, source="acme", fetched_at=9)
        for x in (0.1, 0.2)
    ]
    (facts,) = action_facts(known(*both))
    assert facts.amount == Decimal("0.3"), "the sum of floats is 0.30000000000000004"
    assert facts.description == "dividend of 0.1 + 0.2 (acme)"


def test_amounts_are_per_share_of_their_own_day() -> None:
    told = day_ms(date(2024, 1, 2))
    split = Action(
        date(2022, 1, 3), "split", day_ms(date(2022, 1, 3)), 3, 1, source="a", fetched_at=told
    )
    paid = Action(date(2021, 1, 4), "dividend", 0, amount=0.1, source="a", fetched_at=told)
    by_type = {one.action_type: one for one in action_facts(known(split, paid))}
    assert by_type["dividend"].amount == Decimal("0.3")
    assert exact(Fraction(1, 3)) == Decimal("0." + "3" * 50)


def test_actions_that_do_not_count_are_not_copied() -> None:
    day = date(2021, 3, 1)
    split = Action(day, "split", day_ms(day), 2, 1, source="acme")
    broken = Action(day, "dividend", day_ms(day), amount=math.inf, source="acme")
    assert action_facts([KnownAction(split, counts=False), KnownAction(broken)]) == ()
    before = Action(date(2020, 1, 2), "dividend", 0, amount=0.1, source="a", fetched_at=day_ms(day))
    for counts, amount in ((False, "0.1"), (True, "0.2")):
        found = action_facts([KnownAction(split, counts=counts), KnownAction(before)])
        assert found[-1].amount == Decimal(amount)


def test_a_refresh_without_changes_writes_no_row(
    database: Database, manager: DataManager, clock: ManualClock, tmp_path: Path
) -> None:
    imported(database, tmp_path, RENAME)
    assert {r.symbol for r in refreshed(database, manager)} == {"AAPL", "BTCUSDT", "FB", "META"}
    before, updated = dump(database), row_of(database, "AAPL").updated_at
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(database.engine, "before_cursor_execute", note)
    clock.advance(60)
    again = refreshed(database, manager)
    assert {r.outcome for r in again} == {"same"}
    assert not [s for s in statements if s.startswith(("INSERT", "UPDATE", "DELETE"))]
    assert dump(database) == before
    assert row_of(database, "AAPL").updated_at == updated


def test_values_gone_from_the_cache_are_removed_and_unavailable_ones_stay(
    database: Database, manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed(database, manager, "AAPL")
    manager.clear_cache("AAPL")
    monkeypatch.setattr(DataManager, "get_fundamentals", lambda *_: {})
    (result,) = refreshed(database, manager, "AAPL")
    assert result.problems == ("no vendor has fundamentals",)
    row = row_of(database, "AAPL")
    assert (row.company_name, row.sources["company_name"]["source"]) == ("Apple Inc.", "yahoo")
    assert (row.last_price_date, row.available_timeframes, row.volatility_30d) == (None, None, None)
    assert "volatility_30d" not in row.sources
    assert result.actions == 0


def test_damaged_actions_stay_as_they_were(
    database: Database, manager: DataManager, tmp_path: Path
) -> None:
    refreshed(database, manager, "AAPL")
    before = dump(database)["corporate_actions"]
    (tmp_path / "cache/ohlcv/AAPL/actions.json").write_bytes(b"{")
    (result,) = refreshed(database, manager, "AAPL")
    assert any("splits and dividends for AAPL are damaged" in text for text in result.problems)
    assert dump(database)["corporate_actions"] == before


def test_a_symbol_refresh_sends_all_requests_before_its_unit_of_work(
    database: Database,
    vendors: VendorServer,
    tmp_path: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager = manager_on(tmp_path, clock, vendors)
    unit = Database.writing
    asked_before: list[int] = []

    def watched(self: Database) -> Any:
        asked_before.append(vendors.count("yahoo"))
        return unit(self)

    monkeypatch.setattr(Database, "writing", watched)
    refreshed(database, manager, "AAPL")
    assert asked_before == [vendors.count("yahoo")]
    assert asked_before[0] > 0


def test_an_unknown_symbol_gets_no_row(database: Database, manager: DataManager) -> None:
    (result,) = refreshed(database, manager, "ZZZZQ")
    assert result.outcome == "unknown"
    assert dump(database)["symbols_v2"] == []
    with pytest.raises(QueryError, match="symbol"):
        refreshed(database, manager, "AAPL", "no such symbol!")
    assert dump(database)["symbols_v2"] == []


def test_renames_are_recorded_for_both_names_and_reported_with_bars(
    database: Database, manager: DataManager, tmp_path: Path
) -> None:
    imported(database, tmp_path, RENAME)
    (result,) = refreshed(database, manager, "FB")
    assert (result.recorded, result.problems) == (("FB", "META"), ())
    assert manager.client.requests() == {}, "a former name is asked of no vendor"
    row = row_of(database, "FB")
    assert (row.is_active, row.sources["is_active"]["source"]) == (False, "Nasdaq")
    assert [c.successor for c in manager.client.symbol_changes("META")] == ["META"]
    with pytest.raises(Exception, match=r"FB was renamed META on 2022-06-09 \(Nasdaq\); use META"):
        manager.get_ohlcv("FB", "1d", "2022-06-13", "2022-06-17")
    imported(database, tmp_path, RENAME.replace("06-09", "06-08"))
    refreshed(database, manager, "META")
    assert [c.ex_date for c in manager.client.symbol_changes("FB")] == [date(2022, 6, 8)]


def test_a_rename_that_a_corrected_file_lacks_is_removed_for_both_names(
    database: Database, manager: DataManager, tmp_path: Path
) -> None:
    imported(database, tmp_path, RENAME + "2024-02-01,rename,AAPL,APLX,wrong\n")
    refreshed(database, manager, "AAPL")
    assert [c.successor for c in manager.client.symbol_changes("APLX")] == ["APLX"]
    imported(database, tmp_path, RENAME)
    (result,) = refreshed(database, manager, "AAPL")
    assert sorted(result.recorded) == ["AAPL", "APLX"]
    assert manager.client.symbol_changes("AAPL") == manager.client.symbol_changes("APLX") == ()
    (result,) = refreshed(database, manager, "AAPL")
    assert result.recorded == ()


def test_a_delisting_is_copied_with_its_date(
    database: Database, manager: DataManager, tmp_path: Path
) -> None:
    imported(
        database, tmp_path, "date,type,symbol,successor,source\n2008-09-18,delisting,LEHQ,,NYSE\n"
    )
    refreshed(database, manager, "LEHQ")
    row = row_of(database, "LEHQ")
    assert (row.is_active, row.delisting_date) == (False, date(2008, 9, 18))
    assert row.sources["delisting_date"] == {"source": "NYSE", "at": "", "boundary": "delisting"}


@pytest.mark.parametrize("end", ["delisting,", "merger,T"])
def test_a_symbol_that_another_company_uses_again_is_active(
    database: Database, manager: DataManager, tmp_path: Path, end: str
) -> None:
    imported(
        database, tmp_path,
        "symbol,instrument,from,to,source,ending,successor\n"
        f"TWX,Time Warner,1990-01-02,2018-06-15,8-K,{end}\nTWX,New Company,2022-03-01,,Nasdaq,,\n",
    )  # fmt: skip
    (result,) = refreshed(database, manager, "TWX")
    assert (result.recorded, result.problems) == (("TWX",), ("no vendor has fundamentals",))
    row = row_of(database, "TWX")
    assert (row.is_active, row.delisting_date) == (True, None)
    errors = {}
    for year in (2015, 2020, 2024):
        with pytest.raises(AllProvidersFailedError) as caught:
            manager.get_ohlcv("TWX", "1d", f"{year}-03-04", f"{year}-03-06")
        errors[year], _, _ = str(caught.value).partition(" All providers failed")
    ended = {"d": "TWX was delisted on 2018-06-15 (8-K)",
             "m": "TWX was merged into T on 2018-06-15 (8-K); use T from then on"}[end[0]]  # fmt: skip
    again = "until 2022-03-01 this instrument was not TWX (Nasdaq); TWX named Time Warner until 2018-06-15."
    assert errors[2015] == errors[2020] == f"{ended}; {again}"
    assert "TWX was" not in errors[2024] and "this instrument" not in errors[2024]
    assert "use T" not in str(caught.value.hint)


def test_a_symbol_that_passes_on_in_one_day_is_active(
    database: Database, manager: DataManager, tmp_path: Path
) -> None:
    text = RENAME + "2022-06-09,rename,META,METV,Roundhill\n"
    imported(database, tmp_path, text)
    refreshed(database, manager, "FB", "META", "METV")
    active = {name: row_of(database, name).is_active for name in ("FB", "META", "METV")}
    assert active == {"FB": False, "META": True, "METV": True}


def test_a_delisting_proved_by_bars_does_not_count_for_a_symbol_that_is_used_again(
    database: Database,
) -> None:
    listing = SymbolChange(date(2022, 3, 1), "listing", "TWX", source="Nasdaq")
    active = {}
    for day in (date(2018, 6, 15), date(2022, 3, 1), date(2022, 3, 2)):
        facts = SymbolFacts("TWX")
        facts.note("delisting_date", day, "yahoo", "")
        facts.note("is_active", False, "yahoo", "")
        with database.writing() as session:
            write(session, facts, [listing], NOW)
        row = row_of(database, "TWX")
        assert (row.delisting_date is None) == ("delisting_date" not in row.sources)
        active[day.isoformat()] = (row.is_active, row.delisting_date)
    assert active == {
        "2018-06-15": (True, None),
        "2022-03-01": (True, None),
        "2022-03-02": (False, date(2022, 3, 2)),
    }


def test_a_cache_on_a_full_disk_is_reported_and_the_row_is_written(
    database: Database, manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(database, tmp_path, RENAME)

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("src.data.core.cache.actions.write_atomically", full)
    (result,) = refreshed(database, manager, "FB")
    assert any(
        "could not be recorded in the cache: the disk is full" in text for text in result.problems
    )
    assert row_of(database, "FB").is_active is False
    monkeypatch.undo()
    (result,) = refreshed(database, manager, "FB")
    assert result.recorded == ("FB", "META")


def test_an_error_inside_a_symbol_refresh_leaves_the_rows_unchanged(
    database: Database, manager: DataManager
) -> None:
    refreshed(database, manager, "AAPL")
    before = dump(database)

    def refuse(_: Any, __: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("INSERT INTO") and "corporate_actions" in statement:
            raise DatabaseError("the disk is full")

    with database.writing() as session:
        session.query(CorporateAction).delete()
        session.query(Symbol).update({"company_name": "Other"})
    changed = dump(database)
    event.listen(database.engine, "before_cursor_execute", refuse)
    with pytest.raises(DatabaseError):
        refreshed(database, manager, "AAPL")
    assert dump(database) == changed
    event.remove(database.engine, "before_cursor_execute", refuse)
    refreshed(database, manager, "AAPL")
    assert dump(database) == before


@pytest.mark.parametrize("work", ["import", "refresh"])
def test_symbol_work_killed_at_any_statement_is_all_or_nothing(
    database: Database, manager: DataManager, tmp_path: Path, clock: ManualClock, work: str
) -> None:
    """Each statement, and each commit, is the last one of a process."""
    imported(database, tmp_path, RENAME)
    refreshed(database, manager, "AAPL")
    if work == "refresh":
        after = dump(database)
        with database.writing() as session:
            for model in (CorporateAction, Symbol):
                session.query(model).delete()

    def done() -> None:
        if work == "refresh":
            refreshed(database, manager_on(tmp_path, clock), "AAPL")
        else:
            imported(database, tmp_path, RENAME + "2022-01-31,rename,META,METV,Roundhill\n")

    before, seen = dump(database), []
    for step in range(1, 99) if FULL else (2, 5, 98):
        was_killed = killed_at(step, database.engine, done)
        seen.append(dump(database))
        if not was_killed:
            break
    if work == "import":
        assert len(seen[-1]["symbol_aliases"]) == len(before["symbol_aliases"]) + 2
        after = seen[-1]
    assert seen[-1] == after
    assert before in seen[:-1]
    assert all(state in (before, after) for state in seen)


def test_asking_for_bars_reads_no_table(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, make_question: Callable[[], object]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a table was read")

    monkeypatch.setattr(Database, "reading", refuse)
    monkeypatch.setattr(Database, "writing", refuse)
    make_question()


@pytest.fixture
def make_question(manager: DataManager) -> Callable[[], object]:
    """Return a question for bars."""
    return lambda: manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-06-11", adjustment="all")


def test_gathering_facts_writes_no_row(manager: DataManager, database: Database) -> None:
    before = dump(database)
    facts = gather(manager, "AAPL", manager.client.series("AAPL *"), ask=True)
    assert facts.values["last_price_date"] == date(2024, 6, 11)
    assert dump(database) == before
