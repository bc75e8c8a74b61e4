"""Known and unknown holidays of a calendar: their effect on gaps, and reports by ``doctor``."""

from __future__ import annotations

import warnings

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning
from src.data.jobs.doctor.health import checkup

from .fixed_vendor import FixedVendor, Market, at, every, serving, shown
from .scripted_vendor import provenance

UNKNOWN = "holidays at that time are unknown"


def whole(manager: DataManager, symbol: str, step: str, start: str, end: str) -> list[str]:
    """Return the bars of an answer that must be complete, requested twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteDataWarning)
        manager.get_ohlcv(symbol, step, start, end, strict=True)
        return shown(manager.get_ohlcv(symbol, step, start, end, strict=True))


def gaps(manager: DataManager, symbol: str, step: str) -> set[str]:
    """Return the classes of the gaps of a series; whether vendors may fill them or not."""
    return {gap.gap_class for gap in manager.gaps(symbol, step).gaps}


# Golden Week of 1995: Tokyo is on record from 1997.
MAY = ["1995-05-01", "1995-05-02", "1995-05-08", "1995-05-09", "1995-05-10"]


@pytest.mark.parametrize("vendor", serving("stock", "1d"))
def test_a_gap_in_years_of_unknown_holidays_is_reported_as_a_possible_holiday(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    manager = market.manager(FixedVendor(clock, map(at, MAY), vendor))
    asked = ("7203.T", "1d", "1995-05-01", "1995-05-10")
    for _ in range(2):  # fetched, and out of the cache
        with pytest.warns(IncompleteDataWarning, match=UNKNOWN):
            assert [day[:10] for day in shown(manager.get_ohlcv(*asked))] == MAY
        with pytest.raises(IncompleteDataError, match=UNKNOWN):
            manager.get_ohlcv(*asked, strict=True)
    inside = [g for g in manager.gaps("7203.T", "1d").gaps if g.span.start < at("1995-05-10")]
    assert inside and all(UNKNOWN in gap.evidence for gap in inside)


def test_doctor_names_calendars_that_lack_the_holidays_of_stored_bars(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(FixedVendor(clock, map(at, MAY)))
    with pytest.warns(IncompleteDataWarning):
        manager.get_ohlcv("7203.T", "1d", "1995-05-01", "1995-05-10")
    found = [c for c in checkup(market.folder / "cache", network=False) if c.topic == "calendar"]
    assert [c.sentence for c in found] == [
        "the holidays of XTKS are unknown from 1995-05-01 to 1996-12-31: "
        "every weekday counts as a session there"
    ]


# EURUSD of OANDA, Christmas of 2013: to 14:00 in New York on the 24th, from 17:00 on the 25th on.
CHRISTMAS = [
    *every("1h", "2013-12-22T22:00", "2013-12-24T18:00"),
    *every("1h", "2013-12-25T22:00", "2013-12-27T21:00"),
]


@pytest.mark.parametrize("vendor", serving("forex"))
def test_currencies_have_no_gap_on_days_with_an_early_close(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    manager = market.manager(FixedVendor(clock, CHRISTMAS, vendor, dense=True))
    found = whole(manager, "EURUSD=X", "1h", "2013-12-23", "2013-12-27")
    assert [at(text) for text in found] == CHRISTMAS
    assert gaps(manager, "EURUSD=X", "1h").isdisjoint(
        {"vendor_hole", "common_hole", "halt", "vendor_outage"}
    )


# Two sessions of the E-mini in June 2023, without the hour of maintenance between.
EMINI = [
    *every("1h", "2023-06-11T22:00", "2023-06-12T20:00"),
    *every("1h", "2023-06-12T22:00", "2023-06-13T20:00"),
]


@pytest.mark.parametrize("vendor", serving("future"))
def test_futures_have_no_gap_in_the_daily_maintenance_hour(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    manager = market.manager(FixedVendor(clock, EMINI, vendor))
    found = whole(manager, "ES=F", "1h", "2023-06-12", "2023-06-13")
    assert [at(text) for text in found] == EMINI


def test_shares_of_hong_kong_have_no_gap_on_typhoon_days(
    market: Market, clock: ManualClock
) -> None:
    traded = [f"2023-09-{day:02}" for day in (4, 5, 6, 7, 11, 12)]
    manager = market.manager(FixedVendor(clock, map(at, ["2023-08-31", *traded])))
    found = whole(manager, "0700.HK", "1d", "2023-08-31", "2023-09-12")
    assert [day[:10] for day in found] == ["2023-08-31", *traded]


# The E-mini on Wednesday 30 October 2013, whose minutes pause from 15:15 to 15:30 in Chicago.
PAUSED = [
    *every("1m", "2013-10-30T19:00", "2013-10-30T20:14"),
    *every("1m", "2013-10-30T20:30", "2013-10-30T21:14"),
]


@pytest.mark.parametrize("vendor", serving("future", "1m"))
def test_futures_of_equity_indices_have_no_gap_in_their_trading_pause(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    question = ("1m", "2013-10-30T19:00", "2013-10-30T21:30")
    found = whole(market.manager(FixedVendor(clock, PAUSED, vendor)), "ES=F", *question)
    assert [at(text) for text in found] == PAUSED
    # Gold traded then: the same minutes are missing.
    fixed = FixedVendor(clock, PAUSED, vendor, dense=True)
    with pytest.warns(IncompleteDataWarning):
        market.manager(fixed, folder="gold").get_ohlcv("GC=F", *question)


# A Wednesday of Apple: a trade now and then before 09:30 and after 16:00 in New York.
EARLY = every("1m", "2024-06-05T08:05", "2024-06-05T13:29")[::37]
DAY = every("1m", "2024-06-05T13:30", "2024-06-05T19:59")
LATE = every("1m", "2024-06-05T20:03", "2024-06-05T23:59")[::29]


@pytest.mark.parametrize("vendor", ["yahoo", "polygon", "alpaca", "alpha_vantage", "finnhub"])
def test_minutes_without_a_trade_in_extended_hours_are_not_gaps(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    clock.set(at("2024-06-07T02:00"))
    wishes = {"session": "extended", "adjustment": "raw", "strict": True}
    question = ("AAPL", "1m", "2024-06-05", "2024-06-05")
    manager = market.manager(FixedVendor(clock, [*EARLY, *DAY, *LATE], vendor))
    for _ in range(2):
        frame = manager.get_ohlcv(*question, **wishes)
        assert [at(text) for text in shown(frame)] == [*EARLY, *DAY, *LATE]
        assert (provenance(frame)["gaps"], provenance(frame)["problems"]) == ([], [])
    # A quarter of an hour of the regular session is a gap, and only that.
    fixed = FixedVendor(clock, [*EARLY, *DAY[:100], *DAY[115:], *LATE], vendor, dense=True)
    with pytest.raises(IncompleteDataError) as caught:
        market.manager(fixed, folder="lost").get_ohlcv(*question, **wishes)
    (gap,) = caught.value.frame.attrs["onetape"]["gaps"]
    assert (gap["start"], gap["end"]) == ("2024-06-05T15:10:00Z", "2024-06-05T15:25:00Z")
