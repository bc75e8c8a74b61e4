"""``bars=N`` with an end: the last N bars that had closed by it, from every vendor."""

from __future__ import annotations

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import HOUR_MS, MINUTE_MS
from tests.vendor_server import VendorServer

from .fixed_vendor import FixedVendor, Market, at, days, every, serving, shown


def share_hours(vendor: str, clock: ManualClock) -> FixedVendor:
    """Return a vendor with the hours of June 2017, where it counts them from."""
    fixed = FixedVendor(clock, [], vendor)
    from src.data.core.model.identity.instrument import Instrument
    from src.data.core.model.time.timeframe import Timeframe

    kind = fixed.capabilities.kind(
        Instrument("AAPL", "stock", "XNYS", "America/New_York"), Timeframe.parse("1h")
    )
    # New York trades from 13:30 to 20:00 UTC in June; on the clock the first hour is that of 13:00.
    first, last = ("13:30", "19:30") if kind.anchor == "session" else ("13:00", "19:00")
    step = "1h"
    if (
        kind.session == "extended"
    ):  # regular hours are rebuilt from the half hours of 04:00 to 20:00
        step, first, last = "30m", "08:00", "23:30"
    fixed.stamps = [
        stamp
        for day in days("2017-06-05", "2017-06-20")
        for stamp in every(step, f"{day}T{first}", f"{day}T{last}")
    ]
    return fixed


def hours_of(fixed: FixedVendor) -> list[int]:
    """Return the hours that a vendor has, or that are made of its half hours."""
    halves = {stamp for stamp in fixed.stamps if stamp + HOUR_MS // 2 in fixed.stamps}
    if not halves:
        return fixed.stamps
    opens, close = 13 * HOUR_MS + HOUR_MS // 2, 20 * HOUR_MS
    return [
        stamp
        for stamp in fixed.stamps
        if opens <= stamp % (24 * HOUR_MS) < close and stamp % HOUR_MS == HOUR_MS // 2
    ]


@pytest.mark.parametrize("vendor", serving("stock"))
@pytest.mark.parametrize(
    "end, closed_by",
    [
        ("2017-06-14T20:00", "2017-06-14T20:00"),
        ("2017-06-14T15:00", "2017-06-14T15:00"),
        ("2017-06-14T21:17", "2017-06-14T21:17"),
        ("2017-06-14", "2017-06-15T04:00"),
        ("2017-06-16", "2017-06-17T04:00"),
        ("2017-06-18T12:00", "2017-06-18T12:00"),
    ],
)
def test_the_last_bars_of_a_share_have_all_closed_by_the_end(
    market: Market, clock: ManualClock, vendor: str, end: str, closed_by: str
) -> None:
    fixed = share_hours(vendor, clock)
    frame = market.manager(fixed).get_ohlcv("AAPL", "1h", end_date=end, bars=5)
    close = 20 * HOUR_MS  # the last hour ends with the session
    closed = [
        stamp
        for stamp in hours_of(fixed)
        if min(stamp + HOUR_MS, stamp // (24 * HOUR_MS) * 24 * HOUR_MS + close) <= at(closed_by)
        and stamp % (24 * HOUR_MS) >= 13 * HOUR_MS
    ]
    stamps = [at(text) for text in shown(frame) if int(text[11:13]) >= 13]
    assert len(frame) == 5
    assert stamps == closed[-len(stamps) :]


@pytest.mark.parametrize("vendor", serving("forex"))
@pytest.mark.parametrize(
    "end", ["2024-06-07", "2024-06-07T21:30", "2024-06-08", "2024-06-09T17:30"]
)
def test_a_friday_end_returns_no_bar_of_sunday(
    market: Market, clock: ManualClock, vendor: str, end: str
) -> None:
    # The currency opens at 21:00 UTC on Sunday; this vendor has three hours before that.
    week = every("1h", "2024-06-05T00:00", "2024-06-07T20:00")
    fixed = FixedVendor(
        clock, [*week, *every("1h", "2024-06-09T18:00", "2024-06-11T20:00")], vendor
    )
    frame = market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", end_date=end, bars=3)
    assert shown(frame) == ["2024-06-07T18:00", "2024-06-07T19:00", "2024-06-07T20:00"]


def test_an_off_grid_bar_is_among_the_last_bars_only_after_its_close(
    market: Market, clock: ManualClock
) -> None:
    late = [stamp + 50 * MINUTE_MS for stamp in every("1h", "2024-06-07T00:00", "2024-06-09T00:00")]
    fixed = FixedVendor(clock, late, "yahoo")
    frame = market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", end_date="2024-06-08T03:00", bars=3)
    assert all(at(text) + HOUR_MS <= at("2024-06-08T03:00") for text in shown(frame))


@pytest.mark.parametrize("end", ["2024-06-07T20:00", "2024-06-07", "2024-06-10T15:00"])
def test_the_last_bars_equal_the_end_of_those_closed_by_the_same_time(
    manager: object, vendors: VendorServer, end: str
) -> None:
    ask = manager.get_ohlcv  # type: ignore[attr-defined]
    frame = ask("AAPL", "1h", end_date=end, bars=5)
    known = ask("AAPL", "1h", "2024-06-03", closed_by=end)
    assert shown(frame) == shown(known)[-5:]
