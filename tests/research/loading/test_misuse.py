"""What a program may hand to the second data layer by mistake, and what may happen to it meanwhile."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import LiveBar
from src.data.core.model.time.instant import from_ms, parse_iso, to_ms
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.model.words.caller import warn_user
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    BadSymbolError,
    DataError,
    DataProviderError,
    QueryError,
    RateLimitedError,
    UnknownProviderError,
)
from src.data.research.calls import in_thread
from src.data.research.frames.lazy import LazyDataFrame
from src.data.research.frames.prices import checked_prices, prices_frame
from src.data.research.loading.data_cache import DataCache
from src.data.research.loading.failover import MultiProviderDataManager
from src.data.research.loading.live import LiveDataPipeline
from src.data.research.loading.loader import SmartDataLoader
from src.data.research.loading.providers import (
    FMPProvider,
    VendorProvider,
    YFinanceProvider,
    provider_for,
)
from src.data.research.loading.v1 import V1CompatibilityAdapter
from tests.research.loading.test_failover import Own, bars, fetch, manager_of
from tests.research.loading.test_pipeline import Time, Venue, read, run, turns

WEEK = date(2024, 6, 3), date(2024, 6, 7)
NOW_MS = parse_iso("2024-06-12T15:00:00Z")


class Panic(BaseException):
    """As a compiled library raises it."""


def checked(frame: Any, timeframe: str = "1d", bounds: Any = WEEK) -> pl.DataFrame:
    """Return the checked frame of a program's provider for the symbol X."""
    return checked_prices(frame, "X", Timeframe.parse(timeframe), bounds, "own", NOW_MS)


def stamped(stamps: Any, name: str = "timestamp") -> pl.DataFrame:
    """Return bars with these stamps."""
    times = stamps if isinstance(stamps, pl.Series) else pl.Series(stamps)
    prices = {one: [1.0] * len(times) for one in ("open", "high", "low", "close")}
    return pl.DataFrame({name: times, **prices})


def local(zone: str, *stamps: datetime) -> pl.Series:
    """Return aware stamps of a zone."""
    return pl.Series(list(stamps)).dt.replace_time_zone(zone)


# --- frames of a program's provider ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (bars().with_columns(adj_close=pl.lit("x")), "adj_close as String"),
        (bars().with_columns(adj_close=pl.lit([1.0])), "adj_close as List"),
        (bars().with_columns(adj_close=pl.lit(float("inf"))), "infinite adj_close"),
        (stamped(pl.Series([5 * 10**15]).cast(pl.Datetime("ms"))), "outside the years 1 to 9999"),
        (stamped(pl.Series([-(2**31) + 1], dtype=pl.Int32).cast(pl.Date), "date"), "the years 1"),
        (stamped([datetime(2024, 6, 3, hour) for hour in (14, 15)]), "several rows for the 1d bar"),
    ],
)
def test_frames_that_no_conversion_survives_are_errors_of_their_provider(
    frame: pl.DataFrame, reason: str, clock: ManualClock
) -> None:
    manager = manager_of(clock, odd=Own(frame), good=Own(bars(2.0)))
    assert fetch(manager)[1] == "good"
    assert reason in manager.provider_health["odd"]["last_error"]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_aware_midnights_of_an_exchange_are_the_dates_there(zone: str) -> None:
    frame = checked(stamped(local(zone, datetime(2024, 6, 3), datetime(2024, 6, 7))))
    assert frame["date"].to_list() == [date(2024, 6, 3), date(2024, 6, 7)]


@pytest.mark.parametrize(
    ("timeframe", "first", "bounds"),
    [
        ("1d", date(2024, 6, 3), (datetime(2024, 6, 3, 12), datetime(2024, 6, 4, 12))),
        ("1d", date(2024, 6, 3), (datetime(2024, 6, 3, tzinfo=ZoneInfo("America/New_York")), WEEK[1])),
        ("1w", date(2024, 6, 3), (date(2024, 6, 5), date(2024, 6, 11))),
        ("1M", date(2024, 5, 1), (date(2024, 5, 15), date(2024, 6, 11))),
    ],
)  # fmt: skip
def test_the_bar_in_which_a_range_begins_is_part_of_it(
    timeframe: str, first: date, bounds: Any
) -> None:
    assert checked(stamped([first], "date"), timeframe, bounds)["date"].to_list() == [first]
    with pytest.raises(DataError, match="1 row outside"):
        checked(stamped([first - timedelta(days=32)], "date"), timeframe, bounds)


