"""Live bars in queues: from the feeds that exist, and from a program's own providers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

import tests.feed.conftest as of_feeds
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import from_ms, parse_iso
from src.data.core.net.calls.call_threads import awaited
from src.data.errors import QueryError
from src.data.research.loading.live import LiveDataPipeline
from src.data.research.loading.providers import DataProvider, VendorProvider, provider_for
from tests.feed.conftest import Stage, ours, wait_until

stage, streams = of_feeds.stage, of_feeds.streams
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock one second after a bar of a minute has closed."""
    return ManualClock(parse_iso("2024-07-10T12:00:01Z"))


@pytest.fixture(autouse=True)
def _pool() -> None:
    """Start the thread that calls of the data manager share, which outlives all pipelines."""
    asyncio.run(awaited(lambda: None))


class Venue(DataProvider):
    """A program's provider with a bar for every hour, which may fail at given calls."""

    def __init__(
        self, clock: ManualClock, *, fails: dict[str, tuple[int, ...]] | None = None
    ) -> None:
        self.clock, self.fails, self.calls = clock, fails or {}, dict[str, int]()

    async def fetch_prices(self, symbol: str, timeframe: str, start: date, end: date) -> Any:
        self.calls[symbol] = self.calls.get(symbol, 0) + 1
        if self.calls[symbol] in self.fails.get(symbol, ()):
            raise OSError("down")
        now = from_ms(self.clock.now_ms()).replace(minute=0, second=0, microsecond=0)
        first = datetime(start.year, start.month, start.day)
        stamps = [first + n * HOUR for n in range(int((now - first) / HOUR) + 1)]
        prices = {
            name: [float(one.hour + 1) for one in stamps]
            for name in ("open", "high", "low", "close")
        }
        return pl.DataFrame({"timestamp": stamps, **prices, "volume": [1] * len(stamps)})

    async def fetch_fundamentals(self, symbol: str) -> dict[str, Any]:
        return {}

    async def fetch_universe(self, name: str) -> list[str]:
        return []


class Time:
    """The time of a pipeline: waits let the clock advance, up to an end."""

    def __init__(self, clock: ManualClock, until: str) -> None:
        self.clock, self.until_ms, self.waits = clock, parse_iso(until), list[float]()

    async def pause(self, seconds: float) -> None:
        """Advance the clock; behind the end, wait for ever."""
        self.waits.append(seconds)
        await asyncio.sleep(0)
        if self.clock.now_ms() + seconds * 1000 > self.until_ms:
            await asyncio.Event().wait()
        self.clock.advance(seconds)


def run(body: Callable[[], Any]) -> Any:
    """Run a coroutine function in a new event loop, which has no task left at its end."""

    async def checked() -> Any:
        result = await body()
        assert len(asyncio.all_tasks()) == 1
        return result

    return asyncio.run(checked())


