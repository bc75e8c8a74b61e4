"""Tests which requests for splits and dividends are sent: none twice, and none that is not used."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import DataError
from tests.conformance.sheet import sheet_of
from tests.core.cache.counts import crossed
from tests.vendor_server import Fault, VendorServer, split

from .oracle import ms

# Vendors of raw prices, with the part of the path behind which they tell splits and dividends.
RAW = {"alpaca": "/v1/corporate-actions", "polygon": "/v3/reference"}
# All that tell them by requests of their own.
APART = ("alpaca", "eodhd", "finnhub", "fmp", "polygon", "tiingo")
DAYS = ("2024-05-20", "2024-06-11")
Make = Callable[..., DataManager]


@pytest.fixture
def alone(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Make:
    """Return a maker of managers whose rules know one vendor only, over one cache."""

    def make(name: str, *backup: str) -> DataManager:
        for key, value in [item for one in (name, *backup) for item in sheet_of(one).keys.items()]:
            monkeypatch.setenv(key, value)
        fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
        rules = tmp_path / "rules.yaml"
        vendors_of = f"{{primary: {name}, backup: [{', '.join(backup)}]}}"
        lines = [f"stock_intraday: {vendors_of}", f"stock_daily: {vendors_of}", "providers:"]
        for one in (name, *backup):
            url = vendors.base_url(one)
            lines.append(f"  {one}: {{base_url: '{url}', rate_limits: {fast}, transport: http}}")
        rules.write_text("\n".join(lines) + "\n")
        return DataManager(tmp_path / "cache", rules, clock=clock)

    clock.set(ms("2024-06-13T22:30:00"))
    return make


def try_it(manager: DataManager, symbol: str, timeframe: str = "1d", **wishes: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            manager.get_ohlcv(symbol, timeframe, *DAYS, **wishes)  # type: ignore[arg-type]
        except DataError:
            pass


@pytest.mark.parametrize("timeframe", ["1d", "1h"])
@pytest.mark.parametrize("is_pinned", [False, True])
@pytest.mark.parametrize("vendor", RAW)
def test_a_request_for_raw_prices_fetches_only_bars(
    vendor: str, is_pinned: bool, timeframe: str, alone: Make, vendors: VendorServer
) -> None:
    pin = {"provider": vendor} if is_pinned else {}
    frame = alone(vendor).get_ohlcv("NVDA", timeframe, *DAYS, adjustment="raw", **pin)  # type: ignore[arg-type]
    assert len(frame)
    assert vendors.count(path=RAW[vendor]) == 0


@pytest.mark.parametrize("vendor", ["fmp", "finnhub"])
def test_the_last_bar_of_the_next_night_costs_one_request_until_prices_jump_as_after_a_split(
    vendor: str, alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    manager = alone(vendor)
    manager.get_ohlcv("AAPL", "1d", *DAYS)
    vendors.clear_log()
    clock.advance(86_400)
    manager.get_ohlcv("AAPL", "1d", bars=1)
    assert vendors.count() == 1
    vendors.truth.act("AAPL", split("2024-06-17", 1, 10))
    clock.advance(3 * 86_400)
    manager.get_ohlcv("AAPL", "1d", bars=1)
    assert vendors.count(path="split")


@pytest.mark.parametrize(
    ("symbols", "backup", "status"),
    crossed([("NVDA",), ("AAPL", "NVDA")], [(), ("alpaca",), ("yahoo",)], [401, 403, 404, 451]),
)
def test_actions_that_tiingo_refuses_are_not_requested_again_for_the_next_symbol(
    status: int,
    backup: tuple[str, ...],
    symbols: tuple[str, ...],
    alone: Make,
    vendors: VendorServer,
) -> None:
    """Its splits stand beside its days: it is the same address."""
    for symbol in symbols[:-1]:  # what answered before is in doubt, not shut
        try_it(alone("tiingo", *backup), symbol)
    vendors.clear_log()
    vendors.fault("tiingo", Fault.status(status))
    try_it(alone("tiingo", *backup), symbols[-1])
    assert len(vendors.log("tiingo")) == 1


@pytest.mark.parametrize("backup", [(), ("yahoo",)])
@pytest.mark.parametrize("vendor", APART)
def test_a_refused_key_is_not_sent_again_for_the_next_symbol_or_process(
    vendor: str, backup: tuple[str, ...], alone: Make, vendors: VendorServer
) -> None:
    vendors.fault(vendor, Fault.status(401))
    for symbol in ("NVDA", "AAPL", "MSFT"):
        try_it(alone(vendor, *backup), symbol)
    assert len(vendors.log(vendor)) == 1
