"""Tests bars of a stream that arrive while earlier bars are still being filled from history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from src.data.core.calendars.calendar import MarketCalendar
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import LiveBar, Revision, StreamState, StreamStatus
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import DataError, UnavailableError
from src.data.feed.live_feed import LiveFeed
from src.data.feed.sources.history import FilledHistory
from src.data.feed.sources.stream import GapFreeSource, Start
from tests.core.calendars.market import ALWAYS, NEW_YORK

from .conftest import PATIENCE, bars_in, emptied, wait_until
from .hands import LIVE, MONDAY, Hand, HandStream, feed_of, minute, witnessed


class Later:
    """History without bars until a test allows them."""

    def __init__(self) -> None:
        self.held: list[LiveBar] = []
        self.asked: list[Span] = []

    def last(self, count: int, *, again: bool = False) -> FilledHistory:
        return FilledHistory([], [])

    def between(self, span: Span, *, again: bool = False) -> FilledHistory:
        self.asked.append(span)
        return FilledHistory(self.held, [], "" if self.held else "not published yet")


class Told:
    """A feed of minutes from an instant of a Monday on, its stream and its history."""

    def __init__(
        self, *, dense: bool = True, begin: int = MONDAY, market: MarketCalendar = ALWAYS
    ) -> None:
        self.stream, self.history, self.clock = HandStream(), Later(), ManualClock(begin)
        grid = BarGrid(market, Timeframe.parse("1m"))
        source = GapFreeSource(
            self.stream, self.history, grid, self.clock, patience=replace(PATIENCE, dense=dense),
            start=Start(after_ms=begin - MINUTE_MS),
        )  # fmt: skip
        self.feed = LiveFeed("BTCUSDT", "1m", source, clock=self.clock)


def test_a_waiting_bar_is_delivered_with_its_correction() -> None:
    told = Told()
    box = told.feed.subscribe(revisions=True)
    with told.feed:
        told.clock.advance(120)
        told.stream.push(minute(1, 50.0))
        wait_until(lambda: told.feed.status.state is StreamState.DELAYED, "DELAYED")
        assert told.feed.status.reason == "not published yet"
        assert told.stream.sink is not None
        told.stream.sink.revised(minute(1, 60.0))
        told.history.held = [minute(0, origin="backfill")]
        wait_until(lambda: told.feed.snapshot().given == 2, "both bars")
    items = emptied(box)
    assert bars_in(items) == [minute(0, origin="backfill"), minute(1, 60.0)]
    assert not [item for item in items if isinstance(item, Revision)]


@pytest.mark.parametrize("dense", [True, False])
def test_a_forming_bar_never_comes_before_the_closed_bar_before_it(dense: bool) -> None:
    told = Told(dense=dense)
    box = told.feed.subscribe(forming=True)
    with told.feed:
        wait_until(lambda: told.feed.status.state is StreamState.LIVE, "LIVE")
        told.clock.advance(61)
        forming = minute(1, 70.0)._replace(is_closed=False)
        told.stream.push(forming._replace(high=71.0), minute(0), forming)
        wait_until(lambda: told.feed.snapshot().forming, "the forming bar")
    assert bars_in(emptied(box)) == [minute(0), forming]


def test_a_bar_missing_in_a_delayed_stream_is_fetched_and_no_newer_one() -> None:
    told = Told(dense=False)
    with told.feed:
        wait_until(lambda: told.feed.status.state is StreamState.LIVE, "LIVE")
        told.clock.advance(62)
        told.stream.push(StreamStatus(StreamState.DELAYED, "why", MONDAY + MINUTE_MS))
        told.clock.advance(60)
        wait_until(lambda: told.history.asked, "a question")
        told.history.held = [minute(0, origin="backfill")]
        wait_until(lambda: told.feed.snapshot().given == 1, "the bar")
    assert set(told.history.asked) == {Span(MONDAY, MONDAY + MINUTE_MS)}


def test_the_last_bar_of_a_session_is_fetched_once_the_session_is_over() -> None:
    last = 20 * 60 - 1  # New York closes at 20:00 UTC
    told = Told(dense=False, begin=minute(last).stamp_ms - MINUTE_MS, market=NEW_YORK)
    with told.feed:
        wait_until(lambda: told.feed.status.state is StreamState.LIVE, "LIVE")
        told.clock.advance(61)
        told.stream.push(minute(last - 1))
        wait_until(lambda: told.feed.snapshot().given == 1, "the bar before")
        told.clock.advance(65)
        wait_until(lambda: told.history.asked, "a question")
        assert told.feed.status.state is StreamState.BACKFILLING
        told.history.held = [minute(last, origin="backfill")]
        wait_until(lambda: told.feed.status.state is StreamState.LIVE, "LIVE")
        assert told.feed.snapshot().bars[-1] == minute(last, origin="backfill")


def test_a_programming_error_ends_the_feed_and_is_logged_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> FilledHistory:
        raise ZeroDivisionError("of ours")

    told = Told()
    monkeypatch.setattr(told.history, "between", fails)
    with told.feed:
        told.clock.advance(120)
        told.stream.push(minute(1, 50.0))
        wait_until(lambda: told.feed.status.state is StreamState.CLOSED, "the end")
        assert "the live feed raised ZeroDivisionError: of ours" in told.feed.status.reason
    (line,) = [record for record in caplog.records if record.exc_info]
    assert line.getMessage().startswith("the live feed ends: ")


class Empty:
    """History that fails or has five bars, as set by the test."""

    def __init__(self, refusals: int) -> None:
        self.refusals = [UnavailableError("nobody answers")] * refusals
        self.asked = 0

    def last(self, count: int, *, again: bool = False) -> FilledHistory:
        self.asked += 1
        if self.refusals:
            raise self.refusals.pop()
        return FilledHistory([minute(n - count, origin="history") for n in range(count)], [])

    def between(self, span: Span, *, again: bool = False) -> FilledHistory:
        raise AssertionError("nothing is missing")


class Notebook:
    """A sink that records its notifications."""

    def __init__(self) -> None:
        self.bars: list[LiveBar] = []
        self.told: list[tuple[str, str]] = []
        self.bar, self.revised = self.bars.append, self.bars.append

    def status(self, status: StreamStatus) -> None:
        self.told.append((str(status.state), status.reason))

    def end(self, error: DataError | None = None) -> None:
        """Have it end."""


Begun = tuple[Notebook, HandStream, Empty]
LOST = StreamStatus(StreamState.CONNECTING, "its address was not found")
JOINED = StreamStatus(StreamState.BACKFILLING, "connected")


@pytest.fixture
def begun(request: pytest.FixtureRequest) -> Iterator[Begun]:
    """Yield what is told of a source of minutes, its stream, not connected yet, its history."""
    stream, history, notebook = HandStream(), Empty(getattr(request, "param", 3)), Notebook()
    stream.items = []
    source = GapFreeSource(stream, history, BarGrid(ALWAYS, Timeframe.parse("1m")), ManualClock(MONDAY),
                       patience=PATIENCE, start=Start(5))  # fmt: skip
    source.start(notebook)
    yield notebook, stream, history
    source.stop()


def test_a_lost_connection_is_reported_as_connecting_once(begun: Begun) -> None:
    notebook, stream, history = begun
    stream.push(LOST)
    wait_until(lambda: len(notebook.bars) == 5, "history")
    stream.push(LOST)
    wait_until(lambda: not len(stream.sink), "a look")  # type: ignore[arg-type]
    stream.push(JOINED)
    wait_until(lambda: notebook.told[-1][0] == "LIVE", "LIVE")
    assert history.asked == 4
    assert notebook.told == [
        ("CONNECTING", "its address was not found"), ("BACKFILLING", "connected"), ("LIVE", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("begun", [100_000], indirect=True)  # more than it asks until it is let
def test_each_connection_and_its_missing_history_are_reported(begun: Begun) -> None:
    notebook, stream, history = begun
    before = history.asked
    stream.push(JOINED)
    wait_until(lambda: history.asked > before + 20, "many questions")
    history.refusals.clear()
    wait_until(lambda: notebook.told and notebook.told[-1][0] == "LIVE", "LIVE")
    assert notebook.told == [
        ("BACKFILLING", "connected"), ("BACKFILLING", "history is being loaded"),
        ("DELAYED", "nobody answers"), ("LIVE", ""),
    ]  # fmt: skip
    notebook.told.clear()
    stream.push(LOST)
    wait_until(lambda: notebook.told, "the loss")
    stream.push(JOINED, JOINED)
    wait_until(lambda: notebook.told[-1][0] == "LIVE", "LIVE")
    stream.push(JOINED)  # by another connection, without a gap
    wait_until(lambda: not len(stream.sink), "a look")  # type: ignore[arg-type]
    assert [state for state, _ in notebook.told] == ["CONNECTING", "BACKFILLING", "LIVE"]


def test_a_strategy_is_notified_of_every_connection() -> None:
    stream = [StreamStatus(StreamState.CONNECTING, "starting"), JOINED, minute(0), LIVE,
              StreamStatus(StreamState.BACKFILLING, "bars are missing"), minute(1), LIVE,
              LOST, JOINED, LIVE, minute(2)]  # fmt: skip
    _, told = witnessed(feed_of(Hand(stream, ends=True)))
    assert told == ["DELAYED", "CONNECTED", "DELAYED", "LIVE", "DELAYED", "LIVE",
                    "CONNBROKEN", "CONNECTED", "DELAYED", "LIVE", "DISCONNECTED"]  # fmt: skip
