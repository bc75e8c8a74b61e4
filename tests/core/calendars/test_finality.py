"""Forming, provisional, final: at the very instants at which they change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars.calendar import MarketCalendar, first_unclosed
from src.data.core.calendars.finality import finality_of, first_unsettled, series_due, settles_at
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.market.bars import Stamps
from src.data.core.model.time.instant import DAY_MS, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from tests.core.calendars.market import ALWAYS, FX, NEW_YORK, SYDNEY, TOKYO, stamps

TWO_MINUTES = 120_000
MILLISECOND = 1
FINAL, PROVISIONAL, FORMING = 2, 1, 0


def states(
    calendar: MarketCalendar,
    timeframe: Timeframe,
    opens: Stamps,
    now_ms: int,
    settle_ms: int,
    anchor: str = "session",
) -> Stamps:
    """Return the state of each bar by when it closes and settles."""
    closed = calendar.closes(timeframe, opens, anchor) <= now_ms
    settled = calendar.settles(timeframe, opens, settle_ms, anchor) <= now_ms
    return closed.astype(np.int64) + (closed & settled)


def state(
    calendar: MarketCalendar,
    timeframe: str,
    stamp: str,
    now: str,
    *,
    later: int = 0,
    anchor: str = "session",
) -> int:
    """Return the state of one bar, ``later`` milliseconds after ``now``."""
    now_ms, length = parse_iso(now) + later, Timeframe.parse(timeframe)
    return int(states(calendar, length, stamps(stamp), now_ms, TWO_MINUTES, anchor)[0])


@pytest.mark.parametrize(
    "calendar, timeframe, stamp, closes, settles",
    [
        (ALWAYS, "1m", "2024-06-12T15:00", "2024-06-12T15:01", "2024-06-12T15:03"),
        (ALWAYS, "1d", "2024-06-12", "2024-06-13T00:00", "2024-06-13T00:02"),
        (ALWAYS, "1M", "2024-02-01", "2024-03-01T00:00", "2024-03-01T00:02"),
        (NEW_YORK, "1h", "2024-07-03T16:30", "2024-07-03T17:00", "2024-07-03T17:02"),
        (NEW_YORK, "1d", "2024-11-29", "2024-11-29T18:00", "2024-12-02T14:30"),
        (NEW_YORK, "1d", "2024-08-30", "2024-08-30T20:00", "2024-09-03T13:30"),
        (NEW_YORK, "1w", "2024-03-25", "2024-03-28T20:00", "2024-04-01T13:30"),
        (NEW_YORK, "1M", "2024-03-01", "2024-03-28T20:00", "2024-04-01T13:30"),
        (TOKYO, "1h", "2024-11-05T02:00", "2024-11-05T02:30", "2024-11-05T02:32"),
        (FX, "1d", "2024-06-14", "2024-06-14T21:00", "2024-06-16T21:00"),
    ],
)
def test_a_bar_lives_through_three_states(
    calendar: MarketCalendar, timeframe: str, stamp: str, closes: str, settles: str
) -> None:
    bar = (calendar, timeframe, stamp)
    assert state(*bar, closes, later=-MILLISECOND) == FORMING
    assert state(*bar, closes) == PROVISIONAL
    assert state(*bar, settles, later=-MILLISECOND) == PROVISIONAL
    assert state(*bar, settles) == FINAL


def test_todays_bar_is_not_final_at_noon() -> None:
    assert state(NEW_YORK, "1d", "2024-06-12", "2024-06-12T16:00") == FORMING


def test_a_bar_ahead_is_forming() -> None:
    assert state(NEW_YORK, "1d", "2024-06-14", "2024-06-12T16:00") == FORMING


def test_an_extended_hour_is_judged_by_its_own_length() -> None:
    assert state(NEW_YORK, "1h", "2024-06-12T22:00", "2024-06-12T22:59") == FORMING
    assert state(NEW_YORK, "1h", "2024-06-12T22:00", "2024-06-12T23:00") == PROVISIONAL


def test_the_states_of_many_bars_are_computed_at_once() -> None:
    held = stamps("2024-06-12T17:30", "2024-06-12T18:30", "2024-06-12T19:30")
    found = states(NEW_YORK, Timeframe(1, "h"), held, parse_iso("2024-06-12T19:31"), TWO_MINUTES)
    assert found.tolist() == [FINAL, PROVISIONAL, FORMING]
    assert len(states(NEW_YORK, Timeframe(1, "h"), held[:0], 0, TWO_MINUTES)) == 0


@pytest.mark.parametrize(
    "calendar, timeframe, now, stamp",
    [
        (ALWAYS, "1h", "2024-06-12T15:00", "2024-06-12T15:00"),
        (ALWAYS, "1h", "2024-06-12T15:59", "2024-06-12T15:00"),
        (ALWAYS, "1M", "2024-02-29T23:59", "2024-02-01T00:00"),
        (NEW_YORK, "1h", "2024-06-12T15:59", "2024-06-12T15:30"),
        (NEW_YORK, "1h", "2024-06-12T19:59", "2024-06-12T19:30"),
        (NEW_YORK, "1h", "2024-06-12T20:00", "2024-06-13T13:30"),
        (NEW_YORK, "4h", "2024-06-12T20:30", "2024-06-13T13:30"),
        (NEW_YORK, "1d", "2024-08-30T19:59", "2024-08-30T00:00"),
        (NEW_YORK, "1d", "2024-08-30T20:00", "2024-09-03T00:00"),
        (NEW_YORK, "1w", "2024-03-28T20:00", "2024-04-01T00:00"),
        (NEW_YORK, "1M", "2024-03-30T12:00", "2024-04-01T00:00"),
        (TOKYO, "1h", "2024-11-05T02:45", "2024-11-05T03:30"),
        (SYDNEY, "1d", "2024-06-12T23:30", "2024-06-13T00:00"),
        (SYDNEY, "1d", "2024-01-02T23:30", "2024-01-03T00:00"),  # runs, though its stamp lies ahead
        (FX, "1d", "2024-06-12T21:30", "2024-06-13T00:00"),
        (FX, "1w", "2024-06-15T12:00", "2024-06-17T00:00"),
    ],
)
def test_the_first_bar_not_closed(
    calendar: MarketCalendar, timeframe: str, now: str, stamp: str
) -> None:
    found = first_unclosed(calendar, Timeframe.parse(timeframe), parse_iso(now))
    assert iso(found) == f"{stamp}:00Z"


def test_the_first_bar_not_closed_on_the_clock() -> None:
    now = parse_iso("2024-06-12T13:45")
    assert iso(first_unclosed(NEW_YORK, Timeframe(1, "h"), now, "clock")) == "2024-06-12T13:00:00Z"


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(
    st.sampled_from([ALWAYS, FX, NEW_YORK, TOKYO, SYDNEY]),
    st.sampled_from(["15m", "1h", "4h", "1d", "1w", "1M"]),
    st.integers(parse_iso("2020-01-01"), parse_iso("2025-01-01")),
)
def test_every_bar_before_the_first_unclosed_one_is_closed(
    calendar: MarketCalendar, timeframe: str, now: int
) -> None:
    step = Timeframe.parse(timeframe)
    around = calendar.opens(step, Span(now - 70 * DAY_MS, now + 70 * DAY_MS))
    found = states(calendar, step, around, now, TWO_MINUTES)
    first = first_unclosed(calendar, step, now)
    assert ((found == FORMING) == (around >= first)).all()
    assert (np.diff(found) <= 0).all()  # the older, the more final


# --- next due --------------------------------------------------------------------------------


def test_weeks_of_january_1970_close_where_integers_may_have_32_bits() -> None:
    now_ms = parse_iso("1970-01-23T00:00")
    assert first_unclosed(ALWAYS, Timeframe.parse("1w"), now_ms) == parse_iso("1970-01-19T00:00")


def due(
    calendar: MarketCalendar,
    timeframe: str,
    now: str,
    *,
    last: str | None,
    provisional: str | None = None,
) -> str:
    return iso(
        series_due(
            BarGrid(calendar, Timeframe.parse(timeframe)),
            now_ms=parse_iso(now),
            settle_ms=TWO_MINUTES,
            last_stamp=parse_iso(last) if last else None,
            provisional_from=parse_iso(provisional) if provisional else None,
        )
    )


def test_due_at_the_close_of_the_next_bar() -> None:
    assert due(ALWAYS, "1h", "2024-06-12T15:30", last="2024-06-12T14:00") == "2024-06-12T16:00:00Z"
    assert due(NEW_YORK, "1d", "2024-06-15T12:00", last="2024-06-14") == "2024-06-17T20:00:00Z"
    assert (
        due(NEW_YORK, "1h", "2024-06-12T21:00", last="2024-06-12T19:30") == "2024-06-13T14:30:00Z"
    )


def test_due_when_the_first_provisional_bar_settles() -> None:
    assert due(
        NEW_YORK, "1d", "2024-06-15T12:00", last="2024-06-14", provisional="2024-06-14"
    ) == "2024-06-17T13:30:00Z"  # fmt: skip
    assert due(
        ALWAYS, "1h", "2024-06-12T15:01", last="2024-06-12T14:00", provisional="2024-06-12T14:00"
    ) == "2024-06-12T15:02:00Z"  # fmt: skip


def test_a_bar_closes_before_the_older_one_has_settled() -> None:
    assert due(
        ALWAYS, "1m", "2024-06-12T15:01:30", last="2024-06-12T15:00", provisional="2024-06-12T15:00"
    ) == "2024-06-12T15:02:00Z"  # fmt: skip


def test_a_bar_that_has_closed_and_did_not_come_is_due_already() -> None:
    assert due(NEW_YORK, "1d", "2024-06-14T20:10", last="2024-06-13") == "2024-06-14T20:00:00Z"


def test_a_series_without_an_answer_waits_for_the_running_bar() -> None:
    assert due(NEW_YORK, "1d", "2024-06-15T12:00", last=None) == "2024-06-17T20:00:00Z"


# --- how far an answer is final --------------------------------------------------------------


HOURS = BarGrid(ALWAYS, Timeframe.parse("1h"))


def at(text: str) -> int:
    return parse_iso(f"2024-06-12T{text}")


def test_the_first_bar_that_has_not_settled() -> None:
    hours = stamps(*(f"2024-06-12T{hour:02d}:00" for hour in range(6)))
    assert settles_at(int(hours[2]), HOURS, TWO_MINUTES) == at("03:02")
    for now, late in [("03:01", "02:00"), ("03:02", "03:00"), ("00:30", "00:00")]:
        assert first_unsettled(hours, HOURS, TWO_MINUTES, at(now)) == at(late)
    assert first_unsettled(hours, HOURS, TWO_MINUTES, at("06:02")) is None
    assert first_unsettled(hours[:0], HOURS, TWO_MINUTES, at("03:01")) is None


def test_an_answer_without_a_time_of_its_own_is_final_where_newer_bars_vouch_for_it() -> None:
    days = BarGrid(ALWAYS, Timeframe.parse("1d"))
    answered = Span(parse_iso("2024-06-01"), parse_iso("2024-06-06"))
    of_days = stamps(*(f"2024-06-{day:02d}" for day in range(1, 6)))
    now = parse_iso("2024-06-20")
    dated = finality_of(answered, of_days, days, TWO_MINUTES, now, is_dated=True)
    alone = finality_of(answered, of_days, days, TWO_MINUTES, now, is_dated=False)
    assert (dated.final_before(answered), alone.final_before(answered)) == (
        answered.end,
        parse_iso("2024-06-05"),
    )
    assert dated.vouched_before >= answered.end > alone.vouched_before
    now = int(of_days[2]) + TWO_MINUTES
    early = finality_of(answered, of_days, days, TWO_MINUTES, now, is_dated=True)
    assert early.settled_before == of_days[2]
    assert early.final_before(Span(0, int(of_days[0]))) == int(of_days[0])
    none = finality_of(answered, of_days[:0], days, TWO_MINUTES, now, is_dated=False)
    assert none == (answered.end, answered.start)
    past = Span(parse_iso("2010-01-01"), parse_iso("2010-01-04"))
    old = finality_of(past, stamps("2010-01-01"), days, TWO_MINUTES, now, is_dated=False)
    assert old.vouched_before == past.end, "long past: no clock is needed to know it"
