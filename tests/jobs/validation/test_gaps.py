"""Tests the classes of gaps, and the days that a vendor lacks, on made-up series."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import date
from typing import Any, get_args

import pytest

from src.data.core.bars.outline import SeriesOutline
from src.data.core.bars.validity import Expiry
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.calendars.session import Session
from src.data.core.calendars.sessions import SessionCalendar
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.stored.lifetime import Lifetime
from src.data.core.model.stored.reasons import BEFORE_FIRST, NO_BAR
from src.data.core.model.stored.stored import LoggedCommit
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.jobs.validation.gap_classes import CLASSES, FINAL_CLASSES, GapClass, classify_gaps
from src.data.jobs.validation.vendor_days import VendorDays
from src.data.show.reports.attention import HOLES
from tests.pages import ROOT

DAILY = Timeframe.parse("1d")
GRID = BarGrid(calendar_for(Instrument("X", "stock", "XNYS", "America/New_York")), DAILY)
SERIES, NOW = SeriesKey("X", DAILY), parse_iso("2024-06-12T15:00:00")
BELIEVED = NOW - DAY_MS


def test_the_classes_are_rows_of_one_table_that_the_page_explains() -> None:
    assert get_args(GapClass) == (*CLASSES,)
    page = (ROOT / "docs" / "gaps.md").read_text("utf-8")
    rows = page.partition("| class | meaning | requested again? |\n|---|---|---|\n")[2].partition(
        "\n\n"
    )[0]
    assert [row.split("`")[1] for row in rows.splitlines()] == [*CLASSES]
    assert {"closed", "before_listing", "after_delisting", "halt"} == FINAL_CLASSES
    assert {*HOLES} == {"vendor_hole", "common_hole", "vendor_outage"}
    assert not FINAL_CLASSES & {*HOLES}
    notable = {name for name, facts in CLASSES.items() if facts.is_notable}
    assert {*CLASSES} - notable == {"closed", "vendor_outage"}


def bars(first: str, last: str, vendor: str = "yahoo") -> Covered:
    return Covered(Span(parse_iso(first), parse_iso(last)), "final", vendor, fetched_at=NOW)


def none(first: str, last: str, vendors: str = "alpaca,yahoo", reason: str = NO_BAR) -> Covered:
    span = Span(parse_iso(first), parse_iso(last))
    return Covered(span, "empty", vendors, fetched_at=BELIEVED, reason=reason,
                   expires=BELIEVED + 30 * DAY_MS)  # fmt: skip


def outline(*parts: Covered) -> SeriesOutline:
    return SeriesOutline(parts, Lifetime(), GRID, Expiry())


def classes(*parts: Covered, first: str = "2024-05-01", last: str = "2024-06-01") -> list[str]:
    within = Span(parse_iso(first), parse_iso(last))
    return [gap.gap_class for gap in classify_gaps(SERIES, outline(*parts), NOW, within)]


HOLE = none("2024-05-08", "2024-05-09")
AROUND = bars("2024-05-01", "2024-05-08"), bars("2024-05-09", "2024-06-01")


def test_a_halt_needs_two_vendors_queried_twice_and_bars_on_both_sides() -> None:
    assert classes(AROUND[0], HOLE, AROUND[1]) == ["halt"]
    soon = replace(HOLE, expires=BELIEVED + 6 * HOUR_MS)
    assert classes(AROUND[0], soon, AROUND[1]) == ["common_hole"]
    assert classes(AROUND[0], replace(HOLE, vendor="yahoo"), AROUND[1]) == ["vendor_hole"]
    misfit = replace(HOLE, reason=f"{NO_BAR}; those of alpaca do not fit")
    assert classes(AROUND[0], misfit, AROUND[1]) == ["common_hole"]


@pytest.mark.parametrize("place", ["before", "behind", "alone"])
def test_a_gap_without_bars_on_both_sides_is_not_a_halt(place: str) -> None:
    parts = {
        "before": (none("2024-05-01", "2024-05-09"), AROUND[1]),
        "behind": (AROUND[0], none("2024-05-08", "2024-06-01")),
        "alone": (none("2024-05-01", "2024-06-01"),),
    }
    assert classes(*parts[place]) == ["common_hole"]


def test_a_gap_recorded_in_pieces_is_reported_once() -> None:
    second = none("2024-05-09", "2024-05-10")
    rest = bars("2024-05-10", "2024-06-01")
    (gap,) = classify_gaps(SERIES, outline(AROUND[0], HOLE, second, rest), NOW)[:1]
    assert (gap.gap_class, gap.bars) == ("halt", 2)


def test_a_series_without_coverage_has_no_gaps() -> None:
    assert classify_gaps(SERIES, outline(), NOW) == []
    future = Span(NOW, NOW + DAY_MS)
    assert classify_gaps(SERIES, outline(*AROUND), NOW, future) == []


def test_the_day_of_a_vendor_does_not_grow_with_the_number_of_series() -> None:
    counted, whole = VendorDays(NOW), outline(AROUND[0], replace(HOLE, vendor="yahoo"), AROUND[1])
    counted.add(SERIES, whole)
    tracemalloc.start()
    try:
        for _ in range(500):
            counted.add(SERIES, whole)
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()
    (day,) = counted.days
    assert str(day) == "yahoo 2024-05-08 1d: missing for 501 of 501 symbols"
    assert day.span == HOLE.span


def test_days_before_a_listing_are_not_counted_as_missing() -> None:
    counted = VendorDays(NOW)
    for _ in range(5):
        early = none("2024-05-01", "2024-05-08", "yahoo", BEFORE_FIRST)
        counted.add(SERIES, outline(early, bars("2024-05-08", "2024-06-01")))
    assert counted.days == []


@pytest.mark.parametrize("is_oldest_first", [False, True])
def test_sessions_begin_with_the_decade_of_the_oldest_series(
    is_oldest_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, asked = SessionCalendar.sessions, list[date]()

    def recorded(calendar: SessionCalendar, first: date, last: date) -> list[Session]:
        asked.append(first)
        return sessions(calendar, first, last)

    monkeypatch.setattr(SessionCalendar, "sessions", recorded)
    missing = replace(none("2013-05-08", "2013-05-09"), vendor="yahoo")
    old = outline(bars("2013-05-01", "2013-05-08"), missing, bars("2013-05-09", "2013-06-01"))
    ancient = outline(none("1999-05-01", "1999-05-08", reason=BEFORE_FIRST), *old.coverage)
    new = outline(AROUND[0], replace(HOLE, vendor="yahoo"), AROUND[1])
    counted, series = VendorDays(NOW), [new, ancient] if not is_oldest_first else [ancient, new]
    for one in [*series * 3, outline()]:
        counted.add(SERIES, one)
    assert [(day.day, day.symbols) for day in counted.days] == [
        ("2013-05-08", 3),
        ("2024-05-08", 3),
    ]
    # What was before a listing is not counted, so its sessions are not needed.
    decades = [2010] if is_oldest_first else [2020, 2010]
    assert asked == [date(year, 1, 1) for year in decades]
    (first, _), now = counted.days, VendorDays(NOW)
    for _ in range(5):
        now.add(SERIES, outline(*AROUND))
    assert not now.is_available(first)
    for _ in range(5):
        now.add(SERIES, outline(bars("2013-05-01", "2013-06-01")))
    assert now.is_available(first)


@pytest.mark.parametrize(
    "other", [{"lane": ("local.0a1b2c3d",)}, {"timeframe": Timeframe.parse("1w")}, {}], ids=str
)
def test_own_files_and_longer_bars_are_not_counted(other: dict[str, Any]) -> None:
    counted = VendorDays(NOW)
    for _ in range(5):
        lacking = outline(AROUND[0], replace(HOLE, vendor="yahoo"), AROUND[1])
        counted.add(replace(SERIES, **other), lacking)
    assert len(counted.days) == (0 if other else 1)


def logged(vendor: str, at: str, first: str, last: str, added: int = 1) -> LoggedCommit:
    span = Span(parse_iso(first), parse_iso(last))
    return LoggedCommit(1, parse_iso(at), vendor, span, added, 0, 0)


ASKED = logged("yahoo", "2024-05-10T12:00", "2024-05-01", "2024-05-31", 20)
FILLED = logged("tiingo", "2024-05-10T12:00", "2024-05-08", "2024-05-09")


@pytest.mark.parametrize(
    ("commits", "count", "now"),
    [
        ([ASKED, FILLED], 1, "2024-06-01"),
        ([ASKED, FILLED], 0, "2024-06-12"),  # longer ago than a month
        ([FILLED], 0, "2024-06-01"),  # never asked
        ([FILLED, ASKED], 0, "2024-06-01"),  # asked later: it may have found them equal
        ([ASKED, replace(FILLED, added=0)], 0, "2024-06-01"),
        ([ASKED, replace(FILLED, vendor="yahoo")], 0, "2024-06-01"),
        ([replace(ASKED, span=Span(0, FILLED.span.start)), FILLED], 0, "2024-06-01"),  # type: ignore[union-attr]
        ([replace(one, at_ms=parse_iso("2024-05-09T12:00")) for one in (ASKED, FILLED)], 0,
         "2024-06-01"),
    ],
)  # fmt: skip
def test_gaps_filled_by_another_vendor_count_if_the_log_proves_them(
    commits: list[LoggedCommit], count: int, now: str
) -> None:
    counted = VendorDays(parse_iso(now))
    for _ in range(3):
        filled = outline(AROUND[0], bars("2024-05-08", "2024-05-09", "tiingo"), AROUND[1])
        counted.add(SERIES, filled, lambda: commits)
    assert len(counted.days) == count


def test_bars_of_another_vendor_count_neither_for_nor_against_an_outage() -> None:
    counted = VendorDays(NOW)
    lacking = outline(AROUND[0], replace(HOLE, vendor="yahoo"), AROUND[1])
    for _ in range(3):
        counted.add(SERIES, lacking)
    for _ in range(5):
        other = bars("2024-05-08", "2024-05-09", "tiingo")
        counted.add(SERIES, outline(AROUND[0], other, AROUND[1]))
    assert [(day.vendor, day.lacking, day.symbols) for day in counted.days] == [("yahoo", 3, 3)]
