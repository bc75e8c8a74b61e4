"""The Backtrader feed: the calls of a live data feed, and the bars that a strategy receives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from datetime import time as clock_time
from typing import Any
from zoneinfo import ZoneInfo

import backtrader as bt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.market.stream import LiveBar, StreamState, StreamStatus
from src.data.core.model.time.instant import MINUTE_MS, from_ms
from src.data.errors import ConfigError, FeedLagError, UnavailableError
from src.data.feed.backtrader.feed import BacktraderFeed, day_number, run_live
from src.data.feed.live_feed import LiveFeed
from src.data.feed.sources.base import Halt, Sink, ThreadedSource
from tests.core.cache.counts import FULL
from tests.feed.hands import LIVE, MONDAY, Hand, Witness, feed_of, minute, values, witnessed

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Backtrader's own utcnow
SOON_S = 10.0
CYCLES = 200 if FULL else 6


def status(state: str, reason: str = "") -> StreamStatus:
    return StreamStatus(StreamState(state), reason)


def closes(seen: list[Any], place: int = 0) -> list[datetime]:
    return [row[1] for row in seen if row[0] == place]


def frame(bars: list[LiveBar]) -> pd.DataFrame:
    """Return bars by their closes, as a backtest is fed with them."""
    index = pd.DatetimeIndex([from_ms(bar.stamp_ms + MINUTE_MS) for bar in bars])
    columns = ["open", "high", "low", "close", "volume"]
    return pd.DataFrame([bar[1:6] for bar in bars], index=index, columns=columns)


# --- bars ----------------------------------------------------------------------------------------


def test_every_bar_is_delivered_once_in_order_stamped_by_its_close() -> None:
    past = [minute(n, origin="history") for n in range(5)]
    source = Hand([*past, LIVE, minute(5), minute(6)], ends=True)
    seen, _ = witnessed(feed_of(source))
    expected = [
        (0, from_ms(b.stamp_ms + MINUTE_MS), *b[1:6]) for b in [*past, minute(5), minute(6)]
    ]
    assert seen == expected


def test_duplicate_older_and_forming_bars_are_dropped() -> None:
    running = minute(3)._replace(is_closed=False)
    source = Hand([minute(0), minute(1), minute(1, 5.0), minute(0), running, minute(2)], ends=True)
    feed = feed_of(source)
    seen, _ = witnessed(feed)
    assert [row[5] for row in seen] == [minute(n).close for n in range(3)]
    assert feed.dropped == 2


def test_a_stream_started_earlier_delivers_its_earlier_bars() -> None:
    source = Hand([LIVE, minute(0), minute(1)])
    feed = feed_of(source)
    feed.stream.start()
    seen, told = witnessed(feed, act=lambda s: len(s.data) == 2 and s.env.runstop())
    assert closes(seen) == [from_ms(MONDAY + n * MINUTE_MS) for n in (1, 2)]
    assert told[:2] == ["DELAYED", "LIVE"]
    assert source.starts == 1


def test_a_backtrader_feed_beside_another_consumer_gets_the_earlier_bars() -> None:
    source = Hand([LIVE, minute(0), minute(1)])
    feed = feed_of(source)
    feed.stream.subscribe()  # the first consumer: the bars wait for it alone
    feed.stream.start()
    pusher = threading.Timer(0.05, lambda: source.push(minute(2)))
    pusher.start()
    last = from_ms(MONDAY + 3 * MINUTE_MS)
    seen, _ = witnessed(feed, act=lambda s: values(s.data)[0] == last and s.env.runstop())
    assert closes(seen) == [from_ms(MONDAY + n * MINUTE_MS) for n in (1, 2, 3)]


def test_the_same_data_can_be_run_again() -> None:
    feed = feed_of(Hand([LIVE, minute(0), minute(1)], ends=True))
    assert witnessed(feed) == witnessed(feed)


@pytest.mark.parametrize("exactbars", [1, 0, -1, -2])
def test_a_feed_works_with_every_memory_saving_setting_of_backtrader(exactbars: int) -> None:
    source = Hand([LIVE, *(minute(n) for n in range(20))], ends=True)
    seen, _ = witnessed(feed_of(source), exactbars=exactbars)
    assert len(seen) == 20


def test_orders_are_filled_as_in_a_backtest() -> None:
    """Stops and limits look at the ticks of a bar, which we fill ourselves."""
    bars = [minute(n) for n in range(40)]

    def trade(strategy: Any) -> None:
        if len(strategy.data) % 6 == 1:
            strategy.buy(exectype=bt.Order.Limit, price=strategy.data.close[0] - 2.5)
            strategy.sell(exectype=bt.Order.Stop, price=strategy.data.close[0] - 1.5)

    def filled(data: Any) -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []

        class Trader(Witness):  # type: ignore[misc]
            def notify_order(self, order: Any) -> None:
                if order.status == order.Completed:
                    found.append((order.executed.dt, order.executed.price))

        cerebro = bt.Cerebro(stdstats=False)
        cerebro.adddata(data)
        cerebro.addstrategy(Trader, seen=[], told=[], act=trade)
        run_live(cerebro, preload=False, runonce=False)
        return found

    plain = bt.feeds.PandasData(
        dataname=frame(bars), timeframe=bt.TimeFrame.Minutes, compression=1, openinterest=None
    )
    ours = filled(feed_of(Hand([LIVE, *bars], ends=True)))
    assert len(ours) > 5
    assert ours == filled(plain)


# --- time ----------------------------------------------------------------------------------------


def backtest(bars: list[LiveBar], compression: int) -> list[Any]:
    data = bt.feeds.PandasData(
        dataname=frame(bars), timeframe=bt.TimeFrame.Minutes, compression=1, openinterest=None
    )
    return witnessed(data, resample=compression, preload=False, runonce=False)[0]


@pytest.mark.parametrize("missing", [(), (3, 4, 9, 17, 18, 19, 20, 21), (4, 5)])
@pytest.mark.parametrize("how", ["at once", "one by one"])
def test_resampled_live_equals_the_backtest(how: str, missing: tuple[int, ...]) -> None:
    """Bars of long ago are resampled by their own clock, beside the original and its clone."""
    bars = [minute(n) for n in range(60) if n not in missing]
    feed = feed_of(Hand([LIVE, *bars], ends=True)) if how == "at once" else starving([LIVE, *bars])
    seen, _ = witnessed(feed, resample=5)
    expected = backtest(bars, 5)
    assert [row for row in seen if row[0] == 1] == [row for row in expected if row[0] == 1]
    assert [row for row in seen if row[0] == 0] == [row for row in expected if row[0] == 0]


def test_days_of_a_market_that_never_closes_include_their_last_minute() -> None:
    volumes: list[float] = []

    def act(strategy: Any) -> None:
        if len(strategy.data1) > len(volumes):
            volumes.append(strategy.data1.volume[0])

    bars = [minute(n) for n in range(2 * 1440) if n % 30 in (0, 29)]
    feed = feed_of(Hand([LIVE, *bars], ends=True), sessionend=clock_time(0))
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.resampledata(feed, timeframe=bt.TimeFrame.Days)
    cerebro.addstrategy(Witness, seen=[], told=[], act=act)
    run_live(cerebro)
    assert volumes == [sum(bar.volume for bar in day) for day in (bars[:96], bars[96:])]


class Slow(ThreadedSource):
    """Pushes the next item whenever Cerebro has found none after the last one."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__("slow")
        self.items, self.hungry = items, threading.Event()
        self.hungry.set()

    def run(self, sink: Sink, halt: Halt) -> None:
        for item in self.items:
            assert self.hungry.wait(SOON_S)
            self.hungry.clear()
            sink.bar(item) if isinstance(item, LiveBar) else sink.status(item)


