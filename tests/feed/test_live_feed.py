"""Feeds without Backtrader: iterators, callbacks, snapshots, and listeners that misbehave."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Iterable

import pytest

from src.data.core.model.market.stream import LiveBar, Revision, StreamState, StreamStatus
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.model.time.span import Span
from src.data.errors import DataError, FeedLagError, RefusedError
from src.data.feed.live_feed import LiveFeed
from src.data.feed.queue import Item, Mailbox
from src.data.feed.sources.base import Sink
from src.data.feed.sources.history import FilledHistory

SOON_S = 20.0


def bar(number: int, *, closed: bool = True, close: float = 1.0) -> LiveBar:
    """Return a made-up bar, ``number`` minutes after 1970."""
    return LiveBar(number * MINUTE_MS, 1.0, 2.0, 0.5, close, 10.0, closed)


class Scripted:
    """A source that pushes made-up bars from a thread, then ends, or waits to be stopped."""

    def __init__(self, bars: int, *, error: DataError | None = None, endless: bool = False) -> None:
        self.bars, self.error, self.endless = bars, error, endless
        self.sink: Sink | None = None
        self.starts = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        self.sink, self.starts = sink, self.starts + 1
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, args=(sink,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(SOON_S)

    def _run(self, sink: Sink) -> None:
        sink.status(StreamStatus(StreamState.LIVE))
        for number in range(self.bars):
            sink.bar(bar(number, closed=False))
            sink.bar(bar(number))
        if self.endless:
            self._stopped.wait()
        else:
            sink.end(self.error)


def feed_of(source: Scripted, **said: int) -> LiveFeed:
    return LiveFeed("BTCUSDT", "1m", source, **said)


def test_iteration_delivers_closed_bars_once_and_in_order() -> None:
    assert list(feed_of(Scripted(1000))) == [bar(n) for n in range(1000)]


def test_async_iteration_delivers_every_bar_of_a_feed() -> None:
    async def collect() -> list[LiveBar]:
        return [item async for item in feed_of(Scripted(1000))]

    assert asyncio.run(collect()) == [bar(n) for n in range(1000)]


@pytest.mark.parametrize("reading", ["loop", "async"])
def test_the_error_of_an_ended_feed_is_raised_after_its_bars(reading: str) -> None:
    feed, seen = feed_of(Scripted(3, error=RefusedError("refused"))), []

    async def collect() -> None:
        async for item in feed:
            seen.append(item)

    with pytest.raises(RefusedError, match="refused"):
        asyncio.run(collect()) if reading == "async" else seen.extend(feed)
    assert seen == [bar(n) for n in range(3)]
    assert feed.status.state is StreamState.CLOSED


def test_a_stopped_feed_can_be_started_again() -> None:
    source = Scripted(5)
    feed = feed_of(source)
    assert list(feed) == list(feed)
    assert source.starts == 2
    assert feed.snapshot().given == 5


def test_stopping_ends_every_reader() -> None:
    feed = feed_of(Scripted(5, endless=True))
    seen: list[LiveBar] = []
    reader = threading.Thread(target=lambda: seen.extend(feed))
    reader.start()
    wait_until(lambda: len(seen) == 5 or feed.snapshot().given == 5)
    feed.stop()
    reader.join(SOON_S)
    assert not reader.is_alive()
    assert seen == [bar(n) for n in range(5)]
    assert feed.status.reason == "stopped"


def test_a_stopped_feed_delivers_no_bar_or_status() -> None:
    source = Scripted(5, endless=True)
    feed = feed_of(source)
    with feed:
        box = feed.subscribe()
    assert source.sink is not None
    source.sink.bar(bar(99))
    source.sink.status(StreamStatus(StreamState.LIVE))
    held = []
    while (item := box.get()) is not None:
        held.append(item)
    assert bar(99) not in (*held, *feed.snapshot().bars)
    assert feed.status.state is StreamState.CLOSED


def test_a_repeated_status_is_not_delivered_again() -> None:
    source = Scripted(0, endless=True)
    with feed_of(source) as feed:
        wait_until(lambda: feed.status.state is StreamState.LIVE)
        box = feed.subscribe()
        assert [box.get(), box.get()][-1] == StreamStatus(StreamState.LIVE)
        assert source.sink is not None
        for at_ms in (7, 8):
            source.sink.status(StreamStatus(StreamState.CONNECTING, "nobody answers", at_ms))
            told = box.get()
            assert told is None or told.at_ms == 7  # type: ignore[union-attr]
        assert feed.status.at_ms == 7


def test_a_slow_or_raising_callback_delays_no_other_consumer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed, quick, wall = feed_of(Scripted(2000)), [], threading.Event()
    raised: list[LiveBar] = []

    def raising(item: LiveBar) -> None:
        raised.append(item)
        raise ValueError("a strategy's mistake")

    feed.on_bar(raising)
    feed.on_bar(lambda item: wall.wait(SOON_S))
    feed.on_bar(quick.append)
    assert len(list(feed)) == 2000

    def told() -> list[logging.LogRecord]:
        return [r for r in caplog.records if "a strategy's mistake" in r.getMessage()]

    # Each error is logged after its callback has ended.
    wait_until(lambda: len(quick) == 2000 and len(caplog.records) >= 2000 and len(told()) == 2000)
    wall.set()
    assert quick == raised == [bar(n) for n in range(2000)]
    assert [bool(r.exc_info) for r in told()[:2]] == [True, False]


def test_callbacks_are_called_again_after_a_new_start() -> None:
    feed, seen = feed_of(Scripted(3)), []
    feed.on_bar(seen.append)
    for runs in (1, 2):
        feed.start()
        wait_until(lambda runs=runs: len(seen) == 3 * runs)  # type: ignore[misc]
    assert seen == [bar(n) for n in range(3)] * 2


def test_a_listener_far_behind_is_ended_without_a_gap() -> None:
    feed = feed_of(Scripted(50), capacity=10)
    box, patient = feed.subscribe(), feed.subscribe(capacity=1000)
    feed.start()
    wait_until(lambda: not feed.is_running)
    bars = bars_in(box)
    with pytest.raises(FeedLagError, match="BTCUSDT 1m fell 10 items behind"):
        box.get()
    assert bars == [bar(n) for n in range(len(bars))]
    assert len(bars) < 50
    assert sum(isinstance(patient.get(), LiveBar) for _ in range(len(patient))) == 50


def test_a_mailbox_delivers_several_bars_in_order_and_then_its_error() -> None:
    box = Mailbox()
    for number in range(5):
        box.put(bar(number))
    assert box.take(3) == [bar(0), bar(1), bar(2)]
    box.close(RefusedError("refused"))
    assert box.take(3, timeout=None) == [bar(3), bar(4)]
    assert not box.is_over, "no consumer was notified yet"
    with pytest.raises(RefusedError):
        box.take(3, timeout=None)
    assert box.is_over
    assert Mailbox().take(3) == []


def test_readers_of_one_mailbox_are_all_woken_however_often_they_wait() -> None:
    box, seen = Mailbox(), []

    def read() -> None:
        while not box.is_over:
            seen.extend(box.take(2, timeout=SOON_S))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(300):
        box.put(bar(number))
        if number % 3 == 0:  # so that they wait again and again
            wait_until(lambda: not len(box))
    box.close()
    for reader in readers:
        reader.join(SOON_S)
    assert not any(reader.is_alive() for reader in readers)
    assert sorted(item.stamp_ms for item in seen) == [bar(n).stamp_ms for n in range(300)]


def test_only_subscribers_to_forming_bars_get_them_and_only_the_newest_is_queued() -> None:
    feed = feed_of(Scripted(0, endless=True))
    box, plain = feed.subscribe(forming=True), feed.subscribe()
    with feed:
        sink = feed.source.sink  # type: ignore[attr-defined]
        for close in (1.0, 1.5, 1.7):
            sink.bar(bar(1, closed=False, close=close))
        assert feed.snapshot().forming == bar(1, closed=False, close=1.7)
        assert bars_in(box) == [bar(1, closed=False, close=1.7)]
        sink.bar(bar(2, closed=False))
        sink.bar(bar(2))
        assert bars_in(box) == [bar(2)]
        assert feed.snapshot().forming is None
        assert bars_in(plain) == [bar(2)]


def test_a_correction_is_delivered_as_a_revision_and_never_as_a_bar() -> None:
    feed, told = feed_of(Scripted(3, endless=True)), []
    box, curious = feed.subscribe(), feed.subscribe(revisions=True)
    feed.on_revision(told.append)
    with feed:
        wait_until(lambda: feed.snapshot().given == 3)
        feed.source.sink.revised(bar(1, close=7.0))  # type: ignore[attr-defined]
        wait_until(lambda: bool(told))
        shown = feed.snapshot()
    assert told == [bar(1, close=7.0)]
    assert shown.bars == (bar(0), bar(1, close=7.0), bar(2))
    assert (shown.given, shown.revisions) == (3, 1)
    assert bars_in(box) == [bar(n) for n in range(3)]
    assert Revision(bar(1, close=7.0)) in [curious.get() for _ in range(len(curious))]


def test_a_snapshot_keeps_the_last_bars() -> None:
    feed = feed_of(Scripted(50), keep=10)
    list(feed)
    shown = feed.snapshot()
    assert shown.bars == tuple(bar(n) for n in range(40, 50))
    assert (shown.given, shown.symbol, shown.timeframe) == (50, "BTCUSDT", "1m")


def test_a_source_that_cannot_start_leaves_no_running_feed() -> None:
    class Broken(Scripted):
        def start(self, sink: Sink) -> None:
            raise RefusedError("no such symbol")

    feed = feed_of(Broken(0))
    threads = threading.active_count()
    feed.on_bar(print)
    with pytest.raises(RefusedError, match="no such symbol"):
        feed.start()
    assert feed.status == feed.status._replace(
        state=StreamState.CLOSED, reason="it could not be started"
    )
    wait_until(lambda: threading.active_count() == threads)


def bars_in(box: object) -> list[LiveBar]:
    """Return the bars that wait in a mailbox."""
    items = [box.get() for _ in range(len(box))]  # type: ignore[attr-defined, arg-type]
    return [item for item in items if isinstance(item, LiveBar)]


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for another thread to get so far."""
    pause = threading.Event()
    for _ in range(int(SOON_S / 0.005)):
        if done():
            return
        pause.wait(0.005)
    assert done(), "it did not happen in time"


