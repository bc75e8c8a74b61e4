"""Proof that a series begins at its listing: empty pages of two vendors, or an uncontradicted date."""

from __future__ import annotations

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS
from src.data.errors import IncompleteDataError

from .fixed_vendor import FixedVendor, Market, at, days, every, serving, shown
from .scripted_vendor import gaps, provenance

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

LISTED = "2021-06-01"


def sessions(first: str, last: str) -> list[int]:
    """Return the weekdays but the holidays of New York in those months."""
    return [at(f"{day}") for day in days(first, last) if str(day) not in CLOSED]


CLOSED = {"2021-01-01", "2021-01-18", "2021-02-15", "2021-04-02", "2021-05-31", "2021-07-05"}
WHOLE = ("AAPL", "1d", "2021-01-04", "2021-08-31")


@pytest.mark.parametrize("vendor", serving("stock", "1d"))
def test_history_truncated_by_its_only_vendor_is_never_complete(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    fixed = FixedVendor(clock, sessions(LISTED, "2021-08-31"), vendor)
    for _ in range(2):
        frame = market.manager(fixed).get_ohlcv(*WHOLE)
        assert len(frame) == 65
        assert not provenance(frame)["complete"]
        assert gaps(frame)[0][2] == "the vendor has no bar"
        with pytest.raises(IncompleteDataError):
            market.manager(fixed).get_ohlcv(*WHOLE, strict=True)


@pytest.mark.parametrize("vendor", serving("stock", "1d"))
def test_a_vendor_added_later_supplies_the_early_bars_that_another_lacks(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    cut = FixedVendor(clock, sessions(LISTED, "2021-08-31"), vendor)
    market.manager(cut).get_ohlcv(*WHOLE)
    clock.advance(26 * 3600)
    market.manager(cut).get_ohlcv(*WHOLE)  # said twice now
    other = FixedVendor(clock, sessions("2021-01-04", "2021-08-31"), vendor)
    other.name = "added"
    cut.asked.clear()
    frame = market.manager(cut, other).get_ohlcv(*WHOLE, strict=True)
    assert len(frame) == 167
    assert provenance(frame)["complete"]
    # Where no vendor tells splits, all bars are asked for anew, in one basis.
    assert cut.asked == [] or not cut.capabilities.tells_actions, "its listing date is still used"
    other.asked.clear()
    assert len(market.manager(cut, other).get_ohlcv(*WHOLE, strict=True)) == 167
    assert other.asked == []


def test_a_vendor_added_later_is_requested_for_bars_after_a_reported_delisting(
    market: Market, clock: ManualClock
) -> None:
    cut = FixedVendor(clock, sessions("2021-01-04", "2021-06-01"), "tiingo")
    market.manager(cut).get_ohlcv("AAPL", "1d", "2021-01-04")
    assert len(cut.asked) == 3, "the days after the last bar and the latest days, once"
    cut.asked.clear()
    clock.advance(30 * 24 * 3600)
    market.manager(cut).get_ohlcv("AAPL", "1d", "2021-06-01")
    assert cut.asked == [], "the end is not requested again"
    other = FixedVendor(clock, sessions("2021-01-04", "2021-08-31"), "tiingo")
    other.name = "added"
    frame = market.manager(cut, other).get_ohlcv("AAPL", "1d", "2021-06-01", "2021-08-31")
    assert len(frame) == 65


def test_daily_bars_have_not_ended_if_only_the_last_one_was_cut_off(
    market: Market, clock: ManualClock
) -> None:
    vendor, cuts = FixedVendor(clock, sessions("2021-01-04", "2021-06-01"), "tiingo"), [-1]
    vendor.spoil = lambda rows: rows[: cuts.pop()] if cuts else rows
    frame = market.manager(vendor).get_ohlcv("AAPL", "1d", "2021-01-04")
    assert shown(frame)[-1] == "2021-05-28T00:00"
    assert not provenance(frame)["complete"]
    clock.advance(26 * 3600)
    frame = market.manager(vendor).get_ohlcv("AAPL", "1d", "2021-01-04", strict=True)
    assert shown(frame)[-1] == "2021-06-01T00:00"


def test_two_vendors_without_early_bars_prove_the_listing(
    market: Market, clock: ManualClock
) -> None:
    bars = sessions(LISTED, "2021-08-31")
    one, two = FixedVendor(clock, bars, "tiingo"), FixedVendor(clock, bars, "tiingo")
    two.name = "second"
    frame = market.manager(one, two).get_ohlcv(*WHOLE, strict=True)
    assert len(frame) == 65
    assert {reason for *_, reason in gaps(frame)} == {"before the first bar"}
    again = market.manager(one, two).get_ohlcv(
        "AAPL", "1d", "2020-01-02", "2020-02-28", strict=True
    )
    assert again.empty


@pytest.mark.parametrize("listed, whole", [(LISTED, True), ("2021-01-04", False)])
def test_a_listing_date_proves_the_time_before_the_date_and_no_other_hole(
    market: Market, clock: ManualClock, listed: str, whole: bool
) -> None:
    fixed = FixedVendor(clock, sessions(LISTED, "2021-08-31"), "yahoo")
    fixed.listed_ms = at(listed) + DAY_MS // 2
    assert provenance(market.manager(fixed).get_ohlcv(*WHOLE))["complete"] is whole


def test_a_listing_date_that_earlier_bars_contradict_is_not_used(
    market: Market, clock: ManualClock
) -> None:
    bars = sessions("2021-01-04", "2021-02-26") + sessions(LISTED, "2021-08-31")
    fixed = FixedVendor(clock, bars, "yahoo")
    fixed.listed_ms = at(LISTED)
    for _ in range(2):
        frame = market.manager(fixed).get_ohlcv(*WHOLE)
        assert len(frame) == len(bars)
        assert not provenance(frame)["complete"]


FOURS = every("4h", "2024-06-03T00:00", "2024-06-10T20:00")


@pytest.mark.parametrize("vendor", serving("crypto", "4h"))
@pytest.mark.parametrize("both", [False, True], ids=["alone", "two vendors"])
def test_a_bar_before_a_hole_on_the_first_day_disproves_a_listing_there(
    market: Market, clock: ManualClock, vendor: str, both: bool
) -> None:
    # The first day has a bar at 00:00, none at 04:00 and 08:00, and then all of them.
    bars = [stamp for stamp in FOURS if stamp not in FOURS[1:3]]
    fixed_vendors = [FixedVendor(clock, bars, vendor) for _ in range(1 + both)]
    for number, fixed in enumerate(fixed_vendors):
        fixed.name = f"venue{number}"
    first = market.manager(*fixed_vendors).get_ohlcv(
        "BTC-USD", "4h", "2024-06-03T04:00", "2024-06-05"
    )
    assert shown(first)[0] == "2024-06-03T12:00"
    whole = market.manager(*fixed_vendors).get_ohlcv(
        "BTC-USD", "4h", "2024-06-03T00:00", "2024-06-05"
    )
    assert shown(whole)[:2] == ["2024-06-03T00:00", "2024-06-03T12:00"]
    assert not provenance(whole)["complete"]