def starving(items: list[Any]) -> BacktraderFeed:
    """Return a data in which Cerebro finds no bar between two items, and requests the time."""
    source = Slow(items)
    feed = feed_of(source, qcheck=0.0005)
    load = feed._load

    def told() -> bool | None:
        found = load()
        if found is None:
            source.hungry.set()
        return found

    feed._load = told
    return feed


@settings(derandomize=True, max_examples=200)
@given(st.integers(-2_000_000_000_000, 8_000_000_000_000))
def test_times_are_converted_to_exactly_the_numbers_of_backtrader(at_ms: int) -> None:
    assert day_number(at_ms) == bt.date2num(from_ms(at_ms))


@pytest.mark.parametrize("zone", ["America/New_York", ZoneInfo("America/New_York")])
def test_time_zones_by_name_and_by_zoneinfo(zone: Any) -> None:
    seen: list[datetime] = []
    feed = feed_of(Hand([LIVE, minute(0)], ends=True), tz=zone)
    witnessed(feed, act=lambda s: seen.append(s.data.datetime.datetime()))
    assert seen == [datetime(2024, 6, 9, 20, 1)]
    assert feed.num2date(feed.date2num(datetime(2024, 1, 2, 9, 30))) == datetime(2024, 1, 2, 9, 30)


