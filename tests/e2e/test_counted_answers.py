"""Tests that the metrics count an answer by its actual result."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.observability.events import AttemptFailed, Event
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer

DAY = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
SHARE = ("AAPL", "1d", "2024-06-03", "2024-06-07")


def counted(manager: DataManager, vendor: str) -> tuple[dict[str, int], float | None]:
    """Return the outcomes of a vendor's requests and its success rate."""
    found: dict[str, Any] = manager.metrics()["vendors"][vendor]
    assert found["ok"] == found["outcomes"].get("ok", 0)
    assert found["requests"] == sum(found["outcomes"].values())
    return found["outcomes"], found["success_rate"]


def failures(manager: DataManager) -> list[AttemptFailed]:
    """Return the list into which failed attempts of a manager go from now on."""
    heard: list[AttemptFailed] = []

    def listen(event: Event) -> None:
        if isinstance(event, AttemptFailed):
            heard.append(event)

    manager.on_event(listen)
    return heard


@pytest.mark.parametrize(("vendor", "asked"), [("binance", DAY), ("yahoo", SHARE)])
@pytest.mark.parametrize("payload", ["html", "{", '"text"'])
def test_an_unreadable_answer_is_not_counted_as_a_success(
    manager: DataManager, vendors: VendorServer, vendor: str, asked: Any, payload: str
) -> None:
    heard = failures(manager)
    vendors.fault(vendor, Fault.lie(payload))
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv(*asked, provider=vendor)
    asked_for = vendors.count(vendor)
    assert counted(manager, vendor) == ({"ResponseFormatError": asked_for}, 0.0)
    assert [(e.outcome, e.status) for e in heard] == [("ResponseFormatError", 200)] * asked_for


def test_rows_that_cannot_be_bars_are_not_counted_as_a_success(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.bad_ohlc(*range(24)))
    with pytest.warns(IncompleteDataWarning, match="cannot be a bar"):
        manager.get_ohlcv(*DAY, provider="binance")
    assert counted(manager, "binance") == ({"QualityError": 1}, 0.0)


def test_all_pages_of_an_answer_with_only_bad_rows_count_as_failures(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.bad_ohlc(*range(1000)))
    with pytest.warns(IncompleteDataWarning, match="cannot be a bar"):
        manager.get_ohlcv("BTCUSDT", "1m", "2024-06-08", "2024-06-08", provider="binance")
    outcomes, rate = counted(manager, "binance")
    assert outcomes == {"QualityError": vendors.count("binance")}
    assert outcomes["QualityError"] > 1, "otherwise this test checks nothing"
    assert rate == 0.0


def test_the_pages_before_an_unreadable_one_count_as_successes(
    manager: DataManager, vendors: VendorServer
) -> None:
    days = ("BTCUSDT", "1m", "2024-06-08", "2024-06-09")
    manager.get_ohlcv(*days, provider="binance")
    pages = counted(manager, "binance")[0]["ok"]
    assert pages > 2, "otherwise this test checks nothing"
    vendors.fault("binance", Fault.lie("html"), times=1, skip=1)
    with pytest.warns(IncompleteDataWarning, match="fetched again"):
        manager.get_ohlcv(*days, provider="binance", force_refresh=True)
    outcomes, _ = counted(manager, "binance")
    assert outcomes["ResponseFormatError"] == 1
    assert outcomes["ok"] == pages + 1


def test_an_empty_answer_and_one_with_bars_count_as_successes(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv(*DAY, provider="binance")
    vendors.fault("binance", Fault.empty())
    with pytest.warns(IncompleteDataWarning, match="gap, first"):
        manager.get_ohlcv("ETHUSDT", *DAY[1:], provider="binance")
    assert counted(manager, "binance")[1] == 1.0


def test_unreadable_figures_are_not_counted_as_a_success(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.lie("html"))
    with pytest.raises(AllProvidersFailedError):
        manager.get_funding_rate("BTCUSDT", "2024-06-01", "2024-06-02")
    assert counted(manager, "binance") == ({"ResponseFormatError": 1}, 0.0)


def test_a_request_held_back_by_our_limiter_is_not_a_failure_of_the_vendor(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    rules = tmp_path / "two_a_day.yaml"
    rules.write_text(
        "crypto: {backup: []}\n"
        "providers:\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http,\n"
        "            rate_limits: {requests_per_day: 2, burst_size: 2}}\n"
    )
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    heard = failures(manager)
    for day in ("2024-06-01", "2024-06-02", "2024-06-03", "2024-06-04"):
        try:
            manager.get_ohlcv("BTCUSDT", "1h", day, day)
        except AllProvidersFailedError:
            pass
    sent = vendors.count("binance")
    assert 0 < sent < 4
    assert counted(manager, "binance") == ({"ok": sent}, 1.0)
    assert manager.metrics()["vendors"]["binance"]["held_back"] == 4 - sent
    assert heard == []


def test_no_counter_ever_decreases(manager: DataManager, vendors: VendorServer) -> None:
    seen: list[dict[str, int]] = []

    def look() -> None:
        vendor = manager.metrics()["vendors"].get("binance", {})
        seen.append(vendor.get("outcomes", {}))

    vendors.fault("binance", Fault.lie("html"), times=1, skip=1)
    manager.on_event(lambda _: look())
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv("BTCUSDT", "1m", "2024-06-08", "2024-06-09", provider="binance")
    look()
    assert seen[-1] == {"ok": 1, "ResponseFormatError": 1}
    for before, after in pairwise(seen):
        assert all(after.get(name, 0) >= count for name, count in before.items())
