"""Portals over a program's own source and over readers: what they give is checked, and guarded alike."""

from __future__ import annotations

import asyncio
import gc
import threading
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, from_ms, parse_iso
from src.data.errors import (
    ConfigError,
    DataPortalError,
    LookaheadError,
    NoDataAvailableError,
    QueryError,
    UnavailableError,
)
from src.data.polars import PolarsDataPortal
from src.data.research.portal import portal_sources as bar_sources
from src.data.research.portal.polars_portal import PortalFrame

from .portal_stage import Fake, long_frame, sessions, stamp_of, value_of

DAYS = sessions("2023-06-01", "2024-02-01")
STAMPS = [stamp_of(day) for day in DAYS]
BOTH = long_frame({"AAPL": STAMPS, "MSFT": STAMPS})
NEXT = "2024-01-15"


def spot(source: Any, dt: Any = "2024-01-12", **options: Any) -> list[Any]:
    portal = PolarsDataPortal(data_source=source, **options)
    return portal.get_spot_value(["AAPL", "MSFT"], "close", dt, "daily").to_list()


def values(day: date) -> list[Decimal]:
    return [Decimal(str(value_of(stamp_of(day), place))) for place in (0, 1)]


def test_a_source_of_four_methods_is_enough() -> None:
    source = Fake(BOTH)
    portal = PolarsDataPortal(data_source=source)
    window = portal.get_history_window(["MSFT", "AAPL"], NEXT, 20, "1d", "close", "1d")
    assert window["date"].to_list() == [day for day in DAYS if day < date(2024, 1, 15)][-20:]
    assert list(window.row(-1)[1:]) == values(date(2024, 1, 12))[::-1]
    (symbols, start, end, frequency), *_ = source.asked
    assert (symbols, frequency) == (["MSFT", "AAPL"], "1d")
    assert isinstance(start, pd.Timestamp)
    assert start < pd.Timestamp("2023-12-01") < pd.Timestamp(NEXT) < end


@pytest.mark.parametrize("name", ["daily", "1d", "D"])
def test_frequencies_are_given_as_timeframes(name: str) -> None:
    source = Fake(BOTH)
    PolarsDataPortal(data_source=source).get_spot_value(["AAPL"], "close", "2024-01-12", name)
    assert {frequency for *_, frequency in source.asked} == {"1d"}


def test_with_a_calendar_rows_are_its_sessions() -> None:
    """A session that the source lacks is a row of nulls."""
    lacking = BOTH.filter(pl.col("timestamp") != datetime(2024, 1, 10))
    for calendar in ("XNYS", "NYSE"):
        portal = PolarsDataPortal(data_source=Fake(lacking), trading_calendar=calendar)
        window = portal.get_history_window(["AAPL"], "2024-01-12", 4, "1d", "close", "daily")
        assert window["date"].to_list() == [date(2024, 1, n) for n in (9, 10, 11, 12)]
        assert window["AAPL"].null_count() == 1
    at_noon = datetime(2024, 1, 12, 17)
    assert portal.get_spot_value(["AAPL"], "close", at_noon, "daily").to_list() == [
        values(date(2024, 1, 11))[0]
    ]


def test_without_a_calendar_a_day_closes_with_its_utc_day() -> None:
    assert spot(Fake(BOTH), datetime(2024, 1, 12, 23, 59)) == values(date(2024, 1, 11))
    assert spot(Fake(BOTH), datetime(2024, 1, 13)) == values(date(2024, 1, 12))
    with pytest.raises(ConfigError, match="unknown calendar"):
        PolarsDataPortal(data_source=Fake(BOTH), calendar="XNOWHERE")
    with pytest.raises(QueryError, match="has no calendar name"):
        PolarsDataPortal(data_source=Fake(BOTH), calendar=17)


