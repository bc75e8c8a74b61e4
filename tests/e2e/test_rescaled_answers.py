"""A vendor that silently changes its basis or unit: its stored bars are not overwritten."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import provenance

SERIES = {
    "binance": ("BTCUSDT", "1h", "2024-06-01", "raw"),
    "yahoo": ("AAPL", "1d", "2024-03-01", "split"),
}
pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")


CASES = [*(("binance", f) for f in (100, 0.01, 0.1, 0.5, 4)), ("yahoo", 100), ("yahoo", 0.01)]


@pytest.mark.parametrize(("vendor", "factor"), CASES)
@pytest.mark.parametrize("places", [(), (3,)], ids=["all", "one"])
def test_final_bars_multiplied_by_a_factor_are_not_taken_as_a_revision(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    vendor: str, factor: float, places: tuple[int, ...],
) -> None:  # fmt: skip
    symbol, timeframe, start, basis = SERIES[vendor]
    request = (symbol, timeframe, start, "2024-06-05")
    good = make().get_ohlcv(*request, strict=True)
    vendors.fault(vendor, Fault.rescale(factor, *places))
    frame = make().get_ohlcv(*request, force_refresh=True)
    pd.testing.assert_frame_equal(frame, good)
    assert "factor" in str(dict(provenance(frame)))
    pd.testing.assert_frame_equal(make().get_ohlcv(*request), good)
    vendors.heal()
    clock.set(ms("2024-06-20"))
    frame = make().get_ohlcv(*request, force_refresh=True, strict=True)
    assert_true(frame, vendors, clock, symbol, timeframe, start, "2024-06-05T23:59", basis)


@pytest.mark.parametrize("vendor", SERIES)
def test_cached_bars_are_kept_and_rescaled_new_ones_are_rejected(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, vendor: str
) -> None:
    symbol, timeframe, start, _ = SERIES[vendor]
    good = make().get_ohlcv(symbol, timeframe, start, "2024-06-11")
    clock.set(ms("2024-06-14T15:00:00"))
    vendors.fault(vendor, Fault.rescale(0.01))
    frame = make().get_ohlcv(symbol, timeframe, start, "2024-06-13")
    pd.testing.assert_frame_equal(frame[: len(good)], good, check_freq=False)
    assert frame["close"].min() > 0.5 * good["close"].min()
