"""A symbol that only one of several vendors does not know is not reported as unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.errors import AllProvidersFailedError, SymbolNotFoundError, UnknownSymbolError

from .fixed_vendor import FixedVendor, Market, at, every, serving

# The true time; the clock of the machine is two hours ahead of it.
TRUE, AHEAD = at("2024-06-05T13:45"), at("2024-06-05T15:45")
# Finnhub publishes late: of it a bar is missing, and the answer is a frame that says so.
OTHERS = [name for name in serving("crypto") if name not in ("binance", "finnhub")]


@pytest.mark.parametrize("vendor", OTHERS)
@pytest.mark.parametrize("hour", ["2024-06-05T13:00", "2024-06-05T14:00"])
def test_a_symbol_unknown_to_one_vendor_is_not_unknown_if_another_has_no_closed_bar_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str, hour: str
) -> None:
    true, ahead = ManualClock(TRUE), ManualClock(AHEAD)
    stranger = FixedVendor(true, [], "binance")
    other = FixedVendor(true, every("1h", "2024-06-05T00:00", "2024-06-05T16:00"), vendor)
    stranger.errors = [SymbolNotFoundError("no such pair", provider="binance") for _ in range(2)]
    manager = Market(tmp_path, ahead, monkeypatch).manager(stranger, other)
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv("BTC-USD", "1h", hour, "2024-06-05T14:00:01")
    assert other.asked
    assert not isinstance(caught.value, UnknownSymbolError)
    assert "binance: no such pair" in str(caught.value)
    assert f"{vendor}: " in str(caught.value)


def test_a_symbol_that_no_vendor_knows_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    fixed_vendors = [FixedVendor(clock, [], name) for name in ("binance", "yahoo")]
    for fixed in fixed_vendors:
        fixed.errors = [SymbolNotFoundError("no such coin", provider=fixed.name)] * 2
    manager = Market(tmp_path, clock, monkeypatch).manager(*fixed_vendors)
    with pytest.raises(UnknownSymbolError, match="unknown symbol 'BTCUSD'"):
        manager.get_ohlcv("BTC-USD", "1h", "2024-06-05", "2024-06-06")