class Pushed:
    """A source whose bars a test pushes by hand."""

    def start(self, sink: Sink) -> None:
        self.sink = sink
        sink.status(StreamStatus(StreamState.LIVE))

    def stop(self) -> None:
        pass

    def push(self, *numbers: int) -> None:
        for number in numbers:
            self.sink.bar(bar(number))


class Stored:
    """History that has every bar but those that a test takes away, and counts questions."""

    def __init__(self, why: str = "", error: DataError | None = None) -> None:
        self.why, self.error = why, error
        self.spans: list[Span] = []

    def last(self, count: int, *, again: bool = False) -> FilledHistory:
        return FilledHistory([], [])

    def between(self, span: Span, *, again: bool = False) -> FilledHistory:
        self.spans.append(span)
        if self.error:
            raise self.error
        first, last = span.start // MINUTE_MS, (span.end - 1) // MINUTE_MS
        return FilledHistory([bar(n) for n in range(first, last + 1)], [], self.why)


def pushed(capacity: int = 100, history: Stored | None = None) -> tuple[LiveFeed, Pushed]:
    source = Pushed()
    feed = LiveFeed("BTCUSDT", "1m", source, capacity=capacity, history=history)
    feed.start()
    return feed, source


def numbers(items: Iterable[Item]) -> list[int]:
    return [i.stamp_ms // MINUTE_MS for i in items if isinstance(i, LiveBar)]


def collected(feed: LiveFeed, how: str, count: int) -> list[int]:
    """Return the first bars that a consumer of the running feed gets."""
    seen: list[LiveBar] = []
    if how == "loop":
        seen = list(itertools.islice(iter(feed), count))
    elif how == "queue":
        box = feed.subscribe()
        while len(seen) < count and (item := box.get(timeout=SOON_S)) is not None:
            seen += [item] if isinstance(item, LiveBar) else []
    elif how == "callback":
        done = threading.Event()

        def take(item: LiveBar) -> None:
            seen.append(item)
            if len(seen) == count:
                done.set()

        feed.on_bar(take)
        assert done.wait(SOON_S)
    else:

        async def collect() -> None:
            async for item in feed:
                seen.append(item)
                if len(seen) == count:
                    return

        asyncio.run(collect())
    return numbers(seen)


@pytest.mark.parametrize("how", ["loop", "async", "queue", "callback"])
def test_the_first_consumer_of_a_running_feed_gets_all_bars_from_its_first(how: str) -> None:
    feed, source = pushed()
    feed.on_status(lambda status: None)  # it takes no bars, so it is no consumer
    feed.on_revision(lambda revised: None)
    source.push(*range(20))
    assert collected(feed, how, 20) == list(range(20))
    feed.stop()


def test_a_second_consumer_begins_with_the_next_bar() -> None:
    feed, source = pushed()
    source.push(0, 1)
    first = feed.subscribe()
    second = feed.subscribe()
    source.push(2)
    assert (numbers(first.take(9)), numbers(second.take(9))) == ([0, 1, 2], [2])
    feed.unsubscribe(first)
    feed.unsubscribe(second)
    source.push(3)
    assert numbers(feed.subscribe().take(9)) == []
    feed.stop()


def test_a_consumer_from_before_the_start_is_the_first() -> None:
    feed = LiveFeed("BTCUSDT", "1m", source := Pushed())
    box = feed.subscribe()
    feed.start()
    source.push(0)
    assert numbers(feed.subscribe().take(9)) == []
    assert numbers(box.take(9)) == [0]
    feed.stop()


def test_each_run_has_a_first_consumer() -> None:
    feed, source = pushed()
    source.push(0)
    feed.stop()
    feed.start()
    source.push(1)
    assert numbers(feed.subscribe().take(9)) == [1]
    feed.stop()


def test_bars_beyond_the_kept_ones_are_read_from_the_store() -> None:
    history = Stored()
    feed, source = pushed(10, history)
    source.push(*range(500))
    box = feed.subscribe()
    source.push(500)
    assert numbers(box.take(1000)) == list(range(501))
    assert history.spans == [Span(0, 489 * MINUTE_MS + 1)]
    feed.stop()


def test_bars_that_arrive_during_a_read_of_the_store_are_not_lost() -> None:
    history = Stored()
    feed, source = pushed(10, history)
    source.push(*range(100))
    answer = history.between

    def slowly(span: Span, *, again: bool = False) -> FilledHistory:
        if len(history.spans) < 2:
            source.push(*range(100 + 30 * len(history.spans), 130 + 30 * len(history.spans)))
        return answer(span, again=again)

    history.between = slowly  # type: ignore[method-assign]
    assert numbers(feed.subscribe().take(1000)) == list(range(160))
    feed.stop()


def test_every_delivered_bar_carries_its_symbol() -> None:
    source, called = Pushed(), threading.Event()
    feed = LiveFeed("BTCUSDT", "1m", source)
    told: list[str] = []

    def take(item: LiveBar) -> None:
        told.append(item.symbol)
        if len(told) == 4:
            called.set()

    feed.on_bar(take, forming=True)
    box = feed.subscribe(forming=True, revisions=True)
    with feed:
        source.push(0, 1, 2)
        source.sink.revised(bar(1, close=7.0))
        source.sink.bar(bar(3, closed=False))
        shown = feed.snapshot()
    items = box.take(100)
    bars = [item.bar for item in items if isinstance(item, Revision)] + bars_of(items)
    assert shown.forming is not None and len(bars) == 5
    assert {b.symbol for b in [*shown.bars, shown.forming, *bars]} == {"BTCUSDT"}
    assert called.wait(SOON_S) and set(told) == {"BTCUSDT"}


def bars_of(items: Iterable[Item]) -> list[LiveBar]:
    return [item for item in items if isinstance(item, LiveBar)]


def test_bars_read_again_for_a_late_consumer_carry_their_symbol() -> None:
    feed, source = pushed(capacity=5, history=Stored())
    source.push(*range(20))
    seen = list(itertools.islice(iter(feed), 20))
    assert [(b.stamp_ms // MINUTE_MS, b.symbol) for b in seen] == [
        (n, "BTCUSDT") for n in range(20)
    ]
    feed.stop()


@pytest.mark.parametrize(
    "history, error",
    [
        (None, FeedLagError),
        (Stored(why="HTTP 503"), FeedLagError),
        (Stored(error=RefusedError("refused")), RefusedError),
    ],
)
def test_a_lagging_consumer_whose_bars_cannot_be_fetched_gets_an_error(
    history: Stored | None, error: type[DataError]
) -> None:
    feed, source = pushed(10, history)
    source.push(*range(100))
    with pytest.raises(error):
        next(iter(feed))
    feed.stop()


def test_a_late_subscriber_also_gets_earlier_corrections() -> None:
    feed, source = pushed()
    source.push(0)
    source.sink.revised(bar(0, close=1.5))
    items = feed.subscribe(revisions=True).take(9)
    assert Revision(bar(0, close=1.5)) in items
    feed.stop()
