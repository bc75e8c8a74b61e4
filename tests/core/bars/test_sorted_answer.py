"""Tests how the bars of one answer are classified: closed, forming, provisional, missing, invalid."""

from __future__ import annotations

import numpy as np
import pytest

from src.data.core.bars.sorted_answer import (
    BARS_A_HOLE,
    MOST_HOLES,
    ClassifiedAnswer,
    sorted_answer,
)
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.market.bars import Bar
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.quality import check

from .answers import (
    COIN,
    DAY,
    HOURLY,
    LATER,
    SHARE,
    bar,
    classified,
    fetched,
    hour,
    hours,
    stamps,
    table,
)

MINUTES = BarGrid(calendar_for(COIN), Timeframe.parse("1m"))
SHARE_HOURS = BarGrid(calendar_for(SHARE), Timeframe.parse("1h"))


def test_closed_provisional_and_forming_bars_are_separated() -> None:
    now = hour(5) + 30_000
    found = classified(fetched([bar(n) for n in range(6)], now), hours(0, 24))
    assert stamps(found.closed) == [0, 1, 2, 3, 4]
    assert stamps(found.forming) == [5]
    assert found.finality.settled_before == hour(4)
    assert found.answered == Span(DAY, hour(5))
    assert found.lacking == []


def test_a_bar_has_settled_exactly_at_its_settling_time() -> None:
    now = hour(5) + 2 * MINUTE_MS
    found = classified(fetched([bar(n) for n in range(5)], now), hours(0, 5))
    assert found.finality.settled_before == hour(5)


def test_a_late_closed_bar_is_unpublished_and_not_a_hole() -> None:
    now = hour(5) + 30_000
    found = classified(fetched([bar(n) for n in range(4)], now), hours(0, 24))
    assert found.unpublished == Span(hour(4), hour(5))
    assert found.answered.end == hour(4)
    assert found.holes == ()
    assert found.lacking == [found.unpublished], "another vendor may have it already"


def test_a_settled_bar_missing_from_the_answer_is_a_hole() -> None:
    found = classified(fetched([bar(0), bar(1), bar(4)]), hours(0, 6))
    assert list(found.holes) == [hours(2, 4), hours(5, 6)]


def test_a_bad_row_is_missing_but_not_a_hole_and_a_forming_row_is_not_checked() -> None:
    now = hour(3) + 30 * MINUTE_MS
    rows = [bar(0), bar(1, high=1.0), bar(2), bar(3, high=1.0)]
    found = classified(fetched(rows, now), hours(0, 24))
    assert [row.bar.stamp_ms for row in found.bad] == [hour(1)]
    assert list(found.bad_spans) == [hours(1, 2)]
    assert found.holes == ()
    assert found.lacking == [hours(1, 2)]