async def turns(count: int = 200) -> None:
    """Let other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)


def read(queue: Any) -> list[Any]:
    """Return all bars in a queue."""
    return [queue.get_nowait() for _ in range(queue.qsize())]


def test_an_own_provider_is_polled_at_each_close_and_every_queue_gets_each_closed_bar_once(
    clock: ManualClock,
) -> None:
    venue, time = Venue(clock), Time(clock, "2024-07-10T15:30")

    async def body() -> tuple[list[Any], list[Any], list[Any]]:
        pipeline = LiveDataPipeline([venue], clock=clock, pause=time.pause)
        first, second = [await pipeline.subscribe("X", "1h") for _ in range(2)]
        other = await pipeline.subscribe("Y", "1h")
        await pipeline.start_streaming(["X", "X"], "1h")
        await pipeline.start_streaming(["X"], "1h")
        await turns()
        await pipeline.stop()
        await pipeline.stop()
        return read(first), read(second), read(other)

    first, second, other = run(body)
    assert [(bar.timestamp.hour, bar.close, bar.origin) for bar in first] == [
        (12, 13.0, "live"), (13, 14.0, "live"), (14, 15.0, "live"),
    ]  # fmt: skip
    assert first == second and not other
    assert time.waits[0] == 3600.0  # to one second after the close
    assert venue.calls == {"X": 3}


def test_an_error_backs_off_for_a_minute_for_its_symbol_alone(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    venue = Venue(clock, fails={"X": (1,)})
    times: dict[str, list[float]] = {}

    async def body() -> dict[str, list[Any]]:
        found = {}
        for symbol in ("X", "Y"):
            own = ManualClock(parse_iso("2024-07-10T12:00:01Z"))
            venue.clock, time = own, Time(own, "2024-07-10T13:30")
            pipeline = LiveDataPipeline([venue], clock=own, pause=time.pause)
            queue = await pipeline.subscribe(symbol, "1h")
            await pipeline.start_streaming([symbol], "1h")
            await turns()
            await pipeline.stop()
            found[symbol], times[symbol] = read(queue), time.waits
        return found

    with caplog.at_level(logging.ERROR, "onetape.v2"):
        found = run(body)
    assert 60.0 in times["X"] and 60.0 not in times["Y"]
    assert [bar.timestamp.hour for bar in found["Y"]] == [12]
    assert [bar.timestamp.hour for bar in found["X"]] == [12]
    assert times["X"][:2] == [*times["Y"][:1], 60.0]
    assert [one for one in caplog.messages if "failed for X 1h" in one and "down" in one]
    assert not [one for one in caplog.messages if " Y " in one]


def test_after_an_error_the_next_provider_takes_over_and_no_bar_is_missing(
    clock: ManualClock,
) -> None:
    bad, good = Venue(clock, fails={"X": (1, 2, 3)}), Venue(clock)
    time = Time(clock, "2024-07-10T15:30")

    async def body() -> list[Any]:
        pipeline = LiveDataPipeline([bad, good], clock=clock, pause=time.pause)
        queue = await pipeline.subscribe("X", "1h")
        await pipeline.start_streaming(["X"], "1h")
        await turns()
        await pipeline.stop()
        return read(queue)

    assert [bar.timestamp.hour for bar in run(body)] == [12, 13, 14]
    assert bad.calls == {"X": 1}


class Ends(VendorProvider):
    """A provider of the library whose feed brings no bars and ends at a given time."""

    def __init__(self, clock: ManualClock, end: str) -> None:
        self.clock, self.end_ms = clock, parse_iso(end)

    async def live_feed(self, symbol: str, timeframe: str, lookback: int) -> Any:
        self.clock.advance((self.end_ms - self.clock.now_ms()) / 1000)
        raise OSError("refused")


def deliveries(
    clock: ManualClock, providers: list[DataProvider], until: str = "2024-07-10T15:30"
) -> list[tuple[int, str]]:
    """Return the hours of the bars that a pipeline delivers, with the times of their deliveries."""
    time, delivered = Time(clock, until), list[tuple[int, str]]()

    async def body() -> None:
        pipeline = LiveDataPipeline(providers, clock=clock, pause=time.pause)
        queue = await pipeline.subscribe("X", "1h")
        await pipeline.start_streaming(["X"], "1h")
        for _ in range(200):
            await turns(1)
            delivered.extend(
                (bar.timestamp.hour, str(from_ms(clock.now_ms()).time())) for bar in read(queue)
            )
        await pipeline.stop()

    run(body)
    return delivered


def test_a_bar_is_delivered_a_minute_after_a_failure_not_at_the_next_close(
    clock: ManualClock,
) -> None:
    delivered = deliveries(clock, [Venue(clock, fails={"X": (1,)}), Venue(clock)])
    assert delivered == [(12, "13:01:01"), (13, "14:00:01"), (14, "15:00:01")]


@pytest.mark.parametrize("end", ["12:10:00", "12:51:30", "12:53:30", "12:58:30", "12:59:00"])
def test_after_a_failure_before_a_close_the_bar_is_delivered_at_that_close(
    clock: ManualClock, end: str
) -> None:
    venue = Venue(clock)
    delivered = deliveries(clock, [Ends(clock, f"2024-07-10T{end}"), venue])
    assert delivered == [(12, "13:00:01"), (13, "14:00:01"), (14, "15:00:01")]
    assert venue.calls == {"X": 3}


def test_waiting_for_a_missed_bar_does_not_delay_the_next_one(clock: ManualClock) -> None:
    class Thin(Venue):
        """A venue without a trade from 12:00 to 13:00."""

        async def fetch_prices(self, *args: Any) -> Any:
            return (await super().fetch_prices(*args)).filter(pl.col("timestamp").dt.hour() != 12)

    delivered = deliveries(clock, [Ends(clock, "2024-07-10T13:54"), Thin(clock)])
    assert delivered == [(13, "14:00:01"), (14, "15:00:01")]


def test_a_series_whose_providers_all_fail_is_queried_once_for_each_close(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The first close is queried once more; bars that closed meanwhile come after the last failure."""
    bad = Venue(clock, fails={"X": tuple(range(1, 22))})
    delivered = deliveries(clock, [bad], "2024-07-11T09:30")
    assert bad.calls == {"X": 22}
    assert [hour for hour, _ in delivered] == [*range(12, 24), *range(9)]
    assert {time for _, time in delivered} == {"09:00:01"}
    assert len([one for one in caplog.messages if "failed for X 1h" in one]) == 21


