"""Vendors of one country's shares: excluded for those of another before any request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import NoProviderError
from tests.vendor_server import VendorServer
from tests.vendor_server.keyed import KEY

from .scripted_vendor import provenance

KEYS = {
    "tiingo": ["TIINGO_API_KEY"],
    "polygon": ["POLYGON_API_KEY"],
    "alpaca": ["ALPACA_API_KEY", "ALPACA_SECRET_KEY"],
    "yahoo": [],
}
AMERICAN = ("tiingo", "polygon", "alpaca")
Make = Callable[..., DataManager]


@pytest.fixture
def managers(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Make:
    """Return a maker of managers that have all the keys, and ask these vendors in this order."""
    for name in (name for names in KEYS.values() for name in names):
        monkeypatch.setenv(name, KEY)

    def make(first: str, *others: str) -> DataManager:
        path = tmp_path / "rules.yaml"
        backup = ", ".join(others)
        rules = ("stock_daily", "stock_intraday", "stock_weekly_monthly")
        lines = [f"{rule}: {{primary: {first}, backup: [{backup}]}}" for rule in rules]
        places = [f"  {v}: {{base_url: '{vendors.base_url(v)}', transport: http}}" for v in KEYS]
        path.write_text("\n".join([*lines, "providers:", *places]) + "\n")
        return DataManager(tmp_path / "cache", path, clock=clock)

    return make


@pytest.mark.parametrize("vendor", AMERICAN)
@pytest.mark.parametrize(
    ("symbol", "timeframe"), [("VOD.L", "5m"), ("VOD.L", "1d"), ("VOD.L", "1w"), ("0700.HK", "1w")]
)
def test_plan_and_explain_reject_a_vendor_that_serves_only_us_stocks(
    managers: Make, vendors: VendorServer, vendor: str, symbol: str, timeframe: str
) -> None:
    manager = managers(vendor, "yahoo")
    plan = manager.plan(symbol, timeframe, "2024-05-20", "2024-06-07")
    offered = [offer.vendor for part in plan.segments for offer in part.offers]
    assert set(offered) == {"yahoo"}
    shown = manager.explain(symbol, timeframe)
    assert {way.vendor for way in shown.ways} <= {"yahoo"}
    if (vendor, timeframe) != ("polygon", "1w") and (vendor, timeframe) != ("alpaca", "1w"):
        why = f"{vendor} serves US stocks, not {symbol}"
        assert plan.rejected[vendor] == why
        assert shown.unasked[vendor] == why
    assert vendors.count() == 0


@pytest.mark.parametrize("vendor", AMERICAN)
@pytest.mark.parametrize("timeframe", ["5m", "1d", "1w"])
def test_a_vendor_of_another_market_is_not_logged_as_a_fallback(
    managers: Make, vendors: VendorServer, caplog: pytest.LogCaptureFixture, vendor: str,
    timeframe: str,
) -> None:  # fmt: skip
    manager = managers(vendor, "yahoo")
    with caplog.at_level(logging.WARNING, "onetape"):
        frame = manager.get_ohlcv("VOD.L", timeframe, "2024-05-20", "2024-06-07")
    assert len(frame)
    assert provenance(frame)["vendors"] == ["yahoo"]
    assert {attempt["provider"] for attempt in provenance(frame)["attempts"]} == {"yahoo"}
    assert vendors.count(vendor) == 0
    said = [r.getMessage() for r in caplog.records if r.name.startswith("onetape")]
    assert not [text for text in said if "fallback" in text or vendor in text]


@pytest.mark.parametrize("vendor", AMERICAN)
def test_a_vendor_with_only_us_stocks_is_refused_for_a_london_symbol(
    managers: Make, vendors: VendorServer, vendor: str
) -> None:
    with pytest.raises(NoProviderError, match=r"serves US stocks, not VOD\.L") as caught:
        managers(vendor).get_ohlcv("VOD.L", "1d", "2024-05-20", "2024-06-07")
    assert "No suitable provider found" in str(caught.value)
    assert vendors.count() == 0


def test_a_range_older_than_a_vendors_history_is_not_logged_as_a_fallback(
    managers: Make, vendors: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Yahoo has minutes of sixty days: for those before, the next vendor is no stopgap."""
    manager = managers("yahoo", "tiingo")
    with caplog.at_level(logging.WARNING, "onetape"):
        frame = manager.get_ohlcv("AAPL", "5m", "2024-03-04", "2024-03-05")
    assert provenance(frame)["vendors"] == ["tiingo"]
    assert not [r for r in caplog.records if "fallback" in r.getMessage()]
    assert not [r for r in caplog.records if "could not supply" in r.getMessage()]