def test_a_bar_that_a_source_gets_late_is_shown_after_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until then its value is null, because another asset has one."""
    clock = ManualClock(parse_iso("2024-01-12T21:00:05"))
    monkeypatch.setattr(bar_sources, "SystemClock", lambda: clock)
    late = pl.col("symbol") == "AAPL", pl.col("timestamp") == datetime(2024, 1, 12)
    source = Fake(BOTH.filter(~(late[0] & late[1])))
    portal = PolarsDataPortal(data_source=source, calendar="XNYS")

    def closes() -> list[Any]:
        now = from_ms(clock.now_ms())
        return portal.get_spot_value(["AAPL", "MSFT"], "close", now, "daily").to_list()

    apple, microsoft = values(date(2024, 1, 12))
    assert closes() == [None, microsoft]
    source.frame = BOTH
    clock.advance(59)
    assert closes() == [None, microsoft] and len(source.asked) == 1
    clock.advance(1)
    assert closes() == [apple, microsoft]
    clock.advance(3600)
    assert closes() == [apple, microsoft] and len(source.asked) == 2


def test_a_backtest_does_not_query_again_a_source_whose_bars_end_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock(parse_iso("2024-01-30T22:00"))
    monkeypatch.setattr(bar_sources, "SystemClock", lambda: clock)
    source = Fake(BOTH.filter(pl.col("timestamp") < datetime(2024, 1, 20)))
    portal = PolarsDataPortal(data_source=source, calendar="XNYS")
    for day in DAYS[100:140]:
        portal.get_spot_value(["AAPL", "MSFT"], "close", day, "daily")
        clock.advance(120)
    assert len(source.asked) == 1


@pytest.mark.parametrize(
    ("label", "days", "calendar", "closed", "closes"),
    [
        ("1w", (7, 14, 21, 28), "XNYS", datetime(2024, 1, 26, 21), 21),
        ("1w", (3, 10, 17, 24), "XNYS", datetime(2024, 1, 23, 21), 17),
        ("3d", (4, 7, 10, 13), "XNYS", datetime(2024, 1, 12, 21), 10),
        ("1w", (7, 14, 21, 28), None, datetime(2024, 1, 28), 21),
    ],
)
def test_weeks_that_begin_on_another_day_close_with_their_own_last_session(
    label: str, days: tuple[int, ...], calendar: str | None, closed: datetime, closes: int
) -> None:
    stamps = [stamp_of(date(2024, 1, day)) for day in days]
    source = Fake(long_frame({"AAPL": stamps}))
    for after, at in ((0, closed), (1, closed - timedelta(seconds=1))):
        portal = PolarsDataPortal(data_source=source, calendar=calendar)
        window = portal.get_history_window(["AAPL"], at, 2, label, "close", "minute")
        last = days.index(closes) - after
        assert window["date"].to_list() == [
            date(2024, 1, d) for d in days[max(0, last - 1) : last + 1]
        ]
        spots = portal.get_spot_value(["AAPL"], "close", at, label)
        assert spots.to_list() == [Decimal(str(value_of(stamps[last])))]


def test_months_that_begin_on_the_15th_are_visible_when_they_end() -> None:
    """A portal that moves forward sees each of them, from then on."""
    starts = [date(2024, month, 15) for month in (1, 2, 3)]
    source = Fake(long_frame({"AAPL": map(stamp_of, starts)}))
    for calendar, ends in (
        ("XNYS", (datetime(2024, 2, 14, 21), datetime(2024, 3, 14, 20), datetime(2024, 4, 12, 20))),
        (None, (datetime(2024, 2, 15), datetime(2024, 3, 15), datetime(2024, 4, 15))),
    ):
        portal = PolarsDataPortal(data_source=source, calendar=calendar)
        with pytest.raises(NoDataAvailableError):
            portal.get_spot_value(["AAPL"], "close", ends[0] - timedelta(seconds=1), "1M")
        for start, end in zip(starts, ends, strict=True):
            found = portal.get_spot_value(["AAPL"], "close", end, "1M").to_list()
            assert found == [Decimal(str(value_of(stamp_of(start))))]


def test_look_ahead_into_surplus_bars_of_a_source_is_refused() -> None:
    source = Fake(BOTH)
    portal = PolarsDataPortal(data_source=source, current_simulation_time="2024-01-12")
    with pytest.raises(LookaheadError):
        portal.get_spot_value(["AAPL"], "close", "2024-01-16", "daily")
    assert not source.asked
    window = portal.get_history_window(["AAPL"], "2024-01-12", 500, "1d", "close", "daily")
    assert window["date"].max() == date(2024, 1, 12)
    assert window.height == len([day for day in DAYS if day <= date(2024, 1, 12)])


def test_rows_of_a_source_may_be_in_any_order_and_form() -> None:
    shuffled = BOTH.sample(fraction=1.0, shuffle=True, seed=5)
    twice = pl.concat([BOTH, BOTH.head(50)])
    others = pl.concat([BOTH, long_frame({"NVDA": STAMPS})])
    exact = BOTH.with_columns(pl.col("close").cast(pl.Decimal(18, 8)))
    zoned = BOTH.with_columns(pl.col("timestamp").dt.replace_time_zone("America/New_York"))
    dates = BOTH.with_columns(date=pl.col("timestamp").dt.date()).drop("timestamp")
    wide = BOTH.with_columns(pl.lit("x").alias("note"))
    for frame in (BOTH.lazy(), shuffled, twice, others, exact, zoned, dates, wide):
        assert spot(Fake(frame)) == values(date(2024, 1, 12))


def row(**changes: Any) -> pl.DataFrame:
    return BOTH.with_columns(**{name: pl.lit(value) for name, value in changes.items()})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (Fake(None), "returned NoneType, not a Polars frame"),
        (Fake(BOTH.to_dict()), "returned dict"),
        (Fake(pl.DataFrame({"a": [1]})), "without open, high, low, close, timestamp, symbol"),
        (Fake(BOTH.drop("close")), "without close"),
        (Fake(BOTH.drop("symbol")), "without symbol"),
        (Fake(row(close="12.5")), "close is String"),
        (Fake(row(timestamp="2024-01-12")), "timestamp is String"),
        (Fake(BOTH.with_columns(pl.lit(None).cast(pl.Datetime("us")).alias("timestamp"))), "null"),
        (Fake(row(high=float("inf"))), "an infinite value in the bar for AAPL"),
        (Fake(pl.concat([BOTH, row(close=1.0)])), "different bars for AAPL at 20"),
        (Fake(BOTH.lazy().select("nothing")), "cannot be read"),
        (Fake(error=ValueError("no such key")), "ValueError: no such key"),
        (Fake(error=KeyError()), "KeyError"),
        (Fake(error=asyncio.CancelledError()), "CancelledError"),
        (Fake(error=SystemExit(3)), "SystemExit"),
        (Fake(error=KeyboardInterrupt()), "KeyboardInterrupt"),
        (Fake(error=TimeoutError("slow")), "TimeoutError: slow"),
    ],
)
def test_a_source_that_fails_is_one_error(source: Fake, text: str) -> None:
    with pytest.raises(DataPortalError, match=text) as caught:
        spot(source)
    assert "Fake returned" in str(caught.value)
    source.frame, source.error = BOTH, None
    assert spot(source) == values(date(2024, 1, 12))


def test_an_error_of_a_source_or_a_reader_shows_neither_keys_nor_queries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FMP_API_KEY", "k3y-canary-of-the-test")
    text = "GET https://own.example/bars?token=hidden-canary with k3y-canary-of-the-test"

    class Telling:
        """A reader that raises an error."""

        def __init__(self, error: Exception) -> None:
            self.error = error

        def load_raw_arrays(self, *_: Any) -> Any:
            raise self.error

    errors = (OSError(text), QueryError(text.partition(" with ")[2]))
    with pytest.warns(DeprecationWarning, match="readers are deprecated"):
        portals = [PolarsDataPortal(daily_reader=Telling(error)) for error in errors]
    portals += [PolarsDataPortal(data_source=Fake(error=OSError(text)))]
    for portal, asset in zip(portals, (24, 24, "AAPL"), strict=True):
        with pytest.raises((DataPortalError, QueryError)) as caught:
            portal.get_spot_value([asset], "close", "2024-01-12", "daily")
        assert "canary" not in str(caught.value)


def test_the_reason_of_an_error_of_ours_is_kept() -> None:
    with pytest.raises(DataPortalError) as caught:
        spot(Fake(error=UnavailableError("down")))
    assert caught.value.reason == "outage"
    assert isinstance(caught.value.__cause__, UnavailableError)


@pytest.mark.parametrize("frame", [pl.DataFrame(), BOTH.clear(), long_frame({"NVDA": STAMPS})])
def test_a_source_without_bars_raises_no_data_available(frame: pl.DataFrame) -> None:
    with pytest.raises(NoDataAvailableError):
        spot(Fake(frame))


def test_a_price_that_fits_no_decimal_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        spot(Fake(row(close=1e12)))
    portal = PolarsDataPortal(data_source=Fake(row(volume=3e10)))
    volume = portal.get_spot_value(["AAPL"], "volume", "2024-01-12", "daily")
    assert (volume.dtype, volume[0]) == (pl.Decimal(38, 8), Decimal(30_000_000_000))


class Hanging(Fake):
    """Waits until it is let go."""

    def __init__(self) -> None:
        super().__init__(BOTH)
        self.go, self.begun = threading.Event(), threading.Event()

    async def fetch(self, *args: Any) -> Any:
        self.begun.set()
        while not self.go.is_set():
            await asyncio.sleep(0.001)
        return await super().fetch(*args)


def test_a_source_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar_sources, "PATIENCE_S", 0.02)
    source = Hanging()
    with pytest.raises(DataPortalError, match=": no response within") as caught:
        spot(source)
    assert caught.value.reason == "timeout"


def test_an_awaited_portal_never_blocks_its_loop() -> None:
    """The source blocks its thread; the loop goes on, and other calls are answered."""
    go = threading.Event()

    class Blocking(Fake):
        async def fetch(self, *args: Any) -> Any:
            go.wait(20)
            return await super().fetch(*args)

    slow = PolarsDataPortal(data_source=Blocking(BOTH))
    quick = PolarsDataPortal(data_source=Fake(BOTH))

    async def run() -> tuple[Any, Any]:
        first = asyncio.ensure_future(
            slow.async_get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
        )
        await asyncio.sleep(0)
        second = await quick.async_get_history_window(
            ["AAPL"], "2024-01-12", 2, "1d", "close", "daily"
        )
        assert not first.done()
        go.set()
        return await first, second

    first, second = asyncio.run(run())
    assert first[0] == second["AAPL"][-1]


def test_a_cancelled_portal_call_ends_at_once_and_the_next_one_works() -> None:
    source = Hanging()
    portal = PolarsDataPortal(data_source=source)

    async def run() -> None:
        call = asyncio.ensure_future(
            portal.async_get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
        )
        await asyncio.get_running_loop().run_in_executor(None, source.begun.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(run())
    source.go.set()
    assert portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily").len() == 1
    assert len(source.asked) == 1


def test_callers_of_one_question_ask_once() -> None:
    source = Hanging()
    portal = PolarsDataPortal(data_source=source)

    async def run() -> list[Any]:
        calls = [
            asyncio.ensure_future(
                portal.async_get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
            )
            for _ in range(5)
        ]
        await asyncio.get_running_loop().run_in_executor(None, source.begun.wait, 10)
        source.go.set()
        return await asyncio.gather(*calls)

    assert len(asyncio.run(run())) == 5
    assert len(source.asked) == 1
    assert portal.cache_hit_rate == 80.0


def test_a_source_may_be_called_in_a_running_loop() -> None:
    portal = PolarsDataPortal(data_source=Fake(BOTH))

    async def run() -> PortalFrame:
        return await portal.get_history_window(["AAPL"], NEXT, 3, "1d", "open", "daily")

    assert asyncio.run(run()).height == 3


def test_the_cache_hit_rate_of_a_portal_counts_hits() -> None:
    source = Fake(BOTH)
    portal = PolarsDataPortal(data_source=source)
    assert portal.cache_hit_rate == 0.0
    for day in DAYS[20:120]:
        portal.get_spot_value(["AAPL", "MSFT"], "close", day, "daily")
    assert portal.cache_hit_rate == 100 - len(source.asked)
    assert portal.cache_hit_rate >= 80.0
    fresh = PolarsDataPortal(data_source=source, use_cache=False)
    for _ in range(3):
        fresh.get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
    assert fresh.cache_hit_rate == 0.0


def test_minutes_of_a_source() -> None:
    first = parse_iso("2024-01-12T14:30:00")
    frame = long_frame({"AAPL": range(first, first + 390 * MINUTE_MS, MINUTE_MS)})
    portal = PolarsDataPortal(data_source=Fake(frame), trading_calendar="XNYS")
    evening = portal.get_spot_value(["AAPL"], "close", date(2024, 1, 12), "minute")
    assert float(evening[0]) == value_of(first + 389 * MINUTE_MS)
    window = portal.get_history_window(
        ["AAPL"], datetime(2024, 1, 12, 14, 40), 4, "1m", "close", "minute"
    )
    assert [t.minute for t in window["timestamp"]] == [36, 37, 38, 39]


def test_a_date_shows_no_bar_that_closed_after_its_session() -> None:
    """The simulation knows the session of a date; a bar beside the calendar closes after it."""
    first = parse_iso("2024-01-12T20:50:00")
    frame = long_frame({"AAPL": range(first, first + 60 * MINUTE_MS, MINUTE_MS)})
    portal = PolarsDataPortal(data_source=Fake(frame), calendar="XNYS")
    evening = datetime(2024, 1, 12, 21, 30)
    free = portal.get_history_window(["AAPL"], evening, 1, "1m", "close", "minute")
    assert free["timestamp"][0].hour == 21
    portal.set_simulation_time(date(2024, 1, 12))
    window = portal.get_history_window(["AAPL"], evening, 1, "1m", "close", "minute")
    assert (window["timestamp"][0].hour, window["timestamp"][0].minute) == (20, 59)
    with pytest.raises(LookaheadError):
        portal.get_spot_value(["AAPL"], "close", datetime(2024, 1, 13, 0, 1), "minute")


def test_a_validator_decides_whether_a_portal_accepts_a_frame() -> None:
    @dataclass
    class Verdict:
        valid: bool

    class Validator:
        def __init__(self, verdict: Any) -> None:
            self.verdict = verdict
            self.seen: list[int] = []

        def validate(self, frame: pl.DataFrame) -> Any:
            self.seen.append(frame.height)
            if isinstance(self.verdict, Exception):
                raise self.verdict
            return self.verdict

    good = Validator(Verdict(True))
    assert spot(Fake(BOTH), validator=good) == values(date(2024, 1, 12))
    assert good.seen == [BOTH.height]
    for bad in (Verdict(False), False, ValueError("high < low")):
        with pytest.raises(DataPortalError, match="the validator rejected"):
            spot(Fake(BOTH), validator=Validator(bad))


class Memory:
    """A cache manager: an object with get and put."""

    def __init__(self) -> None:
        self.kept: dict[Any, pl.LazyFrame] = {}

    def get(
        self, symbols: Any, start_date: Any, end_date: Any, resolution: str, source: str
    ) -> Any:
        return self.kept.get((tuple(symbols), start_date, end_date, resolution, source))

    def put(
        self, symbols: Any, start_date: Any, end_date: Any, resolution: str, source: str, data: Any
    ) -> None:
        self.kept[tuple(symbols), start_date, end_date, resolution, source] = data


def test_a_portal_reads_its_cache_manager_before_the_source() -> None:
    memory, source = Memory(), Fake(BOTH)
    for _ in range(2):
        portal = PolarsDataPortal(data_source=source, cache_manager=memory)
        portal.get_history_window(["AAPL"], "2024-01-12", 5, "1d", "close", "daily")
    assert len(source.asked) == 1
    assert portal.cache_hit_rate == 100.0
    with pytest.raises(QueryError, match="cache_manager has no methods get and put:"):
        PolarsDataPortal(data_source=source, cache_manager=object())


def test_a_frame_that_cannot_be_bars_is_not_cached() -> None:
    memory = Memory()
    with pytest.raises(DataPortalError):
        spot(Fake(row(close="x")), cache_manager=memory)
    assert not memory.kept


# --- readers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asset:
    sid: int
    symbol: str


AAPL, MSFT = Asset(24, "AAPL"), Asset(5061, "MSFT")


class Reader:
    """Reads as a bundle's reader does."""

    def __init__(self) -> None:
        sids = pl.col("symbol").replace_strict({"AAPL": 24, "MSFT": 5061}, return_dtype=pl.Int64)
        self.frame = BOTH.with_columns(sid=sids, date=pl.col("timestamp").dt.date()).drop(
            "timestamp", "symbol"
        )
        self.asked: list[Any] = []

    def load_raw_arrays(self, sids: Any, fields: Any, start: Any, end: Any) -> pl.LazyFrame:
        self.asked.append((sids, fields, start, end))
        wanted = pl.col("sid").is_in(sids), pl.col("date").is_between(start, end)
        return self.frame.lazy().filter(*wanted).select("date", "sid", *fields)


