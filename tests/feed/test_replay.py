"""Replays of past bars: speed, skipped nights, history, and the end."""

from __future__ import annotations

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import LiveBar, StreamState, StreamStatus
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import QueryError
from src.data.feed.close_time import CloseTimes
from src.data.feed.live_feed import LiveFeed
from src.data.feed.replay import ReplaySource, at_speed, every
from src.data.feed.sources.base import Halt
from tests.feed.hands import minute

CLOSING = CloseTimes(Timeframe.parse("1m"))


def played(source: ReplaySource) -> list[LiveBar | StreamStatus]:
    feed = LiveFeed("BTCUSDT", "1m", source)
    box = feed.subscribe()
    feed.start()
    items = []
    while not box.is_over:
        if (item := box.get(timeout=5.0)) is not None:
            items.append(item)
    feed.stop()
    return items


def replay(pace: object, clock: ManualClock, history: int = 0, count: int = 5) -> ReplaySource:
    bars = [minute(n, origin="history") for n in range(count)]
    return ReplaySource("BTCUSDT 1m", lambda: bars, pace, history=history, clock=clock)  # type: ignore[arg-type]


def test_bars_are_replayed_at_the_requested_multiple_of_their_pace(clock: ManualClock) -> None:
    items = played(replay(at_speed(CLOSING, 60.0, MINUTE_MS), clock))
    assert [item for item in items if isinstance(item, LiveBar)] == [minute(n) for n in range(5)]
    assert sum(clock.slept) == pytest.approx(4.0)  # four gaps of a minute
    assert max(clock.slept) <= 0.2  # so soon a stop is noticed


def test_a_replay_at_speed_zero_never_waits(clock: ManualClock) -> None:
    assert len(played(replay(at_speed(CLOSING, 0, MINUTE_MS), clock, count=500))) > 500
    assert clock.slept == []


@pytest.mark.parametrize("speed, said", [
    (60.0, "replayed"), (1.0, "replayed, a bar in 60 seconds"), (0.1, "replayed, a bar in 10 minutes"),
    (0.001, "replayed, a bar in 17 hours"),
])  # fmt: skip
def test_long_waits_are_announced(clock: ManualClock, speed: float, said: str) -> None:
    items = played(replay(at_speed(CLOSING, speed, MINUTE_MS), clock, count=2))
    assert said in [item.reason for item in items if isinstance(item, StreamStatus)]
    assert played(replay(at_speed(CLOSING, speed, MINUTE_MS), clock, count=1))


def test_a_replay_skips_nights_and_weekends() -> None:
    pace = at_speed(CloseTimes(Timeframe.parse("1h")), 2.0, HOUR_MS)
    assert pace(0, HOUR_MS) == 1800.0
    assert pace(0, 3 * DAY_MS) == 1800.0
    months = at_speed(CloseTimes(Timeframe.parse("1M")), 1.0, None)
    assert months(parse_iso("2024-01-01"), parse_iso("2024-02-01")) == 29 * 86400


def test_history_is_followed_by_the_status_live_and_the_replayed_bars(clock: ManualClock) -> None:
    items = played(replay(every(1.0), clock, history=3))
    bars = [item for item in items if isinstance(item, LiveBar)]
    assert [bar.origin for bar in bars] == ["history"] * 3 + ["live"] * 2
    place = next(n for n, i in enumerate(items) if getattr(i, "state", None) is StreamState.LIVE)
    assert items[place - 1] == minute(2, origin="history")
    assert sum(clock.slept) == pytest.approx(2.0)


def test_a_replay_ends_after_its_last_bar(clock: ManualClock) -> None:
    items = played(replay(every(0.0), clock))
    assert items[-1].state is StreamState.CLOSED  # type: ignore[union-attr]


class Taking:
    """A sink that takes its time, and stops after so many bars."""

    def __init__(self, clock: ManualClock, halt: Halt, most: int) -> None:
        self.clock, self.halt, self.most = clock, halt, most
        self.bars: list[LiveBar] = []

    def bar(self, bar: LiveBar) -> None:
        self.clock.advance(0.5)
        self.bars.append(bar)
        if len(self.bars) == self.most:
            self.halt.set()

    def status(self, status: StreamStatus) -> None:
        """Take no notice."""


def test_a_slow_listener_does_not_slow_the_replay(clock: ManualClock) -> None:
    sink = Taking(clock, Halt(clock), 99)
    before = clock.monotonic()
    replay(every(1.0), clock).run(sink, sink.halt)  # type: ignore[arg-type]
    assert clock.monotonic() - before == pytest.approx(4.5)


def test_a_stopped_replay_pushes_no_further_bar(clock: ManualClock) -> None:
    sink = Taking(clock, Halt(clock), 2)
    replay(every(1.0), clock).run(sink, sink.halt)  # type: ignore[arg-type]
    assert sink.bars == [minute(0), minute(1)]


@pytest.mark.parametrize("speed", [-1.0, float("nan")])
def test_an_invalid_replay_speed_is_refused(speed: float) -> None:
    with pytest.raises(QueryError, match="invalid replay speed"):
        at_speed(CLOSING, speed, MINUTE_MS)


def test_a_long_replay_waits_for_no_consumer_and_loses_no_bar(clock: ManualClock) -> None:
    bars = [minute(n) for n in range(1000)]
    source = ReplaySource("x", lambda: bars, every(0.0), clock=clock)
    feed = LiveFeed("BTCUSDT", "1m", source, capacity=1100)
    box = feed.subscribe()
    feed.start()
    while feed.is_running:
        pass
    items = []
    while (item := box.get()) is not None:
        items.append(item)
    assert [item for item in items if isinstance(item, LiveBar)] == bars