def test_a_date_as_end_has_its_last_hour_and_a_time_as_end_does_not() -> None:
    frame = stamped([datetime(2024, 6, 7, 23)])
    assert len(checked(frame, "1h")) == 1
    with pytest.raises(DataError, match="1 row outside"):
        checked(frame, "1h", (WEEK[0], datetime(2024, 6, 7, 22)))


def test_whole_volumes_are_exact_above_what_a_float_holds() -> None:
    frame = checked(bars().with_columns(volume=pl.lit(2**53 + 1)))
    assert frame["volume"].to_list() == [2**53 + 1] * 2
    huge = checked(bars().with_columns(volume=pl.lit(2**63 + 5, pl.UInt64)))
    assert huge.schema["volume"] == pl.Float64
    nothing = pl.lit(float("nan"))
    missing = checked(bars().with_columns(volume=nothing, adj_close=nothing))
    assert missing["volume"].null_count() == missing["adj_close"].null_count() == 2


def test_a_market_without_volume_has_null_volume() -> None:
    index = pd.DatetimeIndex(["2024-06-03"], name="timestamp")
    prices = pd.DataFrame({one: [1.0] for one in ("open", "high", "low", "close")}, index=index)
    frame = prices_frame(prices, Timeframe.parse("1d"), is_share=False)
    assert frame["volume"].to_list() == [None] and frame["adj_close"].to_list() == [1.0]


@pytest.mark.parametrize(
    ("columns", "is_share", "volume", "adj_close"),
    [
        ({"volume": [7.0, 8.0]}, False, [7, 8], [1.0, 2.0]),
        ({"volume": [7.0, 8.5]}, True, [7.0, 8.5], [None, None]),
        ({"volume": [7.5, 8.0]}, False, [7.5, 8.0], [1.0, 2.0]),
        ({"volume": [7.0, float("nan")]}, False, [7.0, None], [1.0, 2.0]),
        ({"volume": [2.0**53, 1.0]}, False, [2.0**53, 1.0], [1.0, 2.0]),
        ({"adj_close": [3.0, float("nan")]}, True, [None, None], [3.0, None]),
    ],
)
def test_frames_of_the_manager_have_whole_volumes_and_null_for_what_is_unknown(
    columns: Any, is_share: bool, volume: list[Any], adj_close: list[Any]
) -> None:
    times = pd.DatetimeIndex(["2024-06-03", "2024-06-04"], name="timestamp")
    prices = {name: [1.0, 2.0] for name in ("open", "high", "low", "close")}
    for index in (times, times.as_unit("s")):
        frame = pd.DataFrame({**prices, **columns}, index=index)
        shaped = prices_frame(frame, Timeframe.parse("1d"), is_share=is_share)
        assert shaped["date"].to_list() == [date(2024, 6, 3), date(2024, 6, 4)]
        assert shaped["close"].to_list() == [1.0, 2.0]
        assert shaped["volume"].to_list() == volume
        assert shaped["adj_close"].to_list() == adj_close
        is_whole = all(isinstance(value, int) for value in volume)
        assert shaped.schema["volume"] == (pl.Int64 if is_whole else pl.Float64)


def test_a_range_that_no_time_can_hold_is_a_wrong_question(clock: ManualClock) -> None:
    east = datetime.min.replace(tzinfo=ZoneInfo("Asia/Tokyo"))
    with pytest.raises(QueryError, match="not a range of times"):
        fetch(manager_of(clock, own=Own(bars())), "AAPL", "1d", east, WEEK[1])