class Steady(DataProvider):
    """A program's provider with a bar for each step of any timeframe, up to now."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    async def fetch_prices(self, symbol: str, timeframe: str, start: date, end: date) -> Any:
        step = {"1m": timedelta(minutes=1), "1h": HOUR}[timeframe]
        first, now = datetime(start.year, start.month, start.day), from_ms(self.clock.now_ms())
        stamps = [first + n * step for n in range((now - first) // step + 1)]
        prices = dict.fromkeys(("open", "high", "low", "close"), float(len(timeframe + symbol)))
        return pl.DataFrame({"timestamp": stamps}).with_columns(
            *(pl.lit(price).alias(name) for name, price in prices.items())
        )

    fetch_fundamentals = Venue.fetch_fundamentals
    fetch_universe = Venue.fetch_universe


def streamed_together(
    clock: ManualClock, minutes: int, asked: list[tuple[list[str], str]]
) -> dict[tuple[str, str], list[Any]]:
    """Return the bars of each series of one pipeline after some minutes of one clock."""

    async def pause(seconds: float) -> None:
        due_ms = clock.now_ms() + seconds * 1000
        while clock.now_ms() < due_ms:
            await asyncio.sleep(0)

    async def body() -> dict[tuple[str, str], list[Any]]:
        pipeline = LiveDataPipeline([Steady(clock)], clock=clock, pause=pause)
        queues = {}
        for symbols, timeframe in asked:
            for symbol in symbols:
                queues[symbol, timeframe] = await pipeline.subscribe(symbol, timeframe)
        for symbols, timeframe in asked:
            await pipeline.start_streaming(symbols, timeframe)
        for _ in range(minutes):
            await turns(20)
            clock.advance(60)
        await turns(20)
        await pipeline.stop()
        return {series: read(queue) for series, queue in queues.items()}

    found: dict[tuple[str, str], list[Any]] = run(body)
    return found


def test_each_timeframe_of_a_symbol_has_its_own_subscribers(clock: ManualClock) -> None:
    found = streamed_together(clock, 61, [(["X"], "1m"), (["X"], "1h")])
    minutes, hours = found["X", "1m"], found["X", "1h"]
    noon = datetime(2024, 7, 10, 12)
    assert [bar.timestamp for bar in minutes] == [
        noon + n * timedelta(minutes=1) for n in range(61)
    ]
    assert [bar.timestamp for bar in hours] == [noon]
    assert {bar.timeframe for bar in minutes} == {"1m"} and hours[0].timeframe == "1h"


def test_each_symbol_of_a_start_is_streamed(clock: ManualClock) -> None:
    found = streamed_together(clock, 61, [(["X", "YY", "ZZZ"], "1h")])
    assert {symbol: [bar.close for bar in bars] for (symbol, _), bars in found.items()} == {
        "X": [3.0], "YY": [4.0], "ZZZ": [5.0],
    }  # fmt: skip


def test_a_queue_that_is_not_read_drops_its_oldest_and_holds_up_no_other(
    clock: ManualClock,
) -> None:
    jumps = [30, 15]  # days until a poll: 720 bars, then 360

    async def pause(_: float) -> None:
        await asyncio.sleep(0)
        if not jumps:
            await asyncio.Event().wait()
        clock.advance(jumps.pop(0) * 86_400)

    async def body() -> None:
        pipeline = LiveDataPipeline([Venue(clock)], clock=clock, pause=pause)
        slow, fast = [await pipeline.subscribe("X", "1h") for _ in range(2)]
        await pipeline.start_streaming(["X"], "1h")
        seen: list[Any] = []
        while len(seen) < 1080:
            await asyncio.sleep(0)
            seen += read(fast)
        await pipeline.stop()
        assert slow.maxsize == slow.qsize() == 1000 and slow.dropped == 80
        left = read(slow)
        assert [bar.dropped for bar in left] == [80] + [0] * 999
        assert [bar.timestamp for bar in left] == [bar.timestamp for bar in seen[80:]]
        assert not fast.dropped and not any(bar.dropped for bar in seen)

    run(body)


def test_a_vendors_feed_gives_history_first_and_each_bar_once_on_one_connection(
    stage: Stage,
) -> None:
    async def body() -> tuple[list[Any], list[Any]]:
        pipeline = LiveDataPipeline(
            [provider_for("binance", manager=stage.manager)], lookback_bars=5, clock=stage.clock
        )
        queues = [await pipeline.subscribe("BTCUSDT", "1m") for _ in range(2)]
        await pipeline.start_streaming(["BTCUSDT"], "1m")
        found = [await asyncio.wait_for(queues[0].get(), 30) for _ in range(5)]
        await asyncio.to_thread(lambda: stage.peer)
        await asyncio.to_thread(stage.minute)
        found.append(await asyncio.wait_for(queues[0].get(), 30))
        await turns(3)
        others = read(queues[1])
        await pipeline.stop()
        return found, others

    before = set(ours())
    found, others = run(body)
    assert [bar.origin for bar in found[:5]] == ["history"] * 5
    assert found[5].timestamp == found[4].timestamp + timedelta(minutes=1)
    assert others == found
    stamps = [from_ms(int(str(row[0]))) for row in stage.expected(_first(found[0]))]
    assert [bar.timestamp for bar in found] == stamps
    wait_until(lambda: not set(ours()) - before, "the end of all threads")


class Ending:
    """A feed that fails after some bars."""

    def __init__(self, feed: Any, bars: int) -> None:
        self.feed, self.bars = feed, bars

    async def __aiter__(self) -> Any:
        async for bar in self.feed:
            yield bar
            self.bars -= 1
            if not self.bars:
                raise OSError("refused")

    def stop(self) -> None:
        self.feed.stop()


def test_bars_that_close_between_two_feeds_are_delivered_however_long_it_takes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = provider_for("binance", manager=stage.manager)
    make, lookbacks = provider.live_feed, list[int]()

    async def live_feed(symbol: str, timeframe: str, lookback: int) -> Any:
        lookbacks.append(lookback)
        feed = await make(symbol, timeframe, lookback)
        return Ending(feed, 5) if len(lookbacks) == 1 else feed

    async def pause(_: float) -> None:
        await asyncio.sleep(0)
        stage.clock.advance(20 * 60)

    async def body() -> list[Any]:
        pipeline = LiveDataPipeline([provider], lookback_bars=5, clock=stage.clock, pause=pause)
        queue = await pipeline.subscribe("BTCUSDT", "1m")
        await pipeline.start_streaming(["BTCUSDT"], "1m")
        found = [await asyncio.wait_for(queue.get(), 30) for _ in range(25)]
        await pipeline.stop()
        return found

    monkeypatch.setattr(provider, "live_feed", live_feed)
    found = run(body)
    stamps = [datetime(2024, 7, 10, 11, 55) + n * timedelta(minutes=1) for n in range(25)]
    assert [bar.timestamp for bar in found] == stamps and lookbacks == [5, 21]


def _first(bar: Any) -> Any:
    """Return a bar as the stage compares them."""
    return type(
        "First",
        (),
        {"stamp_ms": int((bar.timestamp - datetime(1970, 1, 1)).total_seconds() * 1000)},
    )


def test_many_starts_and_stops_leave_nothing_behind(clock: ManualClock) -> None:
    async def body() -> None:
        for _ in range(50):
            time = Time(clock, "2024-07-10T12:00:30")
            pipeline = LiveDataPipeline([Venue(clock)], clock=clock, pause=time.pause)
            await pipeline.start_streaming(["A", "B"], "1h")
            await asyncio.sleep(0)
            await pipeline.stop()

    run(body)


def test_a_provider_or_subscription_that_cannot_stream_is_refused(clock: ManualClock) -> None:
    with pytest.raises(QueryError, match="no provider is given"):
        LiveDataPipeline([])
    with pytest.raises(QueryError, match="object has no fetch_prices"):
        LiveDataPipeline([object()])  # type: ignore[list-item]

    async def body() -> None:
        pipeline = LiveDataPipeline([Venue(clock)], clock=clock)
        for symbols, timeframe in (("X", "1h"), (["X"], "7x"), (["X"], "1M")):
            with pytest.raises(QueryError):
                await pipeline.start_streaming(symbols, timeframe)

    run(body)