class Finder:
    def lookup_symbol(self, symbol: str, as_of_date: Any = None) -> Asset:
        return {"AAPL": AAPL, "MSFT": MSFT}[symbol]


def test_the_older_constructor_with_six_collaborators() -> None:
    reader = Reader()
    with pytest.warns(
        DeprecationWarning,
        match=r"readers are deprecated; use data_source=get_data_manager\(\) instead",
    ):
        portal = PolarsDataPortal(
            asset_finder=Finder(),
            trading_calendar="XNYS",
            daily_bar_reader=reader,
            minute_bar_reader=None,
            cache_manager=None,
            data_catalog=None,
        )
    prices = portal.get_spot_value(
        assets=[MSFT, AAPL], field="close", dt=pd.Timestamp("2024-01-15"), data_frequency="daily"
    )
    assert prices.to_list() == values(date(2024, 1, 12))[::-1]
    assert prices.dtype == pl.Decimal(18, 8)
    history = portal.get_history_window(
        assets=["AAPL"], end_dt=pd.Timestamp("2024-01-15"), bar_count=20, frequency="1d",
        field="close", data_frequency="daily",
    )  # fmt: skip
    assert history.height == 20
    assert history["AAPL"].null_count() == 0
    with pytest.raises(QueryError, match="no reader for 1m bars"):
        portal.get_spot_value([AAPL], "close", datetime(2024, 1, 12), "minute")
    with pytest.raises(QueryError, match="does not know 'NVDA'"):
        portal.get_spot_value(["NVDA"], "close", "2024-01-12", "daily")
    portal.set_simulation_time("2024-01-12")
    with pytest.raises(LookaheadError):
        portal.get_spot_value([AAPL], "close", "2024-01-16", "daily")