def test_other_time_zones_work_and_the_error_names_an_unknown_one() -> None:
    seen: list[datetime] = []
    for zone in (UTC, timezone(timedelta(hours=2))):
        feed = feed_of(Hand([minute(0)], ends=True), tz=zone)
        witnessed(feed, act=lambda s: seen.append(s.data.datetime.datetime()))
    assert seen == [datetime(2024, 6, 10, 0, 1), datetime(2024, 6, 10, 2, 1)]
    with pytest.raises(ConfigError, match="Middle/Earth"):
        witnessed(feed_of(Hand(ends=True), tz="Middle/Earth"))


@pytest.mark.parametrize(
    "label, unit, compression",
    [("1m", "Minutes", 1), ("4h", "Minutes", 240), ("3d", "Days", 3), ("1w", "Weeks", 1),
     ("1M", "Months", 1)],
)  # fmt: skip
def test_a_backtrader_feed_has_its_timeframe_and_name(
    label: str, unit: str, compression: int
) -> None:
    feed = BacktraderFeed(LiveFeed("BTCUSDT", label, Hand()))
    assert (feed._timeframe, feed._compression) == (getattr(bt.TimeFrame, unit), compression)
    assert feed._name == "BTCUSDT"


# --- notifications -------------------------------------------------------------------------------


def test_a_strategy_is_notified_of_every_status_of_the_stream() -> None:
    source = Hand([
        status("CONNECTING"), status("BACKFILLING"), minute(0, origin="history"), LIVE, minute(1),
        status("CONNECTING"), status("BACKFILLING"), minute(2, origin="backfill"), LIVE,
        status("STALE"), status("DELAYED"), LIVE, minute(3),
    ], ends=True)  # fmt: skip
    _, told = witnessed(feed_of(source))
    assert told == [
        "DELAYED", "CONNECTED", "DELAYED", "LIVE", "CONNBROKEN", "CONNECTED", "DELAYED", "LIVE",
        "DELAYED", "LIVE", "DISCONNECTED",
    ]  # fmt: skip


def test_a_strategy_is_notified_live_before_the_first_live_bar() -> None:
    """Compare the status known to a strategy at each bar."""
    known: list[tuple[int, str]] = []
    told: list[str] = []

    class Careful(Witness):  # type: ignore[misc]
        def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
            told.append(data._getstatusname(status))

    source = Hand([minute(0, origin="history"), LIVE, minute(1)], ends=True)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed_of(source))
    act = lambda s: known.append((len(s.data), told[-1]))  # noqa: E731 - one line is enough
    cerebro.addstrategy(Careful, seen=[], told=told, act=act)
    run_live(cerebro)
    assert known == [(1, "DELAYED"), (2, "LIVE")]


