"""Tests the trading day of a market, with and without its calendar."""

from __future__ import annotations

from datetime import date

import pytest

from src.data.core.bars.validity import TradingDays
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import parse_iso

NEW_YORK = Instrument("AAPL", "stock", "XNYS", "America/New_York")
TOKYO = Instrument("7203.T", "stock", "XTKS", "Asia/Tokyo")
# In New York: the session that opened last, the next one; and the date on the wall there.
MOMENTS = {
    "2024-06-12T13:29:59": ("2024-06-11", "2024-06-12", "2024-06-12"),
    "2024-06-12T13:30:00": ("2024-06-12", "2024-06-13", "2024-06-12"),
    "2024-06-13T03:59:59": ("2024-06-12", "2024-06-13", "2024-06-12"),
    "2024-06-13T04:00:00": ("2024-06-12", "2024-06-13", "2024-06-13"),
    "2024-06-15T12:00:00": ("2024-06-14", "2024-06-17", "2024-06-15"),  # a Saturday
    "2024-06-19T15:00:00": ("2024-06-18", "2024-06-20", "2024-06-19"),  # a holiday
}


@pytest.mark.parametrize("at", MOMENTS)
def test_the_trading_day_is_the_day_of_the_last_open(at: str) -> None:
    days = TradingDays(ManualClock(parse_iso(at)))
    day, coming, wall = map(date.fromisoformat, MOMENTS[at])
    assert days.latest(NEW_YORK).day == wall, "without a calendar: the date at the venue"
    assert days.current(NEW_YORK)[:2] == (day, coming)
    assert days.latest(NEW_YORK)[:2] == (day, coming), "the result of a calendar is remembered"


def test_the_latest_trading_day_changes_when_the_next_session_opens() -> None:
    clock = ManualClock(parse_iso("2024-06-14T20:30:00"))
    days = TradingDays(clock)
    days.current(NEW_YORK)
    clock.set(parse_iso("2024-06-17T13:29:59"))
    assert days.latest(NEW_YORK).day == date(2024, 6, 14)
    clock.set(parse_iso("2024-06-17T13:30:00"))
    assert days.latest(NEW_YORK).day == date(2024, 6, 17)
    clock.set(parse_iso("2024-06-14T10:00:00"))
    assert days.latest(NEW_YORK).day == date(2024, 6, 14)


def test_each_market_has_its_own_trading_day() -> None:
    days = TradingDays(ManualClock(parse_iso("2024-06-12T01:00:00")))
    assert days.current(TOKYO).day == date(2024, 6, 12)
    assert days.latest(NEW_YORK).day == date(2024, 6, 11)


@pytest.mark.parametrize(
    ("at", "since"),
    [
        ("2024-06-12T13:30:00", "2024-06-12T13:30:00"),
        ("2024-06-12T21:59:59", "2024-06-12T13:30:00"),
        ("2024-06-12T22:00:00", "2024-06-12T22:00:00"),
        ("2024-06-13T13:29:59", "2024-06-12T22:00:00"),
        ("2024-07-03T18:59:59", "2024-07-03T13:30:00"),
        ("2024-07-03T19:00:00", "2024-07-03T19:00:00"),  # closes early
    ],
)
def test_a_trading_day_has_news_at_its_open_and_when_its_daily_bar_is_due(
    at: str, since: str
) -> None:
    days = TradingDays(ManualClock(parse_iso(at)))
    assert days.latest(NEW_YORK).news_ms > parse_iso(at), "not known without a calendar"
    assert days.current(NEW_YORK).news_ms == parse_iso(since)
    assert days.latest(NEW_YORK).news_ms == parse_iso(since)
