"""When spans without bars, and doubtful bars, are requested again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from src.data.core.bars.validity import (
    LONGEST_MS,
    Expiry,
    Hole,
    ages_from,
    beside_filled,
    by_wait,
    is_repeated,
    next_due,
    postponed,
    waited_ms,
)
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.stored.reasons import CLOSED, NO_BAR
from src.data.core.model.time.edges import edges_of
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe

from .answers import HOURLY, LATER, final, hour, hours

QUARTER = 15 * MINUTE_MS


@pytest.mark.parametrize(
    ("age_ms", "waited_ms", "wait_ms"),
    [
        # At first, a quarter of the age.
        (-HOUR_MS, 0, QUARTER), (0, 0, QUARTER), (HOUR_MS, 0, QUARTER), (2 * HOUR_MS, 0, 2 * QUARTER),
        (3 * HOUR_MS, 0, 3 * QUARTER), (DAY_MS, 0, 6 * HOUR_MS),
        (4 * DAY_MS, 0, DAY_MS), (10_000 * DAY_MS, 0, DAY_MS),
        # Then at least twice the last wait, up to 90 days.
        (HOUR_MS, QUARTER, 2 * QUARTER), (4 * DAY_MS, DAY_MS, 2 * DAY_MS),
        (DAY_MS, QUARTER, 6 * HOUR_MS), (60 * DAY_MS, 44 * DAY_MS, 88 * DAY_MS),
        (60 * DAY_MS, 46 * DAY_MS, 90 * DAY_MS), (60 * DAY_MS, 90 * DAY_MS, 90 * DAY_MS),
    ],
)  # fmt: skip
def test_a_hole_is_requested_again_later_and_later(
    age_ms: int, waited_ms: int, wait_ms: int
) -> None:
    assert next_due(Hole(LATER - age_ms, Expiry(), waited_ms), LATER) == LATER + wait_ms


def test_the_setting_limits_the_first_wait() -> None:
    end, hour_long, longer = LATER - 40 * DAY_MS, Expiry(HOUR_MS), Expiry(3 * DAY_MS)
    assert next_due(Hole(end, hour_long), LATER) == LATER + HOUR_MS
    assert next_due(Hole(end, hour_long, HOUR_MS), LATER) == LATER + 2 * HOUR_MS
    assert next_due(Hole(end, longer), LATER) == LATER + DAY_MS


def test_recent_holes_of_one_answer_are_due_together() -> None:
    ends = [LATER - 5 * DAY_MS, LATER - 4 * DAY_MS, LATER - 3 * DAY_MS, LATER - DAY_MS]
    edges = np.array([[end - HOUR_MS, end] for end in ends])
    assert ages_from(edges, LATER).tolist() == [*ends[:2], ends[3], ends[3]]
    assert len(ages_from(edges[:0], LATER)) == 0


def empty(first: int, end: int, wait_ms: int, **fields: object) -> Covered:
    entry = Covered(hours(first, end), "empty", "acme", fetched_at=LATER - wait_ms, reason=NO_BAR)
    return replace(entry, **{"expires": LATER, **fields})  # type: ignore[arg-type]


def test_only_an_answer_that_is_due_has_waited() -> None:
    entry = empty(0, 1, HOUR_MS)
    assert waited_ms(entry, LATER) == HOUR_MS
    assert waited_ms(entry, LATER - 1) == 0, "the same answer, not one at another time"
    assert waited_ms(final(hours(0, 1)), LATER) == 0
    assert postponed(entry, LATER - 1) is entry
    again = postponed(entry, LATER)
    assert (again.fetched_at, again.expires) == (LATER, LATER + HOUR_MS)


def test_a_report_about_one_part_of_a_hole_proves_nothing_about_the_rest() -> None:
    coverage = Coverage([empty(1, 2, HOUR_MS), empty(3, 5, DAY_MS), final(hours(6, 7))])
    parts, waits = by_wait(edges_of([hours(0, 4), hours(6, 7)]), coverage, LATER)
    assert [Span(*pair) for pair in parts.tolist()] == [
        hours(0, 1), hours(1, 2), hours(2, 3), hours(3, 4), hours(6, 7)
    ]  # fmt: skip
    assert waits.tolist() == [0, HOUR_MS, 0, DAY_MS, 0]
    parts, waits = by_wait(edges_of([hours(0, 4)]), coverage, LATER - 1)
    assert ([Span(*pair) for pair in parts.tolist()], waits.tolist()) == ([hours(0, 4)], [0])


def test_holes_beside_a_filled_one_are_due_at_once() -> None:
    """They are beside each other up to the next stored bar, whatever closed hours are between."""
    closed = Covered(hours(4, 6), "empty", reason=CLOSED, expires=LATER + DAY_MS)
    later = {"expires": LATER + 40 * DAY_MS}
    coverage = Coverage(
        [
            empty(0, 1, HOUR_MS, **later),
            final(hours(1, 2)),
            empty(2, 3, HOUR_MS, **later),
            empty(3, 4, DAY_MS, **later),
            closed,
            empty(6, 7, HOUR_MS, **later),
            empty(7, 8, HOUR_MS),
            # not requested: from 8 to 9
            empty(9, 10, HOUR_MS, **later),
            final(hours(10, 11)),
            empty(11, 12, HOUR_MS, **later),
        ]
    )
    due = beside_filled(coverage, np.array([hour(6)]), LATER)
    assert [entry.span for entry in due] == [hours(2, 3), hours(3, 4), hours(6, 7), hours(9, 10)]
    assert {(entry.state, entry.expires) for entry in due} == {("empty", LATER)}
    assert beside_filled(coverage, np.array([hour(1), hour(5), hour(8), hour(10)]), LATER) == []
    assert beside_filled(Coverage(), np.array([hour(1)]), LATER) == []


DAILY = BarGrid(
    calendar_for(Instrument("X", "stock", "XNYS", "America/New_York")), Timeframe.parse("1d")
)


@pytest.mark.parametrize("expiry", [Expiry(), Expiry(HOUR_MS)], ids=["a day", "an hour"])
@pytest.mark.parametrize("grid", [HOURLY, DAILY], ids=["1h", "1d"])
def test_an_answer_that_is_valid_for_longer_than_a_first_one_is_repeated(
    grid: BarGrid, expiry: Expiry
) -> None:
    span = Span(parse_iso("2024-05-14"), parse_iso("2024-05-15"))
    now = span.end + 30 * DAY_MS
    entry = Covered(span, "empty", "acme", fetched_at=now, reason=NO_BAR)
    first = replace(entry, expires=now + expiry.recent_ms)
    assert not is_repeated(first, grid, expiry)
    assert is_repeated(replace(first, expires=now + expiry.recent_ms + 1), grid, expiry)
    assert is_repeated(entry, grid, expiry), "it never expires"


def test_the_wait_for_a_span_without_expected_bars_shows_no_repetition() -> None:
    weekend = Span(parse_iso("2024-05-18"), parse_iso("2024-05-20"))
    entry = Covered(weekend, "empty", "acme", fetched_at=LATER, reason=NO_BAR)
    assert not is_repeated(replace(entry, expires=LATER + LONGEST_MS), DAILY, Expiry())
