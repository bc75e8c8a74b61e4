"""Tests bars outside the calendar: the answer does not depend on the order of requests."""

from __future__ import annotations

import itertools

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from tests.core.cache.counts import crossed

from .fixed_vendor import FixedVendor, Market, at, every, serving, shown

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

# Currencies trade from Sunday 21:00 to Friday 21:00 UTC in June; this market opens three hours early.
WEEKS = [
    *every("1h", "2024-06-02T21:00", "2024-06-07T20:00"),
    *every("1h", "2024-06-09T18:00", "2024-06-14T20:00"),
    *every("1h", "2024-06-16T18:00", "2024-06-19T20:00"),
]
EARLY = ["2024-06-09T18:00", "2024-06-09T19:00", "2024-06-09T20:00"]
FOREX = serving("forex")


def move(clock: ManualClock, to: str) -> None:
    """Let time pass."""
    clock.advance((at(to) - clock.now_ms()) / 1000)


@pytest.mark.parametrize(
    ("asked_at", "vendor"),
    crossed(
        ["2024-06-15T00:30", "2024-06-16T17:30", "2024-06-16T19:30", "2024-06-16T20:30"], FOREX
    ),
)
def test_a_request_during_a_closed_market_hides_no_bar_of_the_next_week(
    market: Market, clock: ManualClock, vendor: str, asked_at: str
) -> None:
    fixed = FixedVendor(clock, WEEKS, vendor)
    move(clock, asked_at)
    market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", "2024-06-12")
    for now in ("2024-06-16T23:30", "2024-06-17T12:30"):
        move(clock, now)
        market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", "2024-06-16T12:00")
    later = market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", "2024-06-12")
    fresh = market.manager(fixed, folder="other").get_ohlcv("NZDUSD=X", "1h", "2024-06-12")
    assert "2024-06-16T18:00" in shown(fresh)
    assert shown(later) == shown(fresh)


QUESTIONS = [
    ("2024-06-05", "2024-06-07"),
    ("2024-06-08T04:00", "2024-06-09T20:30"),
    ("2024-06-08T04:00", "2024-06-11"),
    ("2024-06-10", "2024-06-12"),
]


@pytest.mark.parametrize(("order", "vendor"), crossed(itertools.permutations(range(3)), FOREX))
def test_the_order_of_requests_does_not_change_which_early_bars_are_returned(
    market: Market, clock: ManualClock, vendor: str, order: tuple[int, ...]
) -> None:
    fixed = FixedVendor(clock, WEEKS, vendor)
    move(clock, "2024-06-18T12:30")
    for number in order:
        market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", *QUESTIONS[number])
    frame = market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", "2024-06-05", "2024-06-12")
    assert [text for text in shown(frame) if text in EARLY] == EARLY
    fixed.asked.clear()
    again = market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", "2024-06-05", "2024-06-12")
    assert shown(again) == shown(frame)
    assert fixed.asked == []


@pytest.mark.parametrize("vendor", FOREX)
@pytest.mark.parametrize("pinned_before", [False, True])
def test_a_pinned_vendor_takes_its_bars_off_the_calendar_from_the_default_lane(
    market: Market, clock: ManualClock, vendor: str, pinned_before: bool
) -> None:
    fixed = FixedVendor(clock, WEEKS, vendor)
    move(clock, "2024-06-18T12:30")
    week = ("NZDUSD=X", "1h", "2024-06-08T04:00", "2024-06-11")
    if pinned_before:
        market.manager(fixed).get_ohlcv(*week[:2], "2024-06-10", "2024-06-11", provider=vendor)
        market.manager(fixed).get_ohlcv(
            *week[:2], "2024-06-08T06:00", "2024-06-11", provider=vendor
        )
    default = market.manager(fixed).get_ohlcv(*week[:2], "2024-06-05", "2024-06-12")
    fixed.asked.clear()
    for _ in range(2):
        pinned = market.manager(fixed).get_ohlcv(*week, provider=vendor, columns=("state",))
        assert [text for text in shown(pinned) if text in EARLY] == EARLY
        assert set(pinned["state"][EARLY]) == {"suspect"}
    assert fixed.asked == []
    assert len(pinned) < len(default)