# --- failover -------------------------------------------------------------------------------------


def test_a_trial_that_is_cancelled_leaves_the_provider_to_the_next_call(clock: ManualClock) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    bad = Own(OSError("1"), never(), bars(9.0))
    manager = manager_of(clock, bad=bad, good=Own(bars(1.0)))
    fetch(manager)
    clock.advance(30)

    async def cancelled() -> None:
        task = asyncio.ensure_future(manager.fetch_with_fallback("AAPL", "1d", *WEEK))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert fetch(manager)[1] == "bad"


@pytest.mark.parametrize("raised", [asyncio.CancelledError("inner"), Panic("compiled")])
def test_what_is_no_exception_is_a_failure_of_its_provider_alone(
    raised: BaseException, clock: ManualClock
) -> None:
    manager = manager_of(clock, odd=Own(raised), good=Own(bars(2.0)))
    assert fetch(manager)[1] == "good"
    assert type(raised).__name__ in manager.provider_health["odd"]["last_error"]


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_is_no_failure(raised: BaseException, clock: ManualClock) -> None:
    with pytest.raises(type(raised)):
        fetch(manager_of(clock, own=Own(raised), good=Own(bars())))


def test_a_timeout_of_the_providers_own_is_told_as_such(clock: ManualClock) -> None:
    manager = manager_of(clock, odd=Own(TimeoutError("the socket")), good=Own(bars()))
    fetch(manager)
    assert manager.provider_health["odd"]["last_error"] == "odd: TimeoutError: the socket"


@pytest.mark.parametrize(
    ("raised", "calls"),
    [
        (RateLimitedError("too many"), 1),
        (AllProvidersFailedError("down", attempts=[]), 1),
        (BadSymbolError("not ours"), 2),
    ],
)
def test_a_provider_that_fails_with_our_errors_is_skipped_unless_the_question_was_wrong(
    raised: DataError, calls: int, clock: ManualClock
) -> None:
    bad = Own(raised)
    manager = manager_of(clock, bad=bad, good=Own(bars()))
    assert [fetch(manager)[1] for _ in range(2)] == ["good", "good"]
    assert bad.calls == calls and manager.provider_health["bad"]["status"] == "error"


def test_what_a_program_does_to_provider_health_changes_no_answer(clock: ManualClock) -> None:
    manager = manager_of(clock, bad=Own(OSError("down")), good=Own(bars()))
    fetch(manager)
    manager.provider_health.clear()
    assert fetch(manager)[1] == "good"
    manager.provider_health["bad"] = None  # type: ignore[assignment]
    assert fetch(manager)[1] == "good"
    alone = manager_of(clock, bad=Own(OSError("down")))
    for reason in ("OSError: down", "skipped for another 30 s after: bad: OSError: down"):
        with pytest.raises(DataProviderError, match=reason):
            fetch(alone)
        alone.provider_health.clear()


# --- the loader -----------------------------------------------------------------------------------