def test_readers_by_number_and_by_their_other_method() -> None:
    class Other:
        def load_daily_bars(self, sids: Any, start: Any, end: Any, fields: Any = None) -> Any:
            return Reader().load_raw_arrays(sids, fields, start, end).collect()

    with pytest.warns(
        DeprecationWarning,
        match=r"readers are deprecated; use data_source=get_data_manager\(\) instead",
    ):
        portal = PolarsDataPortal(daily_reader=Other())
    assert (
        portal.get_spot_value([5061, np.int64(24)], "close", "2024-01-12", "daily").to_list()
        == (values(date(2024, 1, 12))[::-1])
    )
    with pytest.raises(QueryError, match="has no number"):
        portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily")


def test_the_readers_of_a_bundle(tmp_path: Path) -> None:
    daily = pytest.importorskip("src.data.polars.parquet_daily_bars")
    minute = pytest.importorskip("src.data.polars.parquet_minute_bars")
    writer = pytest.importorskip("src.data.polars.parquet_writer").ParquetWriter(
        tmp_path / "bundle"
    )
    first = parse_iso("2024-01-12T14:30:00")
    minutes = long_frame({"AAPL": range(first, first + 390 * MINUTE_MS, MINUTE_MS)})
    writer.write_daily_bars(Reader().frame.drop("symbol", strict=False))
    writer.write_minute_bars(minutes.with_columns(sid=pl.lit(24)).drop("symbol"))
    with pytest.warns(
        DeprecationWarning,
        match=r"readers are deprecated; use data_source=get_data_manager\(\) instead",
    ):
        portal = PolarsDataPortal(
            daily_reader=daily.PolarsParquetDailyReader(tmp_path / "bundle"),
            minute_reader=minute.PolarsParquetMinuteReader(tmp_path / "bundle"),
            calendar="XNYS",
        )
    prices = portal.get_spot_value([MSFT, AAPL], "close", "2024-01-15", "daily")
    assert prices.to_list() == values(date(2024, 1, 12))[::-1]
    end = datetime(2024, 1, 12, 14, 40)
    window = portal.get_history_window([AAPL], end, 4, "1m", "close", "minute")
    assert [t.minute for t in window["timestamp"]] == [36, 37, 38, 39]
    with pytest.raises(NoDataAvailableError):
        portal.get_spot_value([9], "close", "2024-01-12", "daily")


