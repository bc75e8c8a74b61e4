"""Tests that a strategy receives every bar once and in order, whatever happens to the connection."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.stream import StreamState
from src.data.core.model.time.instant import MINUTE_MS, SECOND_MS
from src.data.core.model.time.timeframe import Timeframe
from src.data.feed.services import feeds_of
from tests.core.cache.counts import FULL
from tests.vendor_server.faults import Fault

from .conftest import BITCOIN, PATIENCE, Stage, bars_in, check_states, emptied, ours, wait_until

DISCONNECTS = 500 if FULL else 7


def test_live_bars_follow_history_without_gap_or_duplicate(stage: Stage) -> None:
    feed = stage.feed(lookback=30)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        for _ in range(5):
            last = stage.minute()
            stage.live(feed)
        shown = feed.snapshot()
    bars = bars_in(emptied(box))
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])
    assert [bar.origin for bar in bars] == ["history"] * 30 + ["live"] * 5
    assert (bars[-1].stamp_ms, shown.given) == (last, 35)


def test_backfill_covers_bars_that_closed_between_history_and_stream(stage: Stage) -> None:
    feed = stage.feed(lookback=5)
    box = feed.subscribe()
    stage.vendors.fault("binance", Fault.hold(), times=1)
    with feed:
        assert stage.vendors.wait_for("binance", 1)
        peer = stage.peer  # subscribed first, while history is on its way
        stage.minute()
        stage.minute()
        stage.vendors.heal()
        stage.live(feed)
        assert peer.is_open
    bars = bars_in(emptied(box))
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])
    check_states([bars[0], *bars[1:]], PATIENCE.grace)


HURTS = ["reset", "cut", "leave", "inside", "lost", "doubled", "old", "late", "fine", "fine"]


@pytest.mark.timeout(600)
def test_many_reconnects_resubscribe_and_lose_double_and_reorder_nothing(stage: Stage) -> None:
    feed, dice = stage.feed(), random.Random(7)
    box = feed.subscribe()
    killed = 0
    with feed:
        stage.live(feed)
        while killed < DISCONNECTS:
            killed += _hurt(stage, dice.choice(HURTS))
            if dice.random() < 0.5:
                stage.live(feed)
        stage.minute()
        stage.live(feed)
    items = emptied(box)
    bars = bars_in(items)
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])
    check_states(items, PATIENCE.grace)
    assert {"history", "backfill", "live"} == {bar.origin for bar in bars}


def _hurt(stage: Stage, how: str) -> int:
    """Let a minute pass with something wrong; return how many connections were lost."""
    peers = stage.streams.listening(BITCOIN)
    stamp = stage.minute(publish=how in ("doubled", "old", "late", "fine"))
    say = lambda at: stage.streams.publish("binance", *BITCOIN, at)  # noqa: E731 - short
    for peer in peers:
        if how == "inside":
            peer.cut_inside(stage.streams.text("binance", *BITCOIN, stamp))
        elif how in ("reset", "cut", "leave"):
            getattr(peer, how)()
    if how == "lost":  # it is missed when it should have come
        stage.clock.advance(PATIENCE.grace + 1)
    elif how == "doubled":
        say(stamp)
    elif how == "old":
        say(stamp - 3 * MINUTE_MS)
    elif how == "late":  # the next one first
        stage.clock.advance(60)
        say(stamp + MINUTE_MS)
        say(stamp)
    return len(peers) if how in ("inside", "reset", "cut", "leave") else 0


def test_backfill_of_a_hole_comes_before_anything_newer(stage: Stage) -> None:
    feed = stage.feed()
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        stage.vendors.fault("binance", Fault.status(500))
        stage.minute(publish=False)
        stage.minute()
        wait_until(lambda: feed.status.state is StreamState.DELAYED)
        held = bars_in(emptied(box))
        stage.vendors.heal()
        for _ in range(30):  # the vendor is left alone for a while
            stage.minute()
        stage.live(feed)
    assert len(held) == 20
    bars = held + bars_in(emptied(box))
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])


def test_closed_bars_of_the_stream_are_stored_as_provisional(stage: Stage) -> None:
    feed = stage.feed(lookback=10)
    with feed:
        stage.live(feed)
        for _ in range(3):
            stage.minute()
            stage.live(feed)
    asked = stage.vendors.count("binance")
    frame = stage.manager.get_ohlcv("BTCUSDT", "1m", bars=13, offline=True)
    told = frame.attrs["onetape"]
    assert len(frame) == 13
    assert told["complete"]
    assert [s["state"] for s in told["spans"]][-1] == "provisional"
    assert stage.vendors.count("binance") == asked
    view = stage.manager.cache.store.view(SeriesKey("BTCUSDT", Timeframe.parse("1m")))
    assert view.last == stage.closed_ms
    stage.clock.advance(300)
    settled = stage.manager.get_ohlcv("BTCUSDT", "1m", bars=18)
    assert stage.vendors.count("binance") > asked
    assert next(s["state"] for s in settled.attrs["onetape"]["spans"]) == "final"


def test_one_connection_serves_all_feeds_and_closes_with_the_last(stage: Stage) -> None:
    feeds = [stage.feed(lookback=2) for _ in range(3)]
    for feed in feeds:
        feed.start()
    for feed in feeds:
        stage.live(feed)
    assert stage.streams.attempts == 1
    hub = feeds_of(stage.manager).hub
    for feed, left in zip(feeds, (1, 1, 0), strict=True):
        began = time.monotonic()
        feed.stop()
        assert time.monotonic() - began < 15.0
        assert hub.connections == left
    assert feeds[0].status.state is StreamState.CLOSED


def test_a_later_feed_joins_the_existing_subscription(stage: Stage) -> None:
    early, late = stage.feed(lookback=2), stage.feed(lookback=2)
    with early:
        stage.live(early)
        with late:
            stage.live(late)
        stage.minute()
        stage.live(early)
    assert stage.streams.attempts == 1


def test_a_restarted_feed_resumes_where_history_ends(stage: Stage) -> None:
    feed = stage.feed(lookback=5)
    for _ in range(2):
        box = feed.subscribe()
        with feed:
            stage.live(feed)
        bars = bars_in(emptied(box))
        assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])
        stage.minute(publish=False)


def test_forming_bars_are_delivered_only_when_live_and_requested(stage: Stage) -> None:
    feed = stage.feed(lookback=5)
    box, plain = feed.subscribe(forming=True), feed.subscribe()
    with feed:
        stage.live(feed)
        running = stage.closed_ms + MINUTE_MS
        stage.streams.publish("binance", *BITCOIN, running, is_closed=False)
        wait_until(lambda: (bar := feed.snapshot().forming) and bar.stamp_ms == running)
    assert [bar.stamp_ms for bar in bars_in(emptied(box)) if not bar.is_closed] == [running]
    assert all(bar.is_closed for bar in bars_in(emptied(plain)))


def test_a_correction_is_delivered_and_its_stored_bar_refetched(stage: Stage) -> None:
    feed = stage.feed(lookback=5)
    told: list[object] = []
    feed.on_revision(told.append)
    with feed:
        stage.live(feed)
        stamp = stage.minute()
        stage.live(feed)
        text = stage.streams.text("binance", *BITCOIN, stamp)
        volume = text.split('"v": "')[1].split('"')[0]
        stage.peer.say(text.replace(volume, "123.00000000"))
        wait_until(lambda: told)
        assert feed.snapshot().bars[-1].volume == 123.0
        assert feed.snapshot().given == 6


MINUTES = 1440 if FULL else 60


@pytest.mark.timeout(600)
def test_a_day_of_streamed_minutes_leaks_no_thread_or_connection(stage: Stage) -> None:
    feed = stage.feed(lookback=5)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        threads = len(ours())
        for number in range(MINUTES):
            stage.minute(publish=number % 50 != 49)  # now and then one is lost
            if number % 50 == 49:
                stage.clock.advance(PATIENCE.grace + 1)
            stage.live(feed)
        assert len(ours()) == threads
        assert stage.streams.attempts == 1
    bars = bars_in(emptied(box))
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])


@pytest.mark.parametrize("jump_s", [3600, -3600, 86_400])
def test_setting_the_clock_moves_no_bar(stage: Stage, jump_s: int) -> None:
    feed = stage.feed(lookback=5)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        attempts, truth = stage.streams.attempts, stage.clock.now_ms()
        stage.clock.set(truth + jump_s * 1000)
        for number in range(1, 4):
            stage.clock.advance(60)
            for peer in stage.streams.listening(BITCOIN):
                peer.say(stage.streams.text("binance", *BITCOIN, stage_stamp(truth, number)))
            wait_until(lambda n=number: stage.has(feed, stage_stamp(truth, n)))  # type: ignore[misc]
        assert stage.streams.attempts == attempts
    stamps = [bar.stamp_ms for bar in bars_in(emptied(box))]
    assert stamps == [stage_stamp(truth, n) for n in range(-4, 4)]


@pytest.mark.parametrize("skew_s", [-5, 5])
def test_a_clock_ahead_of_or_behind_the_vendors_moves_no_bar(stage: Stage, skew_s: int) -> None:
    """Ours is fast or slow by so much: what is closed for us may still run for the vendor."""
    theirs = stage.vendors.clock = ManualClock(stage.began - skew_s * SECOND_MS)
    stage.vendors.skew_date(-2)  # no answer on its way is dated later than its rows
    feed = stage.feed(lookback=5)
    box = feed.subscribe()
    with feed:
        wait_until(lambda: feed.snapshot().given >= 5)
        wait_until(lambda: feed.status.state is not StreamState.CONNECTING, "a confirmation")
        for _ in range(5):
            # We look just before the close and long after it, by our clock and by the vendor's.
            for pause_s in (60 - theirs.now_ms() % MINUTE_MS / SECOND_MS - 1, 1.5):
                theirs.advance(pause_s)
                stage.clock.advance(pause_s)
                threading.Event().wait(0.02)
            last = theirs.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS
            stage.streams.publish("binance", *BITCOIN, last)
            wait_until(lambda last=last: stage.has(feed, last))  # type: ignore[misc]
        assert stage.streams.attempts == 1
    bars = bars_in(emptied(box))
    assert bars[-1].stamp_ms == last
    now = theirs.now_ms()
    truth = stage.vendors.truth.expected(*BITCOIN, bars[0].stamp_ms, now, "raw", now)
    assert [tuple(bar[:6]) for bar in bars] == truth


def test_a_stopped_wall_clock_delays_no_bar(stage: Stage) -> None:
    feed = stage.feed(lookback=5)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        frozen = stage.clock.now_ms()
        for number in range(1, 6):
            stage.clock.advance(60)
            stage.clock.set(frozen)
            stage.streams.publish("binance", *BITCOIN, stage_stamp(frozen, number))
            wait_until(lambda n=number: stage.has(feed, stage_stamp(frozen, n)))  # type: ignore[misc]
        assert stage.streams.attempts == 1
        assert feed.status.state is StreamState.LIVE
    stamps = [bar.stamp_ms for bar in bars_in(emptied(box))]
    assert stamps == [stage_stamp(frozen, n) for n in range(-4, 6)]


def stage_stamp(now_ms: int, number: int) -> int:
    """Return the stamp of the bar ``number`` bars after the last that closed before ``now_ms``."""
    return now_ms // MINUTE_MS * MINUTE_MS + (number - 1) * MINUTE_MS


def test_a_forked_child_does_not_use_its_parents_connection(stage: Stage) -> None:
    feed = stage.feed(lookback=3)
    with feed:
        stage.live(feed)
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            feed.source.stream.stop()  # type: ignore[attr-defined]
            os._exit(feeds_of(stage.manager).hub.connections)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stage.minute()
        stage.live(feed)
        assert stage.streams.attempts == 1
