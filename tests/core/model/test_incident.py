"""Tests that consecutive sessions that a vendor lacks are reported as one incident."""

from __future__ import annotations

from src.data.core.model.stored.coverage import Condition, VendorDay
from src.data.core.model.stored.incident import incidents_of
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span


def day(
    date: str,
    up_to: str,
    condition: Condition = "missing",
    *,
    vendor: str = "yahoo",
    lacking: int = 3,
) -> VendorDay:
    span = Span(parse_iso(date), parse_iso(up_to))
    return VendorDay(vendor, "XNYS", "1d", date, span, condition, 4, lacking)


# From a Thursday over the weekend to a Tuesday.
WEEK = [
    day("2024-06-06", "2024-06-07"),
    day("2024-06-07", "2024-06-10"),
    day("2024-06-10", "2024-06-11"),
]


def test_sessions_on_end_are_one_incident() -> None:
    (one,) = incidents_of(WEEK[::-1])
    assert one.days == tuple(WEEK)
    assert str(one) == "yahoo 2024-06-06 to 2024-06-10 (3 sessions) 1d: missing for 3 of 4 symbols"
    assert one.text == str(one)


def test_the_worst_session_is_told_where_they_differ() -> None:
    (one,) = incidents_of([WEEK[0], day("2024-06-07", "2024-06-10", lacking=4)])
    assert str(one).endswith("missing for up to 4 of 4 symbols")


def test_a_single_session_is_reported_as_it_is() -> None:
    (one,) = incidents_of(WEEK[:1])
    assert str(one) == str(WEEK[0]) == "yahoo 2024-06-06 1d: missing for 3 of 4 symbols"
    assert one.text == str(one)


def test_what_differs_or_lies_apart_is_another_incident() -> None:
    days = [
        WEEK[0],
        WEEK[2],  # the Friday is there
        day("2024-06-11", "2024-06-12", "degraded"),
        day("2024-06-12", "2024-06-13", "pending"),
        day("2024-06-06", "2024-06-07", vendor="tiingo"),
    ]
    assert [len(one.days) for one in incidents_of(days)] == [1] * 5
    assert "possibly" in incidents_of(days)[-1].text


def test_a_day_comes_back_from_its_plain_values() -> None:
    assert VendorDay.from_json(WEEK[0].to_json()) == WEEK[0]
