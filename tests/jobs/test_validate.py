"""Validation against a second vendor and the exchange: compared as by ``verify``, and counted."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import HOUR_MS, day_ms, parse_iso
from src.data.core.prices.judgement.findings import score_of
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from tests.vendor_server import Fault, Listing, VendorServer, split
from tests.vendor_server.keyed import KEY

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


@pytest.fixture
def of_shares(
    tmp_path: Path, rules: Path, clock: ManualClock, vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> DataManager:  # fmt: skip
    """Return a manager whose rules for shares name Yahoo, and FMP after it."""
    monkeypatch.setenv("FMP_API_KEY", KEY)
    text = rules.read_text() + f"  fmp: {{base_url: '{vendors.base_url('fmp')}'}}\n"
    rules.write_text(f"stock_daily: {{primary: yahoo, backup: [fmp]}}\n{text}")
    return DataManager(tmp_path / "cache", rules, clock=clock)


def test_stored_bars_are_compared_with_a_second_vendor_even_if_their_own_has_corrected_them(
    of_shares: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    wrong = [day_ms(date(2024, 4, day)) for day in range(1, 4)]
    for day in wrong:
        vendors.revise("AAPL", "1d", day, 1.1, clock.now_ms() + 1000, vendor="yahoo")
    bars = of_shares.get_ohlcv("AAPL", "1d", "2024-03-18", "2024-04-12")
    clock.advance(60)  # by now, Yahoo sends the right bars
    before = vendors.count()
    report = of_shares.validate("AAPL", "1d", level="corroborated")
    assert "second vendor" in report.checked
    assert report.requests == vendors.count() - before > 0
    assert vendors.count("yahoo", path="chart") == 1, "only FMP is queried"
    (finding,) = [one for one in report.findings if one.level == "corroborated"]
    assert (finding.check, finding.severity) == ("second vendor", "error")
    assert finding.evidence == "conflict between cache (yahoo) and fmp: 3 bars"
    assert finding.stamps.tolist() == wrong and finding.as_dict()["rows"] == 3
    others = [one for one in report.findings if one.level != "corroborated"]
    assert report.score == pytest.approx(score_of(others, len(bars)) * (1 - 3 / len(bars)))


def test_a_difference_from_a_second_vendor_names_all_vendors_of_the_compared_bars(
    of_shares: DataManager, tmp_path: Path, rules: Path, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TIINGO_API_KEY", KEY)
    text = rules.read_text().replace("[fmp]", "[fmp, tiingo]")
    rules.write_text(f"{text}  tiingo: {{base_url: '{vendors.base_url('tiingo')}'}}\n")
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    first, until = day_ms(date(2024, 4, 1)), clock.now_ms() + 1000
    vendors.revise("AAPL", "1d", first, 1.1, until, vendor="yahoo")
    manager.get_ohlcv("AAPL", "1d", "2024-03-18", "2024-04-12")
    clock.advance(60)
    vendors.fault("yahoo", Fault.status(500))
    manager.get_ohlcv("AAPL", "1d", "2024-04-15", "2024-04-26")
    report = manager.validate("AAPL", "1d", level="corroborated")
    (finding,) = [one for one in report.findings if one.level == "corroborated"]
    assert finding.evidence == "conflict between cache (yahoo, fmp) and tiingo: 1 bar"


def test_a_second_vendor_that_lacks_the_first_bars_is_no_complete_check(
    of_shares: DataManager, tmp_path: Path, rules: Path, clock: ManualClock
) -> None:
    rules.write_text(f"stock_intraday: {{primary: fmp, backup: [yahoo]}}\n{rules.read_text()}")
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    clock.set(parse_iso("2024-06-13T05:00"))  # Yahoo has 59 days: from 05:00 on 2024-04-15
    manager.get_ohlcv("AAPL", "30m", "2024-04-15", "2024-04-17")
    assert "second vendor" in manager.validate("AAPL", "30m", level="corroborated").checked
    manager.get_ohlcv("AAPL", "30m", "2024-04-12", "2024-04-17")
    report = manager.validate("AAPL", "30m", level="corroborated")
    assert "second vendor" not in report.checked
    assert report.not_checked["second vendor"] == (
        "compared only in part: yahoo no longer has 30m bars before 2024-04-15"
    )


def test_bars_of_a_different_kind_are_not_compared(
    manager: DataManager, vendors: VendorServer
) -> None:
    report = manager.validate(*SERIES, level="corroborated")
    assert report.findings == ()
    why = report.not_checked["second vendor"]
    assert why.startswith("the bars from yahoo are of a different kind: ")


def test_the_exchange_is_compared_with_the_bars_of_the_validated_lane_only(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    at = parse_iso("2024-06-11T07:00")
    vendors.revise(*SERIES, at, 1.5, clock.now_ms() + 1000)
    manager.get_ohlcv(*SERIES, "2024-06-11", "2024-06-11", provider="binance")
    clock.advance(60)
    manager.get_ohlcv(*SERIES, "2024-06-11", "2024-06-11")
    by_lane = {
        lane: [
            one.check
            for one in manager.validate(*SERIES, level="authoritative", lane=lane).findings
        ]
        for lane in ("", "binance")
    }
    assert "exchange" in by_lane["binance"] and by_lane[""] == []


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


def test_scattered_missing_bars_are_not_called_bars_without_trades(
    manager: DataManager, vendors: VendorServer
) -> None:
    start, every_ms = parse_iso("2024-06-01T03:00"), 5 * HOUR_MS
    vendors.fault("binance", Fault.drop_stamps(*range(start, start + 48 * every_ms, every_ms)))
    with pytest.warns(IncompleteDataWarning, match="48 gaps"):
        manager.get_ohlcv("ETHUSDT", "1h", "2024-06-01", "2024-06-10")
    (finding,) = [f for f in manager.validate("ETHUSDT", "1h").findings if f.check == "calendar"]
    assert finding.evidence == "48 of 240 bars are missing, here and there, as in thin markets"


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