def test_a_range_in_a_closed_market_takes_at_most_one_request(
    market: Market, clock: ManualClock
) -> None:
    fixed = FixedVendor(clock, WEEKS)
    move(clock, "2024-06-18T12:30")
    market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", "2024-06-09T21:00", "2024-06-11")
    fixed.asked.clear()
    for _ in range(2):
        manager = market.manager(fixed)
        manager.get_ohlcv("NZDUSD=X", "1h", "2024-06-08T00:00", "2024-06-09T12:00", strict=True)
        manager.get_ohlcv("NZDUSD=X", "1h", "2024-06-09T15:00", "2024-06-09T16:00", strict=True)
        manager.get_ohlcv("NZDUSD=X", "1h", "2024-06-08T00:00", "2024-06-11", strict=True)
    closed = Span(at("2024-06-07T21:00"), at("2024-06-09T21:00"))
    assert fixed.asked == [closed], "the whole closed stretch is requested at once"


def test_the_coverage_of_a_closed_market_is_committed_once(
    market: Market, clock: ManualClock
) -> None:
    fixed = FixedVendor(clock, WEEKS)
    move(clock, "2024-06-15T12:30")
    manager = market.manager(fixed)
    manager.get_ohlcv("NZDUSD=X", "1h", "2024-06-12", "2024-06-13")
    generations = []
    for _ in range(3):
        frame = manager.get_ohlcv("NZDUSD=X", "1h", bars=5)
        generations.append(frame.attrs["onetape"]["generation"])
        clock.advance(60)
    assert len(set(generations[1:])) == 1


# --- futures -----------------------------------------------------------------------------------

# In winter a session of these futures runs from 23:00 to 22:00 UTC. On Thanksgiving and the day after
# the calendar closes it early; this vendor has bars up to the usual hour all the same.
EURO = [
    *every("1h", "2023-11-19T23:00", "2023-11-20T21:00"),
    *every("1h", "2023-11-20T23:00", "2023-11-21T21:00"),
    *every("1h", "2023-11-21T23:00", "2023-11-22T21:00"),
    *every("1h", "2023-11-22T23:00", "2023-11-23T21:00"),
    *every("1h", "2023-11-23T23:00", "2023-11-24T21:00"),
    *every("1h", "2023-11-26T23:00", "2023-11-27T21:00"),
]
DAYS = ["2023-11-20", "2023-11-21", "2023-11-22", "2023-11-23", "2023-11-24", "2023-11-27"]


@pytest.mark.parametrize("vendor", serving("future"))
@pytest.mark.parametrize("backwards", [False, True])
def test_the_hours_after_an_early_close_belong_to_their_date(
    market: Market, clock: ManualClock, vendor: str, backwards: bool
) -> None:
    fixed = FixedVendor(clock, EURO, vendor)
    manager = market.manager(fixed)
    found = [
        text
        for day in (reversed(DAYS) if backwards else DAYS)
        for text in shown(manager.get_ohlcv("6E=F", "1h", day, day))
    ]
    assert [at(text) for text in sorted(found)] == EURO
    whole = manager.get_ohlcv("6E=F", "1h", DAYS[0], DAYS[-1])
    assert [at(text) for text in shown(whole)] == EURO


def test_closed_hours_that_were_not_requested_are_a_gap_of_every_answer(
    manager: DataManager, clock: ManualClock
) -> None:
    clock.set(at("2024-06-05T13:45"))
    manager.get_ohlcv("AAPL", "1h", "2024-06-05T13:00", "2024-06-05T13:00")
    hour = ("2024-06-05T12:00", "2024-06-05T12:00")  # no slot of hours counted from the open
    facts = [manager.get_ohlcv("AAPL", "1h", *hour).attrs["onetape"] for _ in range(3)]
    assert [one["complete"] for one in facts] == [True] * 3
    gaps = [[(gap["start"], gap["reason"]) for gap in one["gaps"]] for one in facts]
    assert gaps == [[("2024-06-05T12:00:00Z", "market closed, not asked")]] * 3