class Fixed:
    """A program's cache with one frame for the symbol BAD, and bars for any other."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, list[Any]()

    async def get_prices(self, symbol: str, timeframe: str, start: date, end: date) -> Any:
        self.asked.append((timeframe, start))
        if symbol != "BAD":
            return bars()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def load(cache: Any, *symbols: Any, timeframes: Any = ("1d",)) -> dict[Any, Any]:
    """Return what a loader loads."""
    return asyncio.run(SmartDataLoader(cache).load_strategy_data(symbols, timeframes, *WEEK))


@pytest.mark.parametrize(
    "answer",
    [
        bars().with_columns(close=pl.lit("x")),
        bars().with_columns(close=pl.lit(None)),
        bars().with_columns(close=pl.lit(float("nan"))),
        bars().with_columns(close=pl.lit("1.5").cast(pl.Decimal(18, 8))),
        bars().with_columns(date=pl.lit("x")),
        bars().with_columns(date=pl.lit(date(9000, 1, 1))),
        bars().drop("date"),
        bars().lazy(),
        pd.DataFrame({"close": [1.0]}),
        asyncio.CancelledError(),
        Panic(),
    ],
    ids=range(11),
)
def test_no_frame_of_one_series_costs_the_others(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load(Fixed(answer), "BAD", "GOOD")
    assert len(loaded["GOOD"]["1d"]) == 2
    is_frame = isinstance(answer, pl.DataFrame)
    assert loaded["BAD"]["1d"].equals(answer) if is_frame else not len(loaded["BAD"]["1d"])
    assert is_frame or [one for one in caplog.messages if one.startswith("Failed to load BAD 1d")]


def test_text_in_the_place_of_prices_is_told(caplog: pytest.LogCaptureFixture) -> None:
    load(Fixed(bars().with_columns(close=pl.lit("x"))), "BAD")
    assert "BAD 1d: close has the type String, not a number" in caplog.text


def test_the_look_back_does_not_depend_on_the_spelling_of_the_timeframe() -> None:
    cache = Fixed(None)
    load(cache, "A", timeframes=["daily", "D", "60m"])
    days = {timeframe: (WEEK[0] - start).days for timeframe, start in cache.asked}
    assert days == {"daily": 200, "D": 200, "60m": 30}


@pytest.mark.parametrize("timeframes", [None, [["1d"]], 5])
def test_what_is_no_list_of_timeframes_is_refused(timeframes: Any) -> None:
    with pytest.raises(QueryError, match="timeframe"):
        load(Fixed(None), "A", timeframes=timeframes)


def test_a_cache_of_a_program_that_extends_ours_is_asked(manager: DataManager) -> None:
    class Extended(DataCache):
        """Adds a step of its own."""

        async def get_prices(self, *_: Any) -> pl.DataFrame:
            return bars(7.0)

    assert load(Extended(manager=manager), "AAPL")["AAPL"]["1d"]["close"].to_list() == [7.0, 7.0]


def test_the_quality_log_of_many_series_does_not_hold_up_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body() -> int:
        loader, going = SmartDataLoader(Fixed(None)), asyncio.Event()
        loop, ticked = asyncio.get_running_loop(), threading.Event()

        def slow(*_: object) -> None:
            loop.call_soon_threadsafe(going.set)
            ticked.wait(30)

        monkeypatch.setattr(loader, "_validate_data_quality", slow)
        task = asyncio.ensure_future(loader.load_strategy_data(["A"], ["1d"], *WEEK))
        await going.wait()
        is_under_way = not task.done()
        ticked.set()
        await task
        return is_under_way

    assert asyncio.run(body())


def test_a_cache_shows_itself_without_opening_a_manager() -> None:
    assert repr(DataCache()) == "<DataCache>"


# --- providers ------------------------------------------------------------------------------------


def test_an_alias_of_a_vendor_is_its_declared_provider(manager: DataManager) -> None:
    fmp = provider_for("FMP", "some-key", manager=manager)
    assert (type(fmp), fmp.per_minute) == (FMPProvider, 300)
    assert type(provider_for("yfinance", manager=manager)) is YFinanceProvider


@pytest.mark.parametrize("vendor", [None, 5, ["yahoo"], ""])
def test_a_value_that_names_no_vendor_is_refused_as_provider(
    vendor: Any, manager: DataManager
) -> None:
    with pytest.raises(UnknownProviderError, match="unknown vendor"):
        provider_for(vendor, manager=manager)


def test_a_timeout_that_is_no_number_is_refused(manager: DataManager) -> None:
    with pytest.raises(QueryError, match="timeout must be a number of seconds, not '5'"):
        YFinanceProvider(manager=manager, timeout="5")  # type: ignore[arg-type]


# --- frames that load later, and older strategies -------------------------------------------------


def test_a_loader_without_a_frame_is_an_error_and_names_are_looked_up_in_the_columns() -> None:
    with pytest.raises(QueryError, match="loader of AAPL returned no frame"):
        len(LazyDataFrame(lambda: None, "AAPL"))
    frame = LazyDataFrame(bars, "x")
    assert "close" in frame and "nonsense" not in frame


def test_old_strategies_get_dates_from_a_column_of_datetimes() -> None:
    adapter = V1CompatibilityAdapter(None)
    old = adapter.convert_to_v1_format(stamped([datetime(2024, 6, 3)], "date"))
    assert old["date"].tolist() == [date(2024, 6, 3)] and type(old["date"][0]) is date
    for wrong in (None, old):
        with pytest.raises(QueryError, match="expected a Polars frame"):
            adapter.convert_to_v1_format(wrong)


# --- live bars ------------------------------------------------------------------------------------


@pytest.fixture
def noon() -> ManualClock:
    """Return a clock one second after noon on a Wednesday."""
    return ManualClock(parse_iso("2024-07-10T12:00:01Z"))


class Answering(Venue):
    """A program's provider that returns or raises what a function says."""

    def __init__(self, clock: ManualClock, answer: Callable[[date, date], Any]) -> None:
        super().__init__(clock)
        self.answer = answer

    async def fetch_prices(self, symbol: str, timeframe: str, start: date, end: date) -> Any:
        answer = self.answer(start, end)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def streamed(
    providers: list[Any], clock: ManualClock, until: str, timeframe: str = "1h", asked: str = ""
) -> list[Any]:
    """Return the bars that a queue gets until a time."""

    async def body() -> list[Any]:
        pause = Time(clock, until).pause
        pipeline = LiveDataPipeline(providers, clock=clock, pause=pause)
        queue = await pipeline.subscribe("X", asked or timeframe)
        await pipeline.start_streaming(["X"], timeframe)
        await turns(600)
        await pipeline.stop()
        return read(queue)

    found: list[Any] = run(body)
    return found