def test_the_reader_of_a_bundle_serves_the_timeframe_of_its_bars(tmp_path: Path) -> None:
    """Quarter hours are never taken for minutes, and weeks never for days: their ends lie ahead."""
    writer = pytest.importorskip("src.data.polars.parquet_writer").ParquetWriter(tmp_path / "b")
    daily = pytest.importorskip("src.data.polars.parquet_daily_bars")
    minute = pytest.importorskip("src.data.polars.parquet_minute_bars")
    first = parse_iso("2024-01-12T14:30:00")
    quarters = range(first, first + 390 * MINUTE_MS, 15 * MINUTE_MS)
    weeks = [stamp_of(date(2024, 1, day)) for day in (1, 8)]
    for label, stamps in (("15m", quarters), ("1w", weeks)):
        bars = long_frame({"AAPL": stamps}).rename({} if label == "15m" else {"timestamp": "date"})
        writer.write(bars.with_columns(sid=pl.lit(24)).drop("symbol"), label)
    with pytest.warns(DeprecationWarning, match="readers are deprecated"):
        portal = PolarsDataPortal(
            daily_reader=daily.PolarsParquetDailyReader(tmp_path / "b"),
            minute_reader=minute.PolarsParquetMinuteReader(tmp_path / "b"),
            calendar="XNYS",
        )
    at = datetime(2024, 1, 12, 15, 31)
    for label in ("1m", "1h", "1d"):
        with pytest.raises(QueryError, match=rf"no reader for {label} bars .*readers: 1w, 15m"):
            portal.get_spot_value([AAPL], "close", at, label)
    quarter = portal.get_history_window([AAPL], at, 1, "15m", "close", "minute")
    last = first + 45 * MINUTE_MS
    assert [s.replace(tzinfo=None) for s in quarter["timestamp"]] == [datetime(2024, 1, 12, 15, 15)]
    assert quarter["AAPL"].to_list() == [Decimal(str(value_of(last)))]
    on_thursday = portal.get_history_window([AAPL], "2024-01-11", 1, "1w", "close", "daily")
    assert on_thursday.rows() == [(date(2024, 1, 1), Decimal(str(value_of(weeks[0]))))]