def test_a_strategy_receives_the_reason_of_each_status() -> None:
    reasons: list[Any] = []

    class Curious(bt.Strategy):  # type: ignore[misc]
        def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
            reasons.append((kwargs.get("state"), kwargs.get("reason")))

    cerebro = bt.Cerebro()
    cerebro.adddata(feed_of(Hand([LIVE, status("STALE", "nothing comes")], ends=True)))
    cerebro.addstrategy(Curious)
    run_live(cerebro)
    assert ("STALE", "nothing comes") in reasons


# --- waiting and ending --------------------------------------------------------------------------


def test_a_busy_data_does_not_wait_for_idle_ones() -> None:
    """Were each to wait by itself, 30 bars beside silent datas would take two minutes each."""
    busy = Hand([LIVE])
    feeds = [feed_of(Hand([LIVE]), f"IDLE{n}", qcheck=30.0) for n in range(4)]
    feeds.append(feed_of(busy, "BUSY", qcheck=30.0))
    counted: list[int] = []

    def act(strategy: Any) -> None:
        counted.append(len(strategy.datas[4]))
        if counted[-1] == 30:
            strategy.env.runstop()
        else:
            busy.push(minute(counted[-1]))

    starter = threading.Timer(0.1, lambda: busy.push(minute(0)))
    starter.start()
    began = time.monotonic()
    seen, _ = witnessed(*feeds, act=act)
    assert len(closes(seen, 4)) == 30
    assert time.monotonic() - began < SOON_S


def test_bars_pushed_by_another_thread_wake_the_feed() -> None:
    source = Hand([LIVE])
    feed = feed_of(source, qcheck=30.0)
    pusher = threading.Timer(0.05, lambda: source.push(minute(0), minute(1)))
    pusher.start()
    began = time.monotonic()
    seen, _ = witnessed(feed, act=lambda s: len(s.data) == 2 and s.env.runstop())
    assert len(seen) == 2
    assert time.monotonic() - began < SOON_S


def test_waiting_uses_no_processor_time() -> None:
    feed = feed_of(Hand([LIVE]))
    stopper = threading.Timer(1.0, feed.stop)
    stopper.start()
    began = time.process_time()
    witnessed(feed)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("how", ["runstop", "stop", "should_stop"])
@pytest.mark.parametrize("when", ["live", "before history"])
def test_a_backtrader_feed_stops_at_once(how: str, when: str) -> None:
    feed = feed_of(Hand([LIVE] if when == "live" else []), qcheck=30.0)
    cerebro = bt.Cerebro()
    cerebro.adddata(feed)
    runner = threading.Thread(target=run_live, args=(cerebro,), daemon=True)
    runner.start()
    wait_until(lambda: feed.stream.is_running)
    acts: dict[str, Callable[[], object]] = {
        "runstop": cerebro.runstop, "stop": feed.stop,
        "should_stop": lambda: setattr(feed, "should_stop", True),
    }  # fmt: skip
    acts[how]()
    runner.join(SOON_S)
    assert not runner.is_alive()
    assert not feed.stream.is_running


def test_a_feed_told_to_stop_still_delivers_its_history() -> None:
    backlog = [minute(n, origin="history") for n in range(5)]
    source = Hand()
    feed = feed_of(source, backlog=backlog)
    feed.should_stop = True
    seen, told = witnessed(feed)
    assert len(seen) == 5
    assert told == ["DELAYED", "DISCONNECTED"]
    assert source.starts == 0


def test_all_feeds_wait_for_the_late_history_of_one() -> None:
    """Else bars of one data would be seen after newer ones of the other."""
    late, early = Hand(), Hand([*(minute(n, origin="history") for n in range(3)), LIVE], ends=True)
    feeds = [feed_of(early, "EARLY"), feed_of(late, "LATE")]

    def come() -> None:
        late.push(*(minute(n, origin="history") for n in range(3)), LIVE)
        assert late.sink is not None
        late.sink.end()

    threading.Timer(0.2, come).start()
    seen, _ = witnessed(*feeds)
    assert closes(seen) == closes(seen, 1)
    assert [row[0] for row in seen] == [0, 1] * 3


