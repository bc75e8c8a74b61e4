"""The portal over the data manager: what had closed by then, for these assets, in this order."""

from __future__ import annotations

import asyncio
import builtins
import gc
import shutil
import weakref
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from src.data.bundles import Lineages, lineage
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, day_ms, from_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from src.data.errors import (
    BadTimeframeError,
    DataPortalError,
    LookaheadError,
    NoDataAvailableError,
    QueryError,
)
from src.data.polars import PandasDataPortal, PolarsDataPortal
from src.data.research.frames.panel import Moment

from .portal_stage import (
    COIN,
    NOW,
    close_of,
    manager_on,
    put,
    sessions,
    stamp_of,
    table,
    value_of,
)

DAYS = sessions("2023-01-01", "2024-06-14")
STAMPS = [stamp_of(day) for day in DAYS]
COIN_DAYS = list(range(parse_iso("2024-01-01T00:00:00"), parse_iso("2024-06-15T00:00:00"), DAY_MS))
MINUTES = list(range(parse_iso("2024-06-10T00:00:00"), parse_iso("2024-06-11T00:00:00"), MINUTE_MS))


@dataclass(frozen=True)
class Equity:
    symbol: str


AAPL, MSFT = Equity("AAPL"), Equity("MSFT")


@pytest.fixture(scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two shares and a coin, to be copied; MSFT begins in 2024 and lacks a day."""
    folder = tmp_path_factory.mktemp("stored")
    manager = manager_on(folder)
    first = STAMPS[0] - 5 * DAY_MS
    put(manager, "AAPL", "1d", table(STAMPS), first=first)
    late = [s for s in STAMPS if s >= parse_iso("2024-01-02T00:00:00")]
    late.remove(stamp_of(date(2024, 3, 5)))
    put(manager, "MSFT", "1d", table(late, 1), first=first)
    put(manager, "BTCUSDT", "1d", table(COIN_DAYS, 2), first=first, kind=COIN)
    put(manager, "BTCUSDT", "1m", table(MINUTES, 2), first=MINUTES[0] - 30 * DAY_MS, kind=COIN)
    return folder


@pytest.fixture
def stored(_folder: Path, tmp_path: Path) -> DataManager:
    """Return a manager on a copy of these bars."""
    shutil.copytree(_folder / "cache", tmp_path / "cache")
    return manager_on(tmp_path)


@pytest.fixture
def portal(stored: DataManager) -> PolarsDataPortal:
    return PolarsDataPortal(data_source=stored)


def price(day: str, place: int = 0) -> Decimal:
    return Decimal(str(value_of(stamp_of(date.fromisoformat(day)), place)))


# --- the printed calls ---------------------------------------------------------------------------


def test_the_printed_calls_run(stored: DataManager) -> None:
    """With the data manager as the source; 2024-01-15 is a holiday."""
    portal = PolarsDataPortal(data_source=stored, use_cache=True)

    async def run() -> tuple[pl.Series, pl.DataFrame]:
        prices = await portal.get_spot_value(
            assets=[AAPL, MSFT], field="close", dt=pd.Timestamp("2024-01-15"), data_frequency="1d"
        )
        history = await portal.get_history_window(
            assets=[AAPL],
            end_dt=pd.Timestamp("2024-01-15"),
            bar_count=20,
            frequency="1d",
            field="close",
            data_frequency="1d",
        )
        return prices, history

    prices, history = asyncio.run(run())
    assert prices.dtype == pl.Decimal(18, 8)
    assert prices.to_list() == [price("2024-01-12"), price("2024-01-12", 1)]
    days = [day for day in DAYS if day < date(2024, 1, 15)][-20:]
    assert history["date"].to_list() == days
    assert history["AAPL"].to_list() == [price(day.isoformat()) for day in days]
    assert history["AAPL"].dtype == pl.Decimal(18, 8)
    assert portal.cache_hit_rate == 100.0


def test_answers_are_polars_and_need_not_be_awaited(portal: PolarsDataPortal) -> None:
    spot = portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
    window = portal.get_history_window(["AAPL"], "2024-01-12", 3, "1d", "close", "daily")
    assert isinstance(spot, pl.Series)
    assert isinstance(window, pl.DataFrame)
    assert (spot * 2).to_list() == [price("2024-01-12") * 2]
    assert window.with_columns(pl.col("AAPL") + 1).height == 3


def test_async_portal_methods_return_the_same_as_the_synchronous_ones(
    portal: PolarsDataPortal,
) -> None:
    async def run() -> tuple[pl.Series, pl.DataFrame]:
        spot = await portal.async_get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
        return spot, await portal.async_get_history_window(
            ["AAPL"], "2024-01-12", 3, "1d", "close", "daily"
        )

    spot, window = asyncio.run(run())
    assert spot.equals(portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily"))
    assert window.equals(
        portal.get_history_window(["AAPL"], "2024-01-12", 3, "1d", "close", "daily")
    )


# --- what may be seen ----------------------------------------------------------------------------


SHOWN = [
    (date(2024, 1, 12), "2024-01-12"),
    ("2024-01-12", "2024-01-12"),
    (pd.Timestamp("2024-01-12"), "2024-01-12"),
    (np.datetime64("2024-01-12"), "2024-01-12"),
    # An instant: New York closes at 21:00 UTC.
    (pd.Timestamp("2024-01-12T21:00Z"), "2024-01-12"),
    (pd.Timestamp("2024-01-12T20:59:59.999999999Z"), "2024-01-11"),
    (datetime(2024, 1, 12, 20, 59), "2024-01-11"),
    (pd.Timestamp("2024-01-12T00:00Z"), "2024-01-11"),
    ("2024-01-12T16:00:00-05:00", "2024-01-12"),
    # A half day, and a weekend.
    (datetime(2023, 11, 24, 18, 0), "2023-11-24"),
    (datetime(2023, 11, 24, 17, 59), "2023-11-22"),
    (date(2024, 1, 14), "2024-01-12"),
]


def test_a_date_shows_its_session_and_an_instant_only_closed_bars(portal: PolarsDataPortal) -> None:
    for dt, seen in SHOWN:
        found = portal.get_spot_value(["AAPL"], "close", dt, "daily").to_list()
        assert found == [price(seen)], dt


def test_a_naive_midnight_is_an_instant_where_the_program_goes_by_minutes(
    portal: PolarsDataPortal,
) -> None:
    end = pd.Timestamp("2024-01-12")
    window = portal.get_history_window(["AAPL"], end, 1, "1d", "close", "minute")
    assert window["date"].to_list() == [date(2024, 1, 11)]


def test_minutes_are_seen_when_they_have_closed(portal: PolarsDataPortal) -> None:
    at = parse_iso("2024-06-10T10:00:00")
    window = portal.get_history_window(
        ["BTCUSDT"], from_ms(at + 30_000), 3, "1m", "close", "minute"
    )
    opens = [at - n * MINUTE_MS for n in (3, 2, 1)]
    assert window["timestamp"].dtype == pl.Datetime("us", "UTC")
    assert [int(t.timestamp() * 1000) for t in window["timestamp"]] == opens
    assert [float(v) for v in window["BTCUSDT"]] == [value_of(s, 2) for s in opens]


def test_no_look_ahead_beyond_the_simulation_time(portal: PolarsDataPortal) -> None:
    portal.set_simulation_time(pd.Timestamp("2024-01-12T20:00Z"))
    with pytest.raises(LookaheadError, match="2024-01-12 is after the simulation time"):
        portal.get_spot_value(["AAPL"], "close", date(2024, 1, 12), "daily")
    with pytest.raises(LookaheadError):
        portal.get_history_window(
            ["AAPL"], datetime(2024, 1, 12, 20, 1), 5, "1d", "close", "minute"
        )
    spot = portal.get_spot_value(["AAPL"], "close", datetime(2024, 1, 12, 20, 0), "daily")
    assert spot.to_list() == [price("2024-01-11")]


def test_look_ahead_into_remembered_bars_is_refused(portal: PolarsDataPortal) -> None:
    portal.get_spot_value(["AAPL"], "close", "2024-02-01", "daily")
    portal.set_simulation_time("2024-01-12")
    with pytest.raises(LookaheadError):
        portal.get_spot_value(["AAPL"], "close", "2024-01-16", "daily")
    assert portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily").len() == 1
    assert portal.current_simulation_time == date(2024, 1, 12)


def test_each_market_of_a_window_has_its_own_close(portal: PolarsDataPortal) -> None:
    """At 21:30 the day of New York has closed, that of the coin has not."""
    evening = datetime(2024, 1, 12, 21, 30)
    window = portal.get_history_window(["BTCUSDT", "AAPL"], evening, 4, "1d", "close", "minute")
    assert window.columns == ["date", "BTCUSDT", "AAPL"]
    assert window["date"].to_list() == [date(2024, 1, n) for n in (9, 10, 11, 12)]
    assert window["AAPL"].to_list() == [price(f"2024-01-{n:02}") for n in (9, 10, 11, 12)]
    assert window["BTCUSDT"].to_list()[-1] is None
    spot = portal.get_spot_value(["AAPL", "BTCUSDT"], "close", evening, "daily")
    assert spot.to_list() == [price("2024-01-12"), price("2024-01-11", 2)]
    portal.set_simulation_time(evening)
    with pytest.raises(LookaheadError, match="24/7"):
        portal.get_spot_value(["AAPL", "BTCUSDT"], "close", date(2024, 1, 12), "daily")


def test_now_is_the_limit_without_a_simulation(portal: PolarsDataPortal) -> None:
    assert portal.get_spot_value(["AAPL"], "close", "2024-06-15", "daily").to_list() == [
        price("2024-06-14")
    ]
    with pytest.raises(LookaheadError, match="is in the future: now is"):
        portal.get_spot_value(["AAPL"], "close", "2024-06-18", "daily")


# --- what stands where ---------------------------------------------------------------------------


def test_values_are_in_the_order_of_the_assets(portal: PolarsDataPortal) -> None:
    one = portal.get_spot_value(["MSFT", "AAPL", "MSFT"], "close", "2024-01-12", "daily")
    assert one.to_list() == [price("2024-01-12", 1), price("2024-01-12"), price("2024-01-12", 1)]
    window = portal.get_history_window([MSFT, "AAPL"], "2024-01-12", 2, "1d", "high", "daily")
    assert window.columns == ["date", "MSFT", "AAPL"]
    assert window.row(-1)[1:] == (price("2024-01-12", 1) + 1, price("2024-01-12") + 1)


def test_an_asset_without_a_bar_is_null(portal: PolarsDataPortal) -> None:
    spot = portal.get_spot_value(["AAPL", "MSFT"], "close", "2024-03-05", "daily")
    assert spot.to_list() == [price("2024-03-05"), None]
    window = portal.get_history_window(["MSFT", "AAPL"], "2024-01-03", 4, "1d", "close", "daily")
    assert window["MSFT"].to_list() == [None, None, price("2024-01-02", 1), price("2024-01-03", 1)]
    assert window["AAPL"].null_count() == 0


def test_a_request_without_any_bar_raises_no_data_available(portal: PolarsDataPortal) -> None:
    text = "no 1d bar with a close for MSFT in the last {} that had closed by 2023-06-01"
    with pytest.raises(NoDataAvailableError, match=text.format("1 row")):
        portal.get_spot_value(["MSFT"], "close", "2023-06-01", "daily")
    with pytest.raises(NoDataAvailableError, match=text.format("5 rows")):
        portal.get_history_window(["MSFT"], "2023-06-01", 5, "1d", "close", "daily")


def test_rows_of_another_market_alone_are_nulls_and_not_an_error(
    portal: PolarsDataPortal,
) -> None:
    """On a weekend, the last row is that of a coin that is not listed yet; the share has closed."""
    assets, day = ["AAPL", "BTCUSDT"], "2023-06-03"
    window = portal.get_history_window(assets, day, 1, "1d", "close", "daily")
    assert window.rows() == [(date(2023, 6, 3), None, None)]
    spot = portal.get_spot_value(assets, "close", day, "daily")
    assert spot.to_list() == [price("2023-06-02"), None]
    with pytest.raises(NoDataAvailableError):
        portal.get_history_window(["BTCUSDT"], day, 1, "1d", "close", "daily")


def test_a_look_back_over_holidays_is_whole(portal: PolarsDataPortal) -> None:
    for count in (1, 2, 7, 60, 250):
        window = portal.get_history_window(["AAPL"], "2024-01-15", count, "1d", "close", "daily")
        assert window.height == count
        assert window["AAPL"].null_count() == 0


def test_a_look_back_from_the_first_rows_in_memory_is_whole(portal: PolarsDataPortal) -> None:
    """At noon the day's bar has not closed: the two rows before it begin a day earlier."""
    portal.get_spot_value(["BTCUSDT"], "close", datetime(2024, 5, 20, 12), "daily")
    noon = datetime(2024, 5, 17, 12)
    window = portal.get_history_window(["BTCUSDT"], noon, 2, "1d", "close", "minute")
    assert window["date"].to_list() == [date(2024, 5, 15), date(2024, 5, 16)]


def test_a_portal_returns_the_last_closed_hours(stored: DataManager) -> None:
    hours = list(range(MINUTES[0], MINUTES[0] + 30 * HOUR_MS, HOUR_MS))
    put(stored, "BTCUSDT", "1h", table(hours, 2), kind=COIN)
    portal = PolarsDataPortal(data_source=stored)
    end = datetime(2024, 6, 10, 12, 59)
    window = portal.get_history_window(["BTCUSDT"], end, 3, "1h", "close", "minute")
    assert [float(v) for v in window["BTCUSDT"]] == [value_of(s, 2) for s in hours[9:12]]


def test_weeks_are_made_of_days_and_see_their_commits(
    stored: DataManager, portal: PolarsDataPortal
) -> None:
    """A week closes with its last session."""
    window = portal.get_history_window(["AAPL"], "2024-01-12", 2, "1w", "close", "daily")
    assert window["date"].to_list() == [date(2024, 1, 1), date(2024, 1, 8)]
    assert window["AAPL"].to_list() == [price("2024-01-05"), price("2024-01-12")]
    window = portal.get_history_window(["AAPL"], "2024-01-11", 1, "1w", "close", "daily")
    assert window["AAPL"].to_list() == [price("2024-01-05")]
    put(stored, "AAPL", "1d", table(STAMPS, 7))
    window = portal.get_history_window(["AAPL"], "2024-01-12", 2, "1w", "close", "daily")
    assert window["AAPL"].to_list() == [price("2024-01-05", 7), price("2024-01-12", 7)]


# --- memory --------------------------------------------------------------------------------------


def test_a_backtest_reads_once(stored: DataManager, monkeypatch: pytest.MonkeyPatch) -> None:
    portal = PolarsDataPortal(data_source=stored)
    calls = 0
    real = type(stored.client).get_rows_by_symbol

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(type(stored.client), "get_rows_by_symbol", counted)
    for day in DAYS[-120:]:
        portal.set_simulation_time(day)
        spot = portal.get_spot_value(["AAPL"], "close", day, "daily")
        assert spot.to_list() == [price(day.isoformat())]
    assert calls == 1


def test_each_lineage_contains_only_the_bars_read_in_its_block(
    stored: DataManager, portal: PolarsDataPortal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is remembered from before, or for another record, is read again; ahead, and once."""
    calls = 0
    real = type(stored.client).get_rows_by_symbol

    def counted(client: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return real(client, *arguments)

    portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
    monkeypatch.setattr(type(stored.client), "get_rows_by_symbol", counted)
    for run in ("one", "two"):
        with lineage(run, folder=tmp_path / "bundles", manager=stored):
            for day in ("2024-01-12", "2024-01-16", "2024-01-17", "2024-01-12"):
                portal.get_spot_value(["AAPL"], "close", day, "daily")
    assert calls == 2
    for run in ("one", "two"):
        (read,) = Lineages(tmp_path / "bundles", stored).get(run).reads
        (span,) = read.spans
        assert stamp_of(date(2024, 1, 17)) < span.end <= stamp_of(date(2024, 1, 18))
        assert read.rows == 3
    portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
    assert calls == 2


def test_no_file_is_opened_after_the_first(
    portal: PolarsDataPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.get_history_window(["AAPL", "MSFT"], "2024-01-12", 20, "1d", "close", "daily")

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a file is opened")

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr("os.open", refuse)
    portal.get_history_window(["AAPL", "MSFT"], "2024-03-12", 20, "1d", "open", "daily")
    portal.get_spot_value(["AAPL", "MSFT"], "volume", "2024-03-12", "daily")


def test_a_commit_is_seen(stored: DataManager, portal: PolarsDataPortal) -> None:
    assert portal.get_spot_value(["AAPL", "MSFT"], "close", "2024-06-14", "daily").len() == 2
    revised = table(STAMPS, 7)
    put(stored, "AAPL", "1d", revised)
    spot = portal.get_spot_value(["AAPL", "MSFT"], "close", "2024-06-14", "daily")
    assert spot.to_list() == [price("2024-06-14", 7), price("2024-06-14", 1)]


def test_a_commit_during_a_reading_is_seen(
    stored: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before it is answered, and not kept."""
    portal = PolarsDataPortal(data_source=stored)
    real = type(stored.client).get_rows_by_symbol

    def late(*args: Any, **kwargs: Any) -> Any:
        frames = real(*args, **kwargs)
        put(stored, "AAPL", "1d", table(STAMPS, 7))
        return frames

    with monkeypatch.context() as patch:
        patch.setattr(type(stored.client), "get_rows_by_symbol", late)
        portal.get_spot_value(["AAPL"], "close", "2024-06-14", "daily")
    spot = portal.get_spot_value(["AAPL"], "close", "2024-06-14", "daily")
    assert spot.to_list() == [price("2024-06-14", 7)]


def test_a_split_that_is_stored_between_two_reads_leaves_one_price_scale(
    stored: DataManager, portal: PolarsDataPortal
) -> None:
    """As by another process, which announces nothing here; other assets are not read again."""
    close = price("2024-01-12")
    for symbol in ("AAPL", "MSFT"):
        portal.get_spot_value([symbol], "close", "2024-01-12", "daily")
    add_split(stored)
    assert portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily").to_list() == [close]
    both = portal.get_spot_value(["AAPL", "BTCUSDT"], "close", "2024-01-12", "daily")
    kept = {panel.names for panel in panels_of(portal)}
    assert (
        portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily")[0] == both[0] == close / 4
    )
    assert kept == {("MSFT",), ("AAPL", "BTCUSDT")}


def add_split(stored: DataManager) -> None:
    """Store a split of AAPL, four for one, after all days that are read."""
    split = Action(date(2024, 6, 3), "split", day_ms(date(2024, 6, 3)), 4.0, 1.0)
    stored.cache.store.add_actions(
        "AAPL", (split,), Span(STAMPS[0] - 5 * DAY_MS, NOW), "yahoo", NOW
    )


def test_a_split_that_is_stored_during_a_read_leaves_one_price_scale(
    stored: DataManager, portal: PolarsDataPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
    real = type(stored.client).get_rows_by_symbol

    def split_first(client: Any, names: list[str], *rest: Any) -> Any:
        if "AAPL" in names:
            add_split(stored)
        return real(client, names, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(type(stored.client), "get_rows_by_symbol", split_first)
        both = portal.get_spot_value(["AAPL", "BTCUSDT"], "close", "2024-01-12", "daily")
    one = portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
    assert one[0] == both[0] == price("2024-01-12") / 4


def panels_of(portal: PolarsDataPortal) -> list[Any]:
    """Return the panels in a portal's memory, the least recently used first."""
    held: list[Any] = []
    portal._panels.drop_where(lambda _, panel: bool(held.append(panel)))
    return held


def test_portal_memory_drops_the_least_used_answers_above_its_limit(
    stored: DataManager,
) -> None:
    """The least used answers go first; one that is too large is not kept."""
    portal = PolarsDataPortal(data_source=stored)
    memory = portal._panels
    portal.get_spot_value(["AAPL"], "close", "2024-03-12", "daily")
    size = memory.size
    memory.most_bytes = int(size * 2.5)
    for symbols in (["MSFT"], ["AAPL"], ["BTCUSDT"], ["AAPL", "MSFT", "BTCUSDT"]):
        portal.get_spot_value(symbols, "close", "2024-03-12", "daily")
    held = panels_of(portal)
    kept = [panel.names for panel in held]
    assert sum(panel.nbytes for panel in held) == memory.size <= size * 2.5
    assert ("AAPL", "MSFT", "BTCUSDT") not in kept
    assert ("MSFT",) not in kept
    assert kept[-1] == ("BTCUSDT",)


def test_a_portal_is_not_kept_by_the_manager(stored: DataManager) -> None:
    portal = PolarsDataPortal(data_source=stored)
    portal.get_spot_value(["AAPL"], "close", "2024-06-14", "daily")
    gone = weakref.ref(portal)
    del portal
    gc.collect()
    assert gone() is None
    put(stored, "AAPL", "1d", table(STAMPS, 7))  # nothing listens, nothing fails


def test_a_portal_without_cache_reads_the_source_each_time(
    stored: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal = PolarsDataPortal(data_source=stored, use_cache=False)
    asked: list[bool] = []

    def refused(_: Any, names: Any, timeframe: Any, bounds: Any, wishes: Any) -> Any:
        asked.append(wishes.refresh)
        raise QueryError("asked")

    monkeypatch.setattr(type(stored.client), "get_rows_by_symbol", refused)
    for _ in range(2):
        with pytest.raises(QueryError, match="asked"):
            portal.get_spot_value(["AAPL"], "close", "2024-06-14", "daily")
    assert asked == [True, True]


# --- arguments -----------------------------------------------------------------------------------


INVALID: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"field": "clsoe"}, QueryError, "did you mean 'close'"),
    ({"field": None}, QueryError, "unknown field"),
    ({"assets": "AAPL"}, QueryError, "a list"),
    ({"assets": []}, QueryError, "a list"),
    ({"assets": [None]}, QueryError, "; use a string or an object with .symbol"),
    ({"assets": [17]}, QueryError, "asset_finder"),
    ({"assets": [""]}, QueryError, "; use a string or an object with .symbol"),
    ({"assets": ["../etc"]}, QueryError, "the symbol '../etc' is malformed"),
    ({"dt": "yesterday?"}, QueryError, "is not a time"),
    ({"dt": None}, QueryError, "is not a time"),
    ({"dt": pd.NaT}, QueryError, "is not a time"),
    ({"dt": 1_700_000_000}, QueryError, "is not a time"),
    ({"dt": date(1804, 1, 1)}, QueryError, "1900"),
    ({"data_frequency": "fortnightly"}, BadTimeframeError, "unknown timeframe"),
    ({"data_frequency": 1}, BadTimeframeError, "unknown timeframe"),
]


def test_invalid_arguments_of_get_spot_value_raise(portal: PolarsDataPortal) -> None:
    arguments = {"assets": ["AAPL"], "field": "close", "dt": "2024-01-12", "data_frequency": "1d"}
    for changes, kind, text in INVALID:
        with pytest.raises(kind, match=text):
            portal.get_spot_value(**(arguments | changes))


@pytest.mark.parametrize("count", [0, -1, 1.0, True, None, "20", 10**9])
def test_invalid_bar_counts_of_a_history_window_raise(portal: PolarsDataPortal, count: Any) -> None:
    with pytest.raises(QueryError):
        portal.get_history_window(["AAPL"], "2024-01-12", count, "1d", "close", "daily")


def test_a_window_has_each_asset_once(portal: PolarsDataPortal) -> None:
    with pytest.raises(
        QueryError, match="two columns of the window would have the same name: AAPL"
    ):
        portal.get_history_window(["AAPL", "AAPL"], "2024-01-12", 2, "1d", "close", "daily")


def test_an_asset_that_fails_is_no_null(
    portal: PolarsDataPortal, stored: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored.provider_selector, "get_provider_with_failover", lambda *_: [])
    with pytest.raises(DataPortalError, match="no bars for NVDA") as caught:
        portal.get_spot_value(["AAPL", "NVDA"], "close", "2024-01-12", "daily")
    assert caught.value.reason != "bad_answer"
    assert caught.value.symbol == "NVDA"


def test_a_number_is_looked_up(stored: DataManager) -> None:
    class Finder:
        def retrieve_asset(self, sid: int) -> Equity:
            return {8554: AAPL}[sid]

    portal = PolarsDataPortal(data_source=stored, asset_finder=Finder())
    assert portal.get_spot_value([8554], "close", "2024-01-12", "1d").to_list() == [
        price("2024-01-12")
    ]
    with pytest.raises(QueryError, match="does not know 9"):
        portal.get_spot_value([9], "close", "2024-01-12", "1d")


def test_a_portal_needs_a_source() -> None:
    with pytest.raises(
        ValueError, match="a portal needs a data_source, or a daily_reader or minute_reader"
    ):
        PolarsDataPortal()


def test_a_cache_or_calendar_beside_a_data_manager_is_refused(stored: DataManager) -> None:
    class Cache:
        def get(self, **_: Any) -> None: ...
        def put(self, **_: Any) -> None: ...

    with pytest.raises(QueryError, match="cache_manager"):
        PolarsDataPortal(data_source=stored, cache_manager=Cache())
    with pytest.raises(QueryError, match="calendar"):
        PolarsDataPortal(data_source=stored, trading_calendar="XNYS")
    with pytest.raises(QueryError, match="has no fetch"):
        PolarsDataPortal(data_source=object())
    with pytest.raises(QueryError, match="is not a time"):
        PolarsDataPortal(data_source=stored, current_simulation_time="soon")


# --- pandas --------------------------------------------------------------------------------------


def test_the_pandas_portal_answers_the_same(stored: DataManager, portal: PolarsDataPortal) -> None:
    other = PandasDataPortal(data_source=stored)
    spot = other.get_spot_value(["AAPL", "MSFT"], "close", "2024-03-05", "daily")
    assert isinstance(spot, pd.Series)
    assert list(spot.index) == ["AAPL", "MSFT"]
    assert spot["AAPL"] == float(price("2024-03-05"))
    assert np.isnan(spot["MSFT"])
    window = other.get_history_window(["MSFT", "AAPL"], "2024-03-06", 9, "1d", "close", "daily")
    mine = portal.get_history_window(["MSFT", "AAPL"], "2024-03-06", 9, "1d", "close", "daily")
    assert [day.date() for day in window.index] == mine["date"].to_list()
    for name in ("MSFT", "AAPL"):
        mirror = mine[name].cast(pl.Float64).to_numpy()
        np.testing.assert_array_equal(window[name].to_numpy(), mirror)
    other.set_simulation_time("2024-03-05")
    with pytest.raises(LookaheadError):
        other.get_spot_value(["AAPL"], "close", "2024-03-06", "daily")

    async def awaited() -> pd.DataFrame:
        return await other.get_history_window(["AAPL"], "2024-03-05", 2, "1d", "close", "daily")

    assert len(asyncio.run(awaited())) == 2
    window.iloc[0, 0] = -1.0  # the caller's own
    assert other.get_history_window(["MSFT"], "2024-03-05", 8, "1d", "close", "1d").min().min() > 0


@pytest.mark.parametrize(("value", "kind"), [("", "Polars"), ("1", "Polars"), ("0", "Pandas")])
def test_a_variable_chooses_the_portal(
    value: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.data import polars as home

    monkeypatch.setenv("RUSTYBT_USE_POLARS", value)
    assert home.DataPortal.__name__ == f"{kind}DataPortal"
    monkeypatch.setenv("RUSTYBT_USE_POLARS", "yes")
    with pytest.raises(ValueError, match="must be 0 or 1"):
        home.DataPortal  # noqa: B018 - the look-up is what fails


def test_a_moment_is_an_instant_and_has_a_day_only_for_daily_dates() -> None:
    at = pd.Timestamp("2024-01-12", tz="America/New_York")
    assert Moment.of(at, is_daily=True) == Moment(parse_iso("2024-01-12T05:00:00"))
    assert Moment.of(datetime(2024, 1, 12, tzinfo=UTC), is_daily=True).day is None
    assert Moment.of(datetime(2024, 1, 12) + timedelta(microseconds=1), is_daily=True).day is None
    assert NOW - close_of(date(2024, 6, 14)) == 16 * HOUR_MS