@pytest.mark.parametrize("with_days", [False, True])
def test_longer_bars_are_built_from_the_minutes_of_a_reader(
    tmp_path: Path, *, with_days: bool
) -> None:
    minute = pytest.importorskip("src.data.polars.parquet_minute_bars")
    writer = pytest.importorskip("src.data.polars.parquet_writer").ParquetWriter(tmp_path / "b")
    opens = [parse_iso(f"2024-01-{day}T14:30:00") for day in (11, 12, 16)]  # not on the 15th
    stamps = [at + n * MINUTE_MS for at in opens for n in range(390)]
    del stamps[400]  # a minute without trades
    minutes = long_frame({"AAPL": stamps}).with_columns(sid=pl.lit(24)).drop("symbol")
    writer.write_minute_bars(minutes)
    days = {"daily_reader": Reader()} if with_days else {}
    with pytest.warns(DeprecationWarning, match="readers are deprecated"):
        portal = PolarsDataPortal(
            minute_reader=minute.PolarsParquetMinuteReader(tmp_path / "b"), calendar="XNYS", **days
        )

    def window(end: datetime, count: int, timeframe: str, field: str) -> list[tuple[Any, float]]:
        frame = portal.get_history_window([AAPL], end, count, timeframe, field, "minute")
        return [(at, float(value)) for at, value in frame.rows()]

    def of(field: str, begin: int, count: int) -> float:
        rows = minutes.filter(
            pl.col("timestamp").dt.epoch("ms").is_between(begin, begin + (count - 1) * MINUTE_MS)
        )
        one = rows.sort("timestamp")[field]
        found = {
            "open": one[0],
            "high": one.max(),
            "low": one.min(),
            "close": one[-1],
            "volume": one.sum(),
        }
        return float(found[field])

    now = datetime(2024, 1, 16, 15, 42)  # 72 minutes after the open
    for field in ("open", "high", "low", "close", "volume"):
        fives = window(now, 2, "5m", field)
        assert [at.minute for at, _ in fives] == [30, 35]  # the one of 15:40 has not closed
        assert fives[1][1] == pytest.approx(of(field, opens[2] + 65 * MINUTE_MS, 5))
        hours = window(now, 2, "1h", field)
        assert [(at.day, at.hour) for at, _ in hours] == [(12, 20), (16, 14)]
        assert [v for _, v in hours] == pytest.approx(
            [of(field, opens[1] + 360 * MINUTE_MS, 30), of(field, opens[2], 60)]
        )
        if not with_days:
            daily = window(now, 2, "1d", field)
            assert [at for at, _ in daily] == [date(2024, 1, 11), date(2024, 1, 12)]
            assert daily[1][1] == pytest.approx(of(field, opens[1], 390))
            closed = window(datetime(2024, 1, 16, 21, 0), 1, "1d", field)
            assert closed == [(date(2024, 1, 16), pytest.approx(of(field, opens[2], 390)))]


