"""The calendars against series that markets really printed: what is expected is what came."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from src.data.core.calendars.calendar import MarketCalendar
from src.data.core.model.market.bars import Stamps
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from tests.core.calendars.market import ALWAYS, FX, NEW_YORK, shown
from tests.reference import needs_reference, reference

pytestmark = needs_reference


def printed(name: str) -> Stamps:
    with gzip.open(reference("market", f"{name}.csv.gz"), "rt") as lines:
        next(lines)
        return np.array([parse_iso(line.split(",", 1)[0]) for line in lines], dtype=np.int64)


def compared(
    name: str, calendar: MarketCalendar, timeframe: str, anchor: str = "session"
) -> tuple[list[str], list[str]]:
    """Return what is expected but did not come, and what came unexpected."""
    came = printed(name)
    whole = Span(int(came[0]), int(came[-1]) + 1)
    expected = calendar.opens(Timeframe.parse(timeframe), whole, anchor)
    return shown(np.setdiff1d(expected, came)), shown(np.setdiff1d(came, expected))


@pytest.mark.parametrize(
    "name",
    ["AAPL-1d-1998-2021-raw", "SPY-1d-1998-2021-raw", "ORCL-1d-1995-2014-yahoo",
     "GOOG-1d-2004-2013", "SPY-1d-2008-2017-yahoo"],
)  # fmt: skip
def test_every_session_of_new_york_from_1995_to_2021(name: str) -> None:
    assert compared(name, NEW_YORK, "1d") == ([], [])


def test_every_hour_of_new_york_on_the_clock_from_2013_to_2021() -> None:
    assert compared("SPY-1h-2013-2021-raw", NEW_YORK, "1h", "clock") == ([], [])


def test_nine_months_of_currency_hours() -> None:
    # Two prints came in the hour behind Friday's close.
    late = ["2017-10-06T21:00", "2017-10-20T21:00"]
    assert compared("EURUSD-1h-2017-2018", FX, "1h") == ([], late)


def test_a_month_of_currency_minutes_has_no_bar_outside_the_week() -> None:
    missing, unexpected = compared("GBPUSD-1m-2012-02-bid", FX, "1m")
    assert unexpected == []
    assert len(missing) == 124  # minutes without a tick


def test_nine_years_of_four_hours_lack_only_the_outages() -> None:
    assert compared("BTCUSD-4h-2016-2025-coinbase", ALWAYS, "4h") == (
        ["2017-02-28T20:00", "2018-08-10T04:00", "2018-08-10T08:00", "2018-08-10T12:00",
         "2025-10-25T16:00"], [],
    )  # fmt: skip
