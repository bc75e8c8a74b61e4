"""Tests the sessions around a split in which a vendor's data are not trusted."""

from __future__ import annotations

from datetime import date

import pytest

from src.data.bars.validity import doubt_at, doubted, may_concern, split_windows
from src.data.calendars.calendar import calendar_for
from src.data.model.actions import Action
from src.data.model.coverage import Coverage, Covered
from src.data.model.instant import DAY_MS, day_ms, iso, parse_iso
from src.data.model.kind import Adjustment, Basis
from src.data.model.span import Span

from .answers import SHARE

NEW_YORK = calendar_for(SHARE)
EX_DATE = date(2024, 6, 12)


def split(day: date = EX_DATE) -> Action:
    return Action(day, "split", day_ms(day), numerator=4.0)


def part(fetched: str, adjustment: Adjustment = "split", state: str = "final") -> Covered:
    span = Span(parse_iso("2024-05-01"), parse_iso("2024-06-01"))
    return Covered(span, state, "yahoo", basis=Basis(adjustment), fetched_at=parse_iso(fetched))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("day", "first", "end"),
    [
        (date(2024, 6, 12), "2024-06-07T13:30:00Z", "2024-06-18T13:30:00Z"),
        (date(2024, 6, 10), "2024-06-05T13:30:00Z", "2024-06-14T13:30:00Z"),
        # Juneteenth, a Wednesday, is no session; neither is a weekend.
        (date(2024, 6, 18), "2024-06-13T13:30:00Z", "2024-06-25T13:30:00Z"),
        # An ex-date on a Saturday counts as Monday's.
        (date(2024, 6, 8), "2024-06-05T13:30:00Z", "2024-06-14T13:30:00Z"),
    ],
)
def test_the_window_is_three_sessions_on_both_sides(day: date, first: str, end: str) -> None:
    (window,) = split_windows([split(day)], NEW_YORK, [day_ms(day)])
    assert (iso(window.span.start), iso(window.span.end)) == (first, end)
    assert window.doubt.expires_ms == window.span.end


def test_splits_far_from_every_fetch_need_no_calendar() -> None:
    coverage = Coverage([part("2024-08-01")])
    assert not may_concern([split()], coverage)
    assert split_windows([split()], NEW_YORK, [parse_iso("2024-08-01")]) == []


@pytest.mark.parametrize(
    ("fetched", "is_doubted"),
    [
        ("2024-06-07T13:29:59", False), ("2024-06-07T13:30:00", True),
        ("2024-06-12T22:00:00", True), ("2024-06-18T13:29:59", True),
        ("2024-06-18T13:30:00", False),
    ],
)  # fmt: skip
def test_bars_fetched_near_a_split_are_doubted(fetched: str, is_doubted: bool) -> None:
    stored = part(fetched)
    near = split_windows([split()], NEW_YORK, [stored.fetched_at])
    marks = doubted(Coverage([stored]), near)
    assert bool(marks) == is_doubted == bool(doubt_at(near, stored.fetched_at))
    for mark in marks:
        assert (mark.state, mark.span, mark.vendor) == ("suspect", stored.span, "yahoo")
        assert mark.reason == "fetched within 3 sessions of the split of 4:1 on 2024-06-12"
        assert mark.expires == parse_iso("2024-06-18T13:30")


@pytest.mark.parametrize(
    "stored",
    [
        part("2024-06-12", "raw"), part("2024-06-12", "unknown"),
        part("2024-06-12", state="provisional"), part("2024-06-12", state="empty"),
    ],
)  # fmt: skip
def test_bars_that_no_split_can_change_are_not_doubted(stored: Covered) -> None:
    near = split_windows([split()], NEW_YORK, [stored.fetched_at])
    assert doubted(Coverage([stored]), near) == []
    assert not may_concern([split()], Coverage([stored]))


def test_the_doubt_of_two_splits_expires_at_the_later_of_both_times() -> None:
    at = parse_iso("2024-06-12T15:00")
    near = split_windows([split(), split(date(2024, 6, 14))], NEW_YORK, [at])
    found = doubt_at(near, at)
    assert found is not None
    assert found.expires_ms == max(window.span.end for window in near)
    assert found.expires_ms - at > 5 * DAY_MS