def test_readers_that_fail_and_readers_given_twice() -> None:
    class Broken:
        def load_raw_arrays(self, *_: Any) -> Any:
            raise FileNotFoundError("daily_bars")

    with pytest.warns(
        DeprecationWarning,
        match=r"readers are deprecated; use data_source=get_data_manager\(\) instead",
    ):
        portal = PolarsDataPortal(daily_reader=Broken())
    with pytest.raises(DataPortalError, match="daily_bars"):
        portal.get_spot_value([24], "close", "2024-01-12", "daily")
    for twice in ({"data_source": Fake(BOTH)}, {"daily_bar_reader": Reader()}):
        with pytest.raises(QueryError, match="give only one"):
            PolarsDataPortal(daily_reader=Reader(), **twice)


def test_a_portal_requests_no_bars_in_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars that close after now are no bars yet, whatever a source gives."""
    now = parse_iso("2024-01-11T12:00:00")
    monkeypatch.setattr(bar_sources.SystemClock, "now_ms", lambda _: now)
    source = Fake(BOTH)
    assert spot(source, date(2024, 1, 11)) == values(date(2024, 1, 10))
    assert all(end.value // 1_000_000 <= now + DAY_MS for *_, end, _ in source.asked)
    with pytest.raises(LookaheadError, match="is in the future: now is"):
        spot(source, date(2024, 1, 16))


# --- threads -------------------------------------------------------------------------------------


def test_the_loop_of_a_source_ends_with_its_portal() -> None:
    before = set(threading.enumerate())
    portal = PolarsDataPortal(data_source=Fake(BOTH))
    portal.get_spot_value(["AAPL"], "close", "2024-01-12", "daily")
    (own,) = [t for t in threading.enumerate() if t not in before and "source" in t.name]
    del portal
    gc.collect()
    own.join(10)
    assert not own.is_alive()


def test_threads_share_a_portal() -> None:
    portal = PolarsDataPortal(data_source=Fake(BOTH))
    days, wrong = DAYS[30:130], []

    def walk(place: int) -> None:
        symbol = ("AAPL", "MSFT")[place % 2]
        for day in days:
            one = portal.get_spot_value([symbol], "close", day, "daily").to_list()
            if one != [values(day)[place % 2]]:
                wrong.append((symbol, day, one))

    threads = [threading.Thread(target=walk, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert portal.cache_hit_rate > 95