def test_another_spelling_of_the_timeframe_is_the_same_series(noon: ManualClock) -> None:
    found = streamed([Venue(noon)], noon, "2024-07-10T14:30", "1h", "60m")
    assert [bar.timestamp.hour for bar in found] == [12, 13]


@pytest.mark.parametrize(
    "wrong",
    [
        asyncio.CancelledError(),
        Panic(),
        bars().with_columns(adj_close=pl.lit("x")),
    ],
    ids=range(3),
)
def test_no_answer_of_a_provider_ends_its_series(
    wrong: Any, noon: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    odd = Answering(noon, lambda *_: wrong)
    found = streamed([odd, Venue(noon)], noon, "2024-07-10T15:30")
    assert [bar.timestamp.hour for bar in found] == [12, 13, 14]
    assert len([one for one in caplog.messages if "failed for X 1h" in one]) == 1


def test_weeks_are_asked_for_when_they_close_with_the_bar_that_began_before(
    noon: ManualClock,
) -> None:
    def mondays(start: date, end: date) -> pl.DataFrame:
        days = [date(2024, 7, 1) + n * timedelta(days=7) for n in range(9)]
        at.append(from_ms(noon.now_ms()))
        return stamped(
            pl.Series([day for day in days if start <= day <= end], dtype=pl.Date), "date"
        )

    at: list[datetime] = []
    found = streamed([Answering(noon, mondays)], noon, "2024-07-24", "1w")
    assert [bar.timestamp for bar in found] == [datetime(2024, 7, 8), datetime(2024, 7, 15)]
    assert at[0] == datetime(2024, 7, 15, 0, 0, 1)


def test_bars_that_close_at_half_past_are_asked_for_then(noon: ManualClock) -> None:
    def half(_: date, end: date) -> pl.DataFrame:
        at.append(from_ms(noon.now_ms()).strftime("%H:%M:%S"))
        first = datetime(end.year, end.month, end.day, 9, 30)
        stamps = [first + timedelta(hours=n) for n in range(9)]
        return stamped([one for one in stamps if one <= from_ms(noon.now_ms())])

    at: list[str] = []
    found = streamed([Answering(noon, half)], noon, "2024-07-10T15:00")
    assert [bar.timestamp.hour for bar in found] == [11, 12, 13]
    assert at == ["13:00:01", "13:30:01", "14:30:01"]


def test_a_clock_that_is_set_back_neither_repeats_bars_nor_is_a_wrong_question(
    noon: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    venue = Venue(noon)

    def back(start: date, end: date) -> Any:
        assert start <= end
        hours = [datetime(2024, 7, 9) + n * timedelta(hours=1) for n in range(72)]
        now = from_ms(noon.now_ms())
        rows = stamped([one for one in hours if start <= one.date() and one <= now])
        if not venue.calls:
            venue.calls["X"] = 1
            noon.set(to_ms(datetime(2024, 7, 9, 21)))
        return rows

    async def body() -> list[Any]:
        pause = Time(noon, "2024-07-10T14:30").pause
        pipeline = LiveDataPipeline([Answering(noon, back)], clock=noon, pause=pause)
        queue = await pipeline.subscribe("X", "1h")
        await pipeline.start_streaming(["X"], "1h")
        await turns(1500)
        await pipeline.stop()
        return read(queue)

    assert [bar.timestamp.hour for bar in run(body)] == [12, 13]
    assert not [one for one in caplog.messages if "failed" in one]


class Feed:
    """A feed that gives some bars, and then ends or fails."""

    def __init__(self, hours: list[int], error: Exception | None) -> None:
        self.hours, self.error, self.stopped = hours, error, 0

    async def __aiter__(self) -> AsyncIterator[LiveBar]:
        for hour in self.hours:
            await asyncio.sleep(0)
            yield LiveBar(to_ms(datetime(2024, 7, 10, hour)), 1.0, 1.0, 1.0, 1.0, 1.0)
        if self.error:
            raise self.error

    def stop(self) -> None:
        self.stopped += 1


class Feeding(VendorProvider):
    """A vendor whose feeds are given."""

    vendor = "yahoo"

    def __init__(self, manager: DataManager, *feeds: Feed) -> None:
        super().__init__(manager=manager)
        self.feeds = list(feeds)

    async def live_feed(self, *_: Any) -> Any:
        if not self.feeds:
            await asyncio.Event().wait()
        return self.feeds.pop(0)


def test_a_feed_that_begins_again_repeats_no_bar_and_its_end_is_told(
    manager: DataManager, noon: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    feeds = Feed([9, 10], None), Feed([9, 10, 11], ValueError("odd")), Feed([10, 11, 12], None)

    async def body() -> list[Any]:
        async def pause(seconds: float) -> None:
            assert seconds == 60.0
            await asyncio.sleep(0)

        pipeline = LiveDataPipeline([Feeding(manager, *feeds)], clock=noon, pause=pause)
        queue = await pipeline.subscribe("X", "1h")
        await pipeline.start_streaming(["X"], "1h")
        found = [await asyncio.wait_for(queue.get(), 30) for _ in range(4)]
        while len(told()) < 3:
            await asyncio.sleep(0)
        await pipeline.stop()
        return found + read(queue)

    def told() -> list[str]:
        return [one.rsplit(": ", 1)[1] for one in caplog.messages if "failed for X 1h" in one]

    assert [bar.timestamp.hour for bar in run(body)] == [9, 10, 11, 12]
    assert told() == ["the feed has ended", "odd", "the feed has ended"]
    assert [feed.stopped for feed in feeds] == [1, 1, 1]


def test_after_a_feed_a_polled_provider_goes_on_where_it_ended(
    manager: DataManager, noon: ManualClock
) -> None:
    feed = Feed([10, 11, 12], ValueError("gone"))  # its last bar is ahead of the clock's hour
    found = streamed([Feeding(manager, feed), Venue(noon)], noon, "2024-07-10T14:30")
    assert [bar.timestamp.hour for bar in found] == [10, 11, 12, 13]


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_pipeline_whose_event_loop_has_ended_can_be_used_again(
    is_closed: bool, noon: ManualClock
) -> None:
    pipeline = LiveDataPipeline([Venue(noon)], clock=noon, pause=Time(noon, "2024-07-10").pause)

    async def begun() -> None:
        await pipeline.start_streaming(["X"], "1h")
        await asyncio.sleep(0)

    if is_closed:
        asyncio.run(begun())
    else:  # it is closed with tasks under way
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begun())
        loop.close()

    async def again() -> int:
        await pipeline.stop()
        await pipeline.start_streaming(["X"], "1h")
        count = len(asyncio.all_tasks()) - 1
        await pipeline.stop()
        return count

    assert run(again) == 1
    gc.collect()


def test_a_series_whose_task_was_cancelled_from_outside_can_be_started_again(
    noon: ManualClock,
) -> None:
    async def body() -> None:
        pipeline = LiveDataPipeline([Venue(noon)], clock=noon, pause=Time(noon, "2024-07-10").pause)
        for _ in range(2):
            await pipeline.start_streaming(["X"], "1h")
            (task,) = asyncio.all_tasks() - {asyncio.current_task()}
            task.cancel()
            await asyncio.wait({task})
        await pipeline.stop()

    run(body)


def test_symbols_that_are_no_text_and_a_look_back_that_is_no_number_are_refused(
    noon: ManualClock,
) -> None:
    async def body() -> None:
        pipeline = LiveDataPipeline([Venue(noon)], clock=noon)
        for symbol in (5, None, " "):
            with pytest.raises(QueryError, match="symbol must be a non-empty string"):
                await pipeline.subscribe(symbol, "1h")  # type: ignore[arg-type]
            with pytest.raises(QueryError, match="symbol must be a non-empty string"):
                await pipeline.start_streaming(["A", symbol], "1h")  # type: ignore[list-item]

    run(body)
    for count in (-1, "5", None, True):
        with pytest.raises(QueryError, match="lookback_bars must be a number of bars"):
            LiveDataPipeline([Venue(noon)], lookback_bars=count)  # type: ignore[arg-type]


def test_a_bar_that_is_late_is_asked_for_again_before_the_next_close(noon: ManualClock) -> None:
    hour = stamped([datetime(2024, 7, 10, 12)])
    late = [hour[:0], hour[:0], hour]
    venue = Answering(noon, lambda *_: late.pop(0) if len(late) > 1 else late[0])
    found = streamed([venue], noon, "2024-07-10T13:30")
    assert [bar.timestamp.hour for bar in found] == [12]


# --- what is passed on to the data manager --------------------------------------------------------


def test_fundamentals_are_asked_of_this_vendor_alone(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def noted(*question: Any, **options: Any) -> dict[str, Any]:
        asked.append((question, options["force_refresh"]))
        return {}

    monkeypatch.setattr(manager, "get_fundamentals", noted)
    asyncio.run(YFinanceProvider(manager=manager).fetch_fundamentals("AAPL"))
    assert asked == [(("AAPL", ["yahoo"]), True)]


def test_a_warning_names_the_line_that_awaits() -> None:
    async def body() -> None:
        await in_thread(partial(warn_user, "look here"), looks=False)

    with pytest.warns(UserWarning, match="look here") as caught:
        asyncio.run(body())
    assert caught[0].filename == __file__


# --- secrets ---------------------------------------------------------------------------------------


def test_an_error_of_a_program_shows_neither_keys_nor_queries(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FMP_API_KEY", "k3y-canary-of-the-test")
    error = OSError("GET https://own.example/bars?token=hidden-canary with k3y-canary-of-the-test")

    class Telling:
        """A provider whose error quotes its address."""

        async def fetch_prices(self, *_: Any) -> Any:
            raise error

    manager = MultiProviderDataManager(clock=clock)
    manager.register_provider("own", Telling())  # type: ignore[arg-type]
    with caplog.at_level("DEBUG"), pytest.raises(DataError) as raised:
        asyncio.run(manager.fetch_with_fallback("AAPL", "1d", *WEEK))
    texts = [str(raised.value), caplog.text, str(manager.provider_health)]
    assert "OSError" in texts[0]
    assert not [text for text in texts if "canary" in text]
