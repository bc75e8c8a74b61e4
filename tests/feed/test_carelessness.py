"""Tests careless use of feeds: left loops, dropped feeds, forks, exits in callbacks, invalid arguments."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from contextlib import ExitStack
from typing import Any

import pytest

from src.data.core.disk.files import Disk
from src.data.core.model.market.stream import LiveBar, StreamState
from src.data.errors import ConfigError, FeedLagError
from src.data.feed import live_feeds
from src.data.feed.live_feed import LiveFeed
from src.data.feed.queue import Mailbox
from src.data.feed.services import feeds_of
from tests.core.cache.test_write_guard import RefusingDisk
from tests.processes import ended, fork, with_locks
from tests.vendor_server.faults import Fault

from .conftest import (
    BITCOIN,
    PATIENCE,
    SOON_S,
    Stage,
    bars_in,
    emptied,
    ours,
    wait_for_reader,
    wait_until,
)
from .test_live_feed import Scripted, feed_of

# --- left and dropped ----------------------------------------------------------------------------


def test_a_feed_dropped_after_its_loop_was_left_ends(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(ours())
    for _ in stage.feed(lookback=2):
        break
    gc.collect()
    wait_until(lambda: not set(ours()) - before, "the end of its threads")
    assert feeds_of(stage.manager).hub.connections == 0
    assert "was deleted without stop()" in caplog.text


def test_a_dropped_feed_resumes_for_its_listeners() -> None:
    source, seen = Scripted(0, endless=True), []
    feed = feed_of(source)
    feed.on_bar(seen.append)
    feed.start()
    sink = source.sink
    assert sink is not None
    del feed
    gc.collect()
    sink.bar(LiveBar(0, 1.0, 1.0, 1.0, 1.0, 1.0))
    wait_until(lambda: seen)
    sink.end()
    source.stop()


def test_a_properly_stopped_feed_logs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with feed_of(Scripted(3, endless=True)):
        pass
    assert list(feed_of(Scripted(3)))
    gc.collect()
    assert caplog.text == ""


# --- loops and callbacks -------------------------------------------------------------------------


def test_closing_the_loop_of_a_listener_does_not_affect_other_listeners() -> None:
    """It may be closed between any two lines of ours."""
    source, loop = Scripted(0, endless=True), asyncio.new_event_loop()
    feed = feed_of(source)
    box, bars = feed.subscribe(), aiter(feed)
    listening = loop.create_task(anext(bars))
    wait_until(lambda: loop.run_until_complete(asyncio.sleep(0)) or source.sink)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert source.sink is not None and not listening.done()
    source.sink.bar(LiveBar(0, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert len(bars_in(emptied(box))) == 1
    feed.stop()


@pytest.mark.parametrize("leaving", ["break", "cancel"])
def test_an_async_loop_that_is_left_leaves_no_listener(
    stage: Stage, leaving: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A remaining listener would keep an unreferenced feed from ending."""

    async def follow(feed: LiveFeed) -> None:
        async for _ in feed:
            came.set()
            if leaving == "break":
                break

    async def leave(feed: LiveFeed) -> None:
        task = asyncio.create_task(follow(feed))
        await asyncio.wait_for(came.wait(), SOON_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    feed, came = stage.feed(lookback=2), asyncio.Event()
    asyncio.run(leave(feed))
    assert feed.is_running
    del feed
    gc.collect()
    wait_until(lambda: "was deleted without stop()" in caplog.text)


def test_a_callback_that_raises_system_exit_is_logged_and_called_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed, calls = feed_of(Scripted(3)), []

    def call(bar: LiveBar) -> None:
        calls.append(bar)
        sys.exit(1)

    feed.on_bar(call)
    feed.start()
    wait_until(lambda: len(calls) == 3)
    assert "raised SystemExit" in caplog.text


@pytest.mark.parametrize("told", ["on_bar", "on_status"])
def test_a_callback_can_stop_its_feed(stage: Stage, told: str) -> None:
    feed, calls = stage.feed(lookback=2), []

    def call(item: object) -> None:
        calls.append(item)
        feed.stop()

    getattr(feed, told)(call)
    feed.start()
    wait_until(lambda: calls and not feed.is_running)
    assert feeds_of(stage.manager).hub.connections == 0


def test_a_callback_can_request_history(stage: Stage) -> None:
    feed, lengths = stage.feed(lookback=2), []
    feed.on_bar(lambda bar: lengths.append(len(stage.manager.get_ohlcv("BTCUSDT", "1m", bars=5))))
    with feed:
        stage.live(feed)
        wait_until(lambda: len(lengths) == 2)  # a minute that passes meanwhile would end a call
        stage.minute()
        stage.live(feed)
        wait_until(lambda: lengths == [5, 5, 5])


# --- forks ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_waits_for_no_lock_of_a_feed_and_can_start_it_again() -> None:
    source = Scripted(3, endless=True)
    feed, locks = with_locks(lambda: feed_of(source))
    box, more = with_locks(feed.subscribe)
    with feed:
        wait_until(lambda: feed.snapshot().given == 3)
        with ExitStack() as held:  # as if other threads held them just now
            for lock in (*locks, *more):
                held.enter_context(lock)
            child = fork(lambda: _use_as_a_child(feed, box))
        assert ended(child) == 0
        assert feed.is_running


def _use_as_a_child(feed: LiveFeed, box: Mailbox) -> None:
    """Use a feed of the parent's."""
    signal.alarm(20)
    assert not feed.is_running and feed.status.state is StreamState.CLOSED
    feed.stop()
    assert emptied(box) and box.is_over
    feed.start()
    while feed.snapshot().given < 3:
        signal.sigtimedwait([], 0.005)


# --- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -5, 10**15, "7", 2.5, None, True])
def test_an_invalid_lookback_bars_is_refused(
    stage: Stage, count: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.warns(UserWarning, match="lookback_bars"):
        assert stage.manager.get_live_feed("BTCUSDT", "1m", lookback_bars=count) is None
    assert f"invalid lookback_bars {count!r} (use an integer from 1 to 10,000,000" in caplog.text


@pytest.mark.parametrize("option", ["polling_interval", "retry_interval"])
@pytest.mark.parametrize("seconds", ["5", 0, -1, None, True, float("nan"), float("inf"), 1e10])
def test_an_interval_that_is_not_a_number_of_seconds_is_refused(
    stage: Stage, option: str, seconds: Any
) -> None:
    for symbol in ("BTCUSDT", "AAPL"):  # streamed and polled
        with pytest.raises(ConfigError, match=f"invalid {option}"):
            stage.manager.live_feed(symbol, "1h", lookback_bars=2, **{option: seconds})


@pytest.mark.parametrize("timeframe", ["1m", "1d"])
def test_a_feed_can_begin_with_one_bar(stage: Stage, timeframe: str) -> None:
    feed: Any = stage.manager.get_live_feed("BTCUSDT", timeframe, lookback_bars=1)
    assert len(feed.df) == 1


def test_history_longer_than_the_allowed_lag_is_not_a_lag(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feeds, "CAPACITY", 10)
    feed = stage.feed(lookback=100)
    box, short = feed.subscribe(), feed.subscribe(capacity=10)
    with feed:
        stage.live(feed)
    assert len(bars_in(emptied(box))) == 100
    emptied(short)
    with pytest.raises(FeedLagError):
        short.get()


# --- the machine ---------------------------------------------------------------------------------


def test_bars_waiting_for_a_slow_vendor_of_history_do_not_count_as_silence(stage: Stage) -> None:
    feed = stage.feed(lookback=3)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        asked = stage.vendors.count("binance")
        stage.vendors.fault("binance", Fault.hold(), times=1)
        stage.minute(publish=False)
        stage.clock.advance(PATIENCE.grace + 1)
        assert stage.vendors.wait_for("binance", asked + 1)
        for _ in range(6):  # minutes, of which three may be silent
            stage.minute()
        wait_for_reader(stage.streams, BITCOIN)  # all of them are waiting
        stage.vendors.heal()
        stage.live(feed)
        stage.minute()
        stage.live(feed)
        assert stage.streams.attempts == 1
    items = emptied(box)
    assert StreamState.STALE not in [getattr(item, "state", None) for item in items]
    bars = bars_in(items)
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])


def test_a_feed_with_a_read_only_cache_loses_no_bar(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = stage.feed(lookback=3)
    monkeypatch.setattr(Disk, "perform", RefusingDisk().perform)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        for _ in range(3):
            stage.minute()
            stage.live(feed)
    bars = bars_in(emptied(box))
    assert [bar.origin for bar in bars[-3:]] == ["live"] * 3
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])
