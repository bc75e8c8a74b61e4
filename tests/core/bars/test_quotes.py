"""Tests the states of a market, and the state of a price that they lead to."""

from __future__ import annotations

import pytest

from src.data.core.bars.figures.quotes import market_at, session_before, state_of
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import iso, parse_iso

NEW_YORK = Instrument("AAPL", "stock", "XNYS", "America/New_York")
TOKYO = Instrument("7203.T", "stock", "XTKS", "Asia/Tokyo")
MONEY = Instrument("EURUSD=X", "forex", "FX", "America/New_York")
COIN = Instrument("BTCUSDT", "crypto")


@pytest.mark.parametrize(
    "instrument, now, is_open, newest, until",
    [
        (NEW_YORK, "2024-06-12T15:00:00", True, "2024-06-12T15:00:00", "2024-06-12T20:00:00"),
        (NEW_YORK, "2024-06-12T20:00:00", False, "2024-06-12T20:00:00", "2024-06-13T13:30:00"),
        (NEW_YORK, "2024-07-03T18:00:00", False, "2024-07-03T17:00:00", "2024-07-05T13:30:00"),
        # Tokyo's lunch, and the morning before it.
        (TOKYO, "2024-06-12T02:00:00", True, "2024-06-12T02:00:00", "2024-06-12T02:30:00"),
        (TOKYO, "2024-06-12T03:00:00", False, "2024-06-12T02:30:00", "2024-06-12T03:30:00"),
        (TOKYO, "2024-06-12T05:00:00", True, "2024-06-12T05:00:00", "2024-06-12T06:00:00"),
        # Currencies go on at 17:00 in New York, but for the weekend.
        (MONEY, "2024-06-12T20:59:00", True, "2024-06-12T20:59:00", "2024-06-12T21:00:00"),
        (MONEY, "2024-06-12T21:00:00", True, "2024-06-12T21:00:00", "2024-06-13T21:00:00"),
        (MONEY, "2024-06-15T12:00:00", False, "2024-06-14T21:00:00", "2024-06-16T21:00:00"),
        (COIN, "2024-06-15T12:00:00", True, "2024-06-15T12:00:00", "2024-06-16T00:00:00"),
    ],
)
def test_market_at_returns_whether_a_market_is_open_and_until_when(
    instrument: Instrument, now: str, is_open: bool, newest: str, until: str
) -> None:
    market = market_at(instrument, parse_iso(now))
    assert market.is_open is is_open
    assert (iso(market.newest_ms), iso(market.until_ms)) == (f"{newest}Z", f"{until}Z")


@pytest.mark.parametrize(
    "instrument, now, time, state",
    [
        (NEW_YORK, "2024-06-12T15:00:30", "2024-06-12T15:00:30", "forming"),
        (NEW_YORK, "2024-06-12T15:00:30", "2024-06-12T14:58:31", "forming"),
        (NEW_YORK, "2024-06-12T15:00:30", "2024-06-12T14:58:30", "stale"),
        (NEW_YORK, "2024-06-12T22:00:00", "2024-06-12T20:00:00", "closed"),
        (NEW_YORK, "2024-06-12T22:00:00", "2024-06-12T19:30:00", "stale"),
        (TOKYO, "2024-06-12T03:00:00", "2024-06-12T02:30:00", "closed"),
        (TOKYO, "2024-06-12T03:00:00", "2024-06-11T06:00:00", "stale"),
        (MONEY, "2024-06-15T12:00:00", "2024-06-14T21:00:00", "closed"),
    ],
)
def test_a_price_is_forming_closed_or_stale_by_its_time(
    instrument: Instrument, now: str, time: str, state: str
) -> None:
    assert state_of(parse_iso(time), market_at(instrument, parse_iso(now))) == state


@pytest.mark.parametrize(
    "instrument, time, day",
    [
        (NEW_YORK, "2024-06-10T15:00:00", "2024-06-07"),
        (NEW_YORK, "2024-06-10T20:00:00", "2024-06-07"),
        (NEW_YORK, "2024-07-05T14:00:00", "2024-07-03"),
        (MONEY, "2024-06-12T21:00:00", "2024-06-11"),
        (MONEY, "2024-06-12T21:00:01", "2024-06-12"),
        (COIN, "2024-06-12T00:00:00", "2024-06-10"),
        (COIN, "2024-06-12T00:00:01", "2024-06-11"),
    ],
)
def test_session_before_returns_the_session_before_the_one_of_a_price(
    instrument: Instrument, time: str, day: str
) -> None:
    assert str(session_before(instrument, parse_iso(time))) == day
