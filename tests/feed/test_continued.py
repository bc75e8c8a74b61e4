"""What a stream says while bars wait for others."""

from __future__ import annotations

from dataclasses import replace

from src.data.clock import ManualClock
from src.data.feed.base import LiveFeed
from src.data.feed.continued import Continued, Start
from src.data.feed.history import Filled
from src.data.model.instant import MINUTE_MS
from src.data.model.span import Span
from src.data.model.stream import LiveBar, Revision, StreamState, StreamStatus
from src.data.model.timeframe import Timeframe
from src.data.policy.gaps import Grid
from tests.policy.market import ALWAYS

from .conftest import PATIENCE, bars_in, emptied, wait_until
from .hands import MONDAY, HandStream, minute


class Later:
    """History that has nothing until it is told to."""

    def __init__(self) -> None:
        self.held: list[LiveBar] = []
        self.asked: list[Span] = []

    def last(self, count: int) -> list[LiveBar]:
        return []

    def between(self, span: Span, *, again: bool = False) -> Filled:
        self.asked.append(span)
        return Filled(self.held, [], "" if self.held else "not published yet")


class Told:
    """A feed of minutes from a Monday's midnight on, its stream and its history."""

    def __init__(self, *, dense: bool = True) -> None:
        self.stream, self.history, self.clock = HandStream(), Later(), ManualClock(MONDAY)
        grid = Grid(ALWAYS, Timeframe.parse("1m"))
        source = Continued(
            self.stream, self.history, grid, self.clock, patience=replace(PATIENCE, dense=dense),
            start=Start(after_ms=MONDAY - MINUTE_MS),
        )  # fmt: skip
        self.feed = LiveFeed("BTCUSDT", "1m", source, clock=self.clock)


def test_a_bar_that_is_corrected_while_it_waits_is_given_corrected() -> None:
    told = Told()
    box = told.feed.subscribe(revisions=True)
    with told.feed:
        told.clock.advance(120)
        told.stream.push(minute(1, 50.0))
        wait_until(lambda: told.history.asked, "a question")
        assert told.stream.sink is not None
        told.stream.sink.revised(minute(1, 60.0))
        told.history.held = [minute(0, origin="backfill")]
        wait_until(lambda: told.feed.snapshot().given == 2, "both bars")
    items = emptied(box)
    assert bars_in(items) == [minute(0, origin="backfill"), minute(1, 60.0)]
    assert not [item for item in items if isinstance(item, Revision)]


def test_what_a_stream_cannot_tell_is_asked_for_and_nothing_newer() -> None:
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
