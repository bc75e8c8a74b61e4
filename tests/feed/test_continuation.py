"""The sequence of streamed bars: each one once and in order, whatever is lost, doubled or reordered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars.grid import BarGrid
from src.data.core.model.market.stream import LiveBar, Origin
from src.data.core.model.time.instant import MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.feed.continuation import Continuation, slots_of
from tests.core.cache.counts import examples
from tests.core.calendars.market import ALWAYS, NEW_YORK

MINUTES = BarGrid(ALWAYS, Timeframe.parse("1m"))
SHARES = BarGrid(NEW_YORK, Timeframe.parse("1m"))
BEGAN = parse_iso("2024-07-10T12:00:00Z")
CLOSE = parse_iso("2024-07-10T20:00:00Z")


def bar(number: int, origin: Origin = "live", close: float = 1.0) -> LiveBar:
    """Return a made-up bar, ``number`` minutes after the beginning."""
    return LiveBar(BEGAN + number * MINUTE_MS, 1.0, 1.0, 1.0, close, 1.0, True, origin)


def stamps(bars: list[LiveBar]) -> list[int]:
    return [(b.stamp_ms - BEGAN) // MINUTE_MS for b in bars]


def at(number: int) -> int:
    return BEGAN + number * MINUTE_MS


@settings(max_examples=examples(200), derandomize=True, deadline=None)
@given(st.data())
def test_every_bar_is_delivered_once_in_order_without_omissions(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 25))
    quiet = data.draw(st.sets(st.integers(0, size - 1)))  # minutes in which nobody traded
    traded = [n for n in range(size) if n not in quiet]
    messages = data.draw(st.lists(st.sampled_from(traded), max_size=60)) if traded else []
    known = Continuation(MINUTES, BEGAN)
    given_bars: list[LiveBar] = []
    for number in messages:
        known.offer(bar(number))
        given_bars += known.take_ready()
        # Only ever up to the first that is missing, and that is not one where nobody traded.
        assert stamps(given_bars) == traded[: len(given_bars)]
        if data.draw(st.booleans()) and (gap := known.gap(at(size))) is not None:
            _answer(data, known, gap, traded, size)
            given_bars += known.take_ready()
    while (gap := known.gap(at(size))) is not None:
        _answer(data, known, gap, traded, size, whole=True)
        given_bars += known.take_ready()
    assert stamps(given_bars) == traded
    assert known.waiting == 0


def _answer(
    data: st.DataObject, known: Continuation, gap: Span, traded: list[int], size: int,
    whole: bool = False,
) -> None:  # fmt: skip
    """Answer from history, completely or partly, sometimes with more than requested."""
    inside = [n for n in range(size) if at(n) in gap]
    told = inside if whole else data.draw(st.lists(st.sampled_from(inside), unique=True))
    more = [] if whole else data.draw(st.lists(st.sampled_from(traded))) if traded else []
    bars = [bar(n, "backfill") for n in sorted({*told, *more}) if n in traded]
    known.learn(bars, [at(n) for n in told if n not in traded])


def test_a_gap_reaches_up_to_the_waiting_bar() -> None:
    known = Continuation(MINUTES, BEGAN)
    known.offer(bar(3))
    assert known.take_ready() == []
    assert known.gap(at(9)) == Span(at(0), at(3))
    known.learn([bar(0), bar(1)], [])
    assert stamps(known.take_ready()) == [0, 1]
    assert known.gap(at(9)) == Span(at(2), at(3))


def test_without_a_waiting_bar_the_gap_reaches_up_to_now() -> None:
    known = Continuation(MINUTES, BEGAN)
    assert known.gap(at(2)) == Span(at(0), at(2))
    assert known.gap(at(0)) is None


def test_a_delivered_bar_is_never_delivered_again() -> None:
    known = Continuation(MINUTES, BEGAN)
    assert known.offer(bar(0))
    known.take_ready()
    assert not known.offer(bar(0, close=2.0))
    known.learn([bar(0, "backfill")], [at(0)])
    assert known.take_ready() == []
    assert known.doubled == 1


def test_bars_of_the_stream_take_precedence_over_bars_of_history() -> None:
    known = Continuation(MINUTES, BEGAN)
    known.offer(bar(1, close=1.0))
    known.offer(bar(1, close=2.0))
    known.learn([bar(0, "backfill"), bar(1, "backfill", close=9.0)], [])
    assert [b.close for b in known.take_ready()] == [1.0, 2.0]


def test_a_late_bar_taken_for_absent_is_delivered_in_order() -> None:
    known = Continuation(MINUTES, BEGAN)
    known.learn([], [at(0), at(1)])
    assert known.take_ready() == []
    known.offer(bar(1))
    known.offer(bar(2))
    assert stamps(known.take_ready()) == [1, 2]


@pytest.mark.parametrize("label", ["1m", "5m", "1h", "4h", "7m", "1d", "1w"])
@pytest.mark.parametrize("past", [0, 1, 59_999, 60_000, 12_345_678])
def test_fast_slots_equal_those_of_the_calendar(label: str, past: int) -> None:
    grid = BarGrid(ALWAYS, Timeframe.parse(label), "clock")
    quick = slots_of(grid)
    assert quick.next_open(BEGAN + past) == grid.next_open(BEGAN + past)


def test_a_night_between_sessions_is_not_a_gap() -> None:
    known = Continuation(SHARES, CLOSE - MINUTE_MS)
    known.offer(LiveBar(CLOSE - MINUTE_MS, 1, 1, 1, 1, 1))
    tomorrow = parse_iso("2024-07-11T13:30:00Z")
    known.offer(LiveBar(tomorrow, 1, 1, 1, 1, 1))
    assert [b.stamp_ms for b in known.take_ready()] == [CLOSE - MINUTE_MS, tomorrow]
