"""Close times of bars, ranges that hold a number of closed bars, and time zones for Backtrader."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import from_ms, parse_iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import ConfigError
from src.data.feed.backtrader.feed import localizing
from src.data.feed.close_time import CloseTimes
from src.data.feed.sources.history import lookback_range

COIN = Instrument("BTCUSDT", "crypto")
STOCK = Instrument("AAPL", "stock", "XNYS", "America/New_York")


@pytest.mark.parametrize(
    "instrument, label, opens, closes",
    [
        (COIN, "1m", "2024-06-10T23:59:00", "2024-06-11T00:00:00"),
        (COIN, "1d", "2024-06-10T00:00:00", "2024-06-10T23:59:59"),
        (COIN, "1w", "2024-06-10T00:00:00", "2024-06-16T23:59:59"),
        (COIN, "1M", "2024-02-01T00:00:00", "2024-02-29T23:59:59"),
        (STOCK, "1h", "2024-06-10T13:30:00", "2024-06-10T14:30:00"),
        (STOCK, "1h", "2024-06-10T19:30:00", "2024-06-10T20:00:00"),  # half an hour is left
        (STOCK, "1h", "2024-07-03T16:30:00", "2024-07-03T17:00:00"),  # an early close
        (STOCK, "1d", "2024-06-10T00:00:00", "2024-06-10T23:59:59"),
        (None, "1h", "2024-06-10T19:30:00", "2024-06-10T20:30:00"),
    ],
)
def test_a_bar_is_stamped_by_its_close_as_in_backtrader(
    instrument: Instrument | None, label: str, opens: str, closes: str
) -> None:
    market = calendar_for(instrument) if instrument else None
    assert from_ms(CloseTimes(Timeframe.parse(label), market)(parse_iso(opens))) == from_ms(
        parse_iso(closes)
    )


@pytest.mark.parametrize(
    "instrument, label, start, end",
    [
        (COIN, "1h", datetime(2024, 6, 12, 12), datetime(2024, 6, 12, 14)),
        (COIN, "1d", date(2024, 6, 9), date(2024, 6, 11)),
        (STOCK, "1d", date(2024, 6, 7), date(2024, 6, 11)),  # a weekend lies between
        (STOCK, "1h", datetime(2024, 6, 11, 18, 30), datetime(2024, 6, 12, 13, 30)),  # a night
        (None, "1h", datetime(2024, 6, 12, 12, 0, 30), datetime(2024, 6, 12, 15, 0, 30)),
    ],
)
def test_the_lookback_range_contains_the_requested_number_of_closed_bars(
    instrument: Instrument | None, label: str, start: date, end: date
) -> None:
    market = calendar_for(instrument) if instrument else None
    now = parse_iso("2024-06-12T15:00:30")
    range_ = lookback_range(market, Timeframe.parse(label), 3, now)
    assert range_ == {"start_date": start, "end_date": end}


def test_a_lookback_longer_than_the_calendar_returns_an_early_start() -> None:
    market = calendar_for(STOCK)
    range_ = lookback_range(market, Timeframe.parse("1w"), 10_000, parse_iso("2024-06-12"))
    assert range_["start_date"] < date(1900, 1, 1)


@pytest.mark.parametrize("month, hours", [(1, -5), (7, -4)])
def test_a_zone_localizes_with_its_daylight_saving(month: int, hours: int) -> None:
    zone = localizing("America/New_York")
    local = zone.localize(datetime(2024, month, 2, 9, 30))  # type: ignore[union-attr]
    assert local.utcoffset().total_seconds() == hours * 3600
    assert local.astimezone(UTC).hour == 9 - hours
    assert datetime(2024, month, 2, 9 - hours, 30, tzinfo=UTC).astimezone(zone) == local
    assert (local.tzname(), bool(local.dst())) == (("EST", False) if month == 1 else ("EDT", True))


def test_the_repeated_hour_at_the_end_of_summer_time_keeps_two_offsets() -> None:
    zone = localizing(ZoneInfo("Europe/Zurich"))
    twice = [datetime(2024, 10, 27, hour, 30, tzinfo=UTC).astimezone(zone) for hour in (0, 1)]
    assert [moment.utcoffset().total_seconds() / 3600 for moment in twice] == [2, 1]  # type: ignore[union-attr]


def test_an_unknown_time_zone_is_refused() -> None:
    assert localizing(None) is None
    with pytest.raises(ConfigError, match="unknown time zone 'Mars'"):
        localizing("Mars")
