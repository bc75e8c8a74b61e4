"""A vendor that silently changes its basis or unit: its stored bars are not overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Reply

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


def in_pounds(factor: float) -> Fault:
    """Return an answer in the currency GBP in place of pence, with its prices multiplied."""

    def pounds(reply: Reply) -> Reply:
        body = json.loads(reply.body)
        for result in body["chart"]["result"] or []:
            result["meta"]["currency"] = "GBP"
            (quote,), (adjusted,) = (result["indicators"][name] for name in ("quote", "adjclose"))
            columns = [quote[name] for name in ("open", "high", "low", "close")]
            for column in (*columns, adjusted["adjclose"]):
                column[:] = [value and value * factor for value in column]
        return replace(reply, body=json.dumps(body).encode())

    return Fault("pounds", reply=pounds)


def test_a_share_that_its_vendor_changes_from_pence_to_pounds_stays_in_pence_without_a_gap(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    request = ("VOD.L", "1d", "2024-05-01", "2024-06-12")
    clock.set(ms("2024-06-03T22:00:00"))
    make().get_ohlcv("VOD.L", "1d", "2024-05-01", "2024-05-31", strict=True)
    vendors.fault("yahoo", in_pounds(0.01))
    clock.set(ms("2024-06-14T22:00:00"))
    frame = make().get_ohlcv(*request, strict=True)
    assert provenance(frame)["kind"]["unit"] == "GBp" and len(frame) == 29
    again = make().get_ohlcv(*request, force_refresh=True, strict=True)
    pd.testing.assert_frame_equal(again, frame, rtol=1e-12)
    vendors.heal()
    pence = make().get_ohlcv(*request, force_refresh=True, strict=True)
    pd.testing.assert_frame_equal(frame, pence, rtol=1e-12)
    assert_true(pence[:21], vendors, clock, "VOD.L", "1d", "2024-05-01", "2024-06-01", "split")


def test_prices_in_pence_that_are_named_pounds_are_not_multiplied(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-03T22:00:00"))
    good = make().get_ohlcv("VOD.L", "1d", "2024-05-01", "2024-05-31", strict=True)
    vendors.fault("yahoo", in_pounds(1.0))
    clock.set(ms("2024-06-14T22:00:00"))
    request = ("VOD.L", "1d", "2024-05-01", "2024-06-12")
    for refresh in (False, True):
        frame = make().get_ohlcv(*request, force_refresh=refresh)
        pd.testing.assert_frame_equal(frame[: len(good)], good, check_freq=False)
        is_wrong = frame["close"] > 10 * good["close"].max()
        if is_wrong.any():
            assert "grave" in str(dict(provenance(frame)))
            with pytest.raises(IncompleteDataError):
                make().get_ohlcv(*request, strict=True)
