"""Validation against a second vendor and the exchange: compared as by ``verify``, and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.model.instant import parse_iso
from tests.vendor_server import Fault, Listing, VendorServer, split

SERIES = ("BTCUSDT", "1h")


@pytest.fixture
def manager(tmp_path: Path, rules: Path, clock: ManualClock) -> DataManager:
    """Return a manager that has BTCUSDT 1h cached from 2024-06-01 to 2024-06-10."""
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    manager.get_ohlcv(*SERIES, "2024-06-01", "2024-06-10")
    return manager


def test_validation_without_a_second_vendor_sends_no_request(
    manager: DataManager, vendors: VendorServer
) -> None:
    before = vendors.count()
    report = manager.validate(*SERIES)
    assert (report.requests, vendors.count()) == (0, before)
    assert "second vendor" not in {*report.checked, *report.not_checked}


def test_validate_compares_stored_bars_with_a_second_vendor(
    manager: DataManager, vendors: VendorServer
) -> None:
    before = vendors.count()
    report = manager.validate(*SERIES, level="corroborated")
    assert "second vendor" in report.checked
    assert report.requests == vendors.count() - before > 0
    # The two of the server walk differently: they contradict each other in all bars of the range.
    (finding,) = report.findings
    assert (finding.check, finding.level, finding.severity) == (
        "second vendor",
        "corroborated",
        "error",
    )
    assert finding.evidence == "conflict between binance and yahoo: 240 bars"


def test_bars_of_a_session_that_opened_the_evening_before_are_compared_as_of_its_date(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, sydney: Listing
) -> None:
    vendors.truth.act(sydney.symbol, split("2024-02-12", 4))
    clock.set(parse_iso("2024-02-09T08:00"))
    for timeframe in ("1d", "5m"):
        manager.get_ohlcv("BHP.AX", timeframe, "2024-02-05", "2024-02-09")
    clock.set(parse_iso("2024-02-11T23:50"))  # Sunday in UTC; Sydney opened on Monday at 10:00
    manager.get_ohlcv("BHP.AX", "5m", "2024-02-07", "2024-02-12")
    manager.get_actions("BHP.AX", "2024-01-01")
    report = manager.validate("BHP.AX", "5m")
    assert report.at_least("warning") == () and report.score == 1.0
    assert "beside days" in report.checked


def test_bars_that_differ_from_the_exchange_are_findings(
    manager: DataManager, vendors: VendorServer
) -> None:
    at = parse_iso("2024-06-05T07:00")
    vendors.revise("BTCUSDT", "1h", at, 1.5, parse_iso("2099-01-01"))
    report = manager.validate(*SERIES, level="authoritative")
    (finding,) = [one for one in report.findings if one.level == "authoritative"]
    assert (finding.check, finding.severity, finding.stamps.tolist()) == ("exchange", "error", [at])
    assert finding.next_step.startswith("onetape fetch BTCUSDT 1h --start 2024-06-05T07:00:00")


def test_a_failed_comparison_is_listed_as_not_checked(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.status(500))
    vendors.fault("binance", Fault.status(500))
    report = manager.validate(*SERIES, level="authoritative", timeout=5)
    assert {"second vendor", "exchange"} <= set(report.not_checked)
    assert report.findings == ()
