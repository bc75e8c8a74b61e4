"""Which lanes are tried after one without bars, and which of them are substitutes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from src.data.clock import ManualClock
from src.data.errors import AllProvidersFailedError, UnavailableError
from src.data.model.instant import day_ms

from .fixed_vendor import FixedVendor, Market, at, days, every
from .scripted_vendor import provenance

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

HOURS = ("BTC-USD", "1h", "2024-06-02T00:00", "2024-06-03T00:00")
SPRING = ("AAPL", "1d", "2024-04-02", "2024-05-20")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-06-05 12:00 UTC."""
    return ManualClock(at("2024-06-05T12:00:00Z"))


def of_venue(clock: ManualClock, like: str, venue: str, stamps: list[int]) -> FixedVendor:
    """Return a vendor of a coin's bars from one venue."""
    vendor = FixedVendor(clock, stamps, like)
    kinds = vendor.capabilities.kinds
    coins = {**kinds, "crypto": replace(kinds["crypto"], venue=venue)}
    vendor.capabilities = replace(vendor.capabilities, kinds=coins)
    return vendor


def down(vendor: FixedVendor, calls: int) -> None:
    vendor.errors = [UnavailableError("down", provider=vendor.name) for _ in range(calls)]


def test_a_substitute_that_is_known_to_have_no_bars_does_not_end_the_search(
    market: Market, clock: ManualClock
) -> None:
    stamps = every("1h", "2024-06-01T00:00", "2024-06-05T11:00")
    first = of_venue(clock, "yahoo", "aggregate", stamps)
    barren = of_venue(clock, "alpaca", "x", [])
    last = of_venue(clock, "polygon", "z", stamps)
    manager = market.manager(first, barren, last)
    down(first, 2)
    down(last, 1)
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv(*HOURS)
    frame = manager.get_ohlcv(*HOURS)
    assert len(frame) == 25 and list(provenance(frame)["vendors"]) == ["polygon"]
    assert len(barren.asked) == 1, "its answer is remembered"


def test_stored_prices_in_the_requested_adjustment_are_not_a_substitute(
    market: Market, clock: ManualClock
) -> None:
    stamps = [
        day_ms(day) for day in days("2024-03-01", "2024-06-04") if day_ms(day) != at("2024-03-29")
    ]
    split = FixedVendor(clock, stamps, "yahoo", actions=False, actions_apart=False)
    kinds = split.capabilities.kinds
    raw = FixedVendor(clock, stamps, "alpaca", actions=False, actions_apart=False, kinds=kinds)
    manager = market.manager(split, raw)
    frame = manager.get_ohlcv(*SPRING, adjustment="raw", strict=True)
    facts = provenance(frame)
    assert (facts["lane"], facts["substitute"], facts["complete"]) == ("1d@raw", None, True)