@pytest.mark.parametrize(("hours", "most"), [(8, MOST_HOLES), (48, 48 * 60 // BARS_A_HOLE)])
def test_holes_of_a_dense_vendor_are_listed_and_too_many_are_a_doubt(hours: int, most: int) -> None:
    bars, span = hours * 60, Span(DAY, DAY + hours * HOUR_MS)

    def minutes(lost: int) -> list[Bar]:
        return [
            bar(0, stamp_ms=DAY + m * MINUTE_MS) for m in range(bars) if m % 7 or m // 7 >= lost
        ]

    few = classified(fetched(minutes(most)), span, MINUTES)
    assert (len(few.holes), few.doubt) == (most, "")
    many = classified(fetched(minutes(most + 1)), span, MINUTES)
    assert many.holes == ()
    assert many.doubt == f"{most + 1} of {bars} expected bars did not come"


def test_an_answer_for_several_spans_has_holes_only_inside_them() -> None:
    wanted = [hours(2, 4), hours(6, 7), hours(9, 10)]
    rows = [bar(2), bar(6, high=1.0)]
    checked = check(fetched(rows).table, hours(2, 10), timeframe=HOURLY.timeframe, now_ms=LATER)
    found = sorted_answer(fetched(rows), checked, hours(2, 10), HOURLY, LATER, requested=wanted)
    assert list(found.holes) == [hours(3, 4), hours(9, 10)]
    assert found.spans == wanted
    assert found.lacking == [hours(3, 4), hours(6, 7), hours(9, 10)]


@pytest.mark.parametrize("is_in_parts", [False, True])
def test_what_is_wrong_with_a_friday_ends_with_the_answered_part(is_in_parts: bool) -> None:
    """The weekend after it, or its Sunday, may be stored from another answer."""
    days = BarGrid(calendar_for(SHARE), Timeframe.parse("1d"))
    first, second = (parse_iso(day) for day in ("2024-06-07", "2024-06-14"))
    whole = Span(parse_iso("2024-06-05"), second + 2 * DAY_MS)
    parts = [Span(s, s + 2 * DAY_MS) for s in (first, second)] if is_in_parts else []
    now = parse_iso("2024-06-30")

    def classify(*fridays: Bar) -> ClassifiedAnswer:
        others = [
            bar(0, stamp_ms=s) for s in days.opens(whole).tolist() if s not in (first, second)
        ]
        rows = [r for r in (*others, *fridays) if not parts or any(r.stamp_ms in p for p in parts)]
        answer = fetched(sorted(rows), now)
        checked = check(answer.table, whole, timeframe=days.timeframe, now_ms=now)
        return sorted_answer(answer, checked, whole, days, now, requested=parts)

    expected = [
        Span(first, first + (2 if is_in_parts else 3) * DAY_MS),
        Span(second, second + 2 * DAY_MS),
    ]
    bad = classify(bar(0, stamp_ms=first, high=1.0), bar(0, stamp_ms=second, high=1.0))
    assert list(bad.bad_spans) == expected
    closes = [(s, close) for s in (first, second) for close in (100.0, 200.0)]
    twice = classify(*(bar(0, close, stamp_ms=s) for s, close in closes))
    assert list(twice.contradicted) == expected


def test_an_off_grid_row_on_a_friday_stands_for_a_bar_only_up_to_the_end_of_the_answer() -> None:
    """New York trades until 20:00 UTC; Friday's last bar came as a row of 19:42, and not of 19:30."""
    friday = Span(parse_iso("2024-06-07"), parse_iso("2024-06-07T22:00"))
    expected = SHARE_HOURS.opens(friday).tolist()
    rows = [bar(0, stamp_ms=s) for s in (*expected[:-1], expected[-1] + 12 * MINUTE_MS)]
    checked = check(
        table(rows), friday, timeframe=SHARE_HOURS.timeframe, now_ms=LATER, grid=SHARE_HOURS
    )
    found = sorted_answer(fetched(rows), checked, friday, SHARE_HOURS, LATER)
    assert list(found.off_slots) == [Span(expected[-1], friday.end)]


def test_a_sparse_vendor_has_a_hole_only_if_a_whole_session_is_missing() -> None:
    """New York trades 13:30 to 20:00 UTC, seven bars a day."""
    week = Span(parse_iso("2024-06-03"), parse_iso("2024-06-08"))
    every = SHARE_HOURS.opens(week).tolist()
    assert len(every) == 35
    gone = {2, *range(9, 23)}  # one bar; then the end of Tuesday, Wednesday, two of Thursday
    rows = [bar(0, stamp_ms=s) for i, s in enumerate(every) if i not in gone]
    found = classified(fetched(rows, dense=False), week, SHARE_HOURS)
    assert list(found.holes) == [Span(every[9], every[23])]
    unknown = classified(fetched(rows, dense=False), week, SHARE_HOURS, "unknown")
    assert (unknown.holes, unknown.doubt) == ((), "")


@pytest.mark.parametrize(("share", "doubted"), [(0.5, False), (0.6, True)])
def test_an_answer_of_a_sparse_vendor_is_doubted_below_the_minimum_share_of_bars(
    share: float, doubted: bool
) -> None:
    day = Span(parse_iso("2024-06-03"), parse_iso("2024-06-04"))
    every = SHARE_HOURS.opens(day).tolist()
    rows = [bar(0, stamp_ms=s) for s in every[:4]]
    found = classified(fetched(rows, dense=False), day, SHARE_HOURS, least_share=share)
    assert bool(found.doubt) == doubted
    assert found.holes == ()


def test_the_earlier_of_our_clock_and_the_vendors_decides_which_bar_is_forming() -> None:
    rows = [bar(n) for n in range(6)]
    for ours, theirs in ((hour(4), hour(9)), (hour(9), hour(4))):
        answer = fetched(rows, theirs)
        checked = check(answer.table, hours(0, 6), timeframe=HOURLY.timeframe, now_ms=ours)
        found = sorted_answer(answer, checked, hours(0, 6), HOURLY, ours)
        assert stamps(found.closed) == [0, 1, 2, 3]
        assert np.array_equal(found.forming.stamps, [hour(4), hour(5)])


def test_an_unclosed_bar_outside_the_calendar_is_forming() -> None:
    saturday = parse_iso("2024-06-08T14:30")
    rows = [bar(0, stamp_ms=at) for at in (saturday - DAY_MS, saturday, saturday + 60 * MINUTE_MS)]
    answer, span = (
        fetched(rows, saturday + 75 * MINUTE_MS),
        Span(saturday - DAY_MS, saturday + DAY_MS),
    )
    checked = check(
        answer.table, span, timeframe=SHARE_HOURS.timeframe, now_ms=LATER, grid=SHARE_HOURS
    )
    found = sorted_answer(answer, checked, span, SHARE_HOURS, LATER)
    assert found.closed.stamps.tolist() == [saturday - DAY_MS, saturday]
    assert found.unexpected.tolist() == [saturday]
    assert found.forming.stamps.tolist() == [saturday + 60 * MINUTE_MS]