def test_the_wait_for_history_is_limited() -> None:
    early = Hand([LIVE, minute(0), minute(1)])
    feeds = [feed_of(early, "EARLY"), feed_of(Hand(), "NEVER", patience=0.2)]
    seen, _ = witnessed(*feeds, act=lambda s: len(s.data) == 2 and s.env.runstop())
    assert len(closes(seen)) == 2


# --- trouble -------------------------------------------------------------------------------------


def test_the_error_that_ends_a_stream_is_raised_after_the_cerebro_run() -> None:
    feed = feed_of(Hand([LIVE, minute(0)], ends=UnavailableError("the vendor is gone")))
    other = feed_of(Hand([LIVE, minute(0), minute(1)], ends=True), "OTHER")
    seen: list[Any] = []
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.adddata(other)
    told: list[str] = []
    cerebro.addstrategy(Witness, seen=seen, told=told)
    with pytest.raises(UnavailableError, match="the vendor is gone"):
        run_live(cerebro)
    assert len(closes(seen, 1)) == 2  # the other went on to its end
    assert told.count("DISCONNECTED") == 2


def test_a_strategy_that_is_too_slow_gets_an_error_instead_of_a_gap() -> None:
    stream = LiveFeed("BTCUSDT", "1m", Hand([minute(n) for n in range(50)]), capacity=20)
    feed = BacktraderFeed(stream)
    with pytest.raises(FeedLagError):
        witnessed(feed)
    assert feed.live_seen_ms == minute(18).stamp_ms + MINUTE_MS


class Endless(ThreadedSource):
    """Pushes more bars than are consumed, from a thread, until it is stopped."""

    def __init__(self) -> None:
        super().__init__("endless")

    def run(self, sink: Sink, halt: Halt) -> None:
        sink.status(LIVE)
        for number in range(200):
            sink.bar(minute(number))
        while halt.wait(SOON_S):
            pass


class UserError(Exception):
    """What a strategy raises."""


def test_a_finished_run_leaves_no_thread() -> None:
    """Whether it ends by itself, by an error of a strategy, or of another data."""
    before = set(threading.enumerate())

    def fail(strategy: Any) -> None:
        raise UserError

    for cycle in range(CYCLES):
        feeds = [feed_of(Endless(), "ONE"), feed_of(Endless(), "TWO")]
        if cycle % 2:
            witnessed(*feeds, act=lambda s: len(s.data) >= 3 and s.env.runstop())
        else:
            with pytest.raises(UserError):
                witnessed(*feeds, act=fail)
    wait_until(lambda: not set(threading.enumerate()) - before)


def test_a_feed_that_cannot_start_leaves_none_running() -> None:
    class Broken(Hand):
        def start(self, sink: Sink) -> None:
            raise ConfigError("no key")

    good = feed_of(Hand([LIVE]), "GOOD")
    with pytest.raises(ConfigError, match="no key"):
        witnessed(good, feed_of(Broken(), "BAD"))
    assert not good.stream.is_running


def test_no_attribute_of_a_feed_hides_a_method_of_backtrader() -> None:
    """An attribute of ours named like a method of theirs ends a run with a TypeError."""
    plain, feed = bt.DataBase(), feed_of(Hand([LIVE, minute(0)], ends=True))
    witnessed(plain)
    witnessed(feed)
    own = set(vars(feed)) - set(vars(plain)) - {"_qcheck"}  # theirs, which is ours to set
    assert {"stream", "live_box"} <= own
    assert {name for name in own if hasattr(bt.DataBase, name)} == set()


def wait_until(done: Callable[[], object]) -> None:
    """Wait for other threads to get so far."""
    pause = threading.Event()
    for _ in range(int(SOON_S / 0.002)):
        if done():
            return
        pause.wait(0.002)
    assert done()


def test_a_feed_without_bars_is_true_in_a_condition() -> None:
    assert bool(BacktraderFeed(LiveFeed("BTCUSDT", "1m", Hand())))
