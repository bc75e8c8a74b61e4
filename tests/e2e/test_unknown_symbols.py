"""Unknown symbols: requested once by all processes, and again after a while."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataWarning,
    SymbolNotFoundError,
)
from src.data.jobs.doctor.health import checkup
from tests.vendor_server import Fault, VendorServer

DAYS = ("ZZZZQ", "1d", "2024-06-03", "2024-06-05")
BINANCE = ("BTCUSDT", "1h", "2024-06-03", "2024-06-04")


def refused(manager: DataManager, *asked: str, **how: str) -> AllProvidersFailedError:
    """Ask in vain and return the error."""
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv(*asked, **how)  # type: ignore[arg-type]
    return caught.value


def test_an_unknown_symbol_is_requested_once_by_all_processes_with_the_same_error(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    first = refused(make(), *DAYS)
    assert vendors.count("yahoo") == 1
    clock.advance(60)
    for manager in (make(), make()):
        error = refused(manager, *DAYS)
        assert str(error).startswith("unknown symbol 'ZZZZQ'. All providers failed for ZZZZQ 1d")
        assert "next request in 14 minutes (15:16 UTC)" in str(error)
        attempt = error.attempts[0]
        assert isinstance(attempt.error, SymbolNotFoundError)
        assert attempt.outcome == first.attempts[0].outcome == "SymbolNotFoundError"
    refused(make(), "ZZZZQ", "1h", "2024-06-03", "2024-06-05")
    assert vendors.count("yahoo") == 1
    clock.advance(840)
    refused(make(), *DAYS)
    assert vendors.count("yahoo") == 2


def test_a_new_listing_is_found_a_quarter_of_an_hour_after_the_first_request(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.unknown_symbol())
    refused(make(), *BINANCE, provider="binance")
    vendors.heal()
    refused(make(), *BINANCE, provider="binance")
    clock.advance(900)
    assert len(make().get_ohlcv(*BINANCE, provider="binance", strict=True)) == 48


def test_a_forced_refresh_requests_an_unknown_symbol_at_once(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.unknown_symbol())
    refused(make(), *BINANCE, provider="binance")
    vendors.heal()
    frame = make().get_ohlcv(*BINANCE, force_refresh=True, provider="binance", strict=True)
    assert len(frame) == 48


def test_a_symbol_that_a_vendor_has_just_served_is_not_remembered_as_unknown(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv(*BINANCE, strict=True)
    vendors.fault("binance", Fault.unknown_symbol())
    refused(manager, "BTCUSDT", "1h", "2024-05-01", "2024-05-02", provider="binance")
    vendors.heal()
    later = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02", provider="binance")
    assert len(later) == 48


def test_a_dollar_pair_unknown_to_the_first_vendor_comes_from_the_next(
    manager: DataManager, vendors: VendorServer
) -> None:
    for _ in range(2):
        with pytest.warns(IncompleteDataWarning, match="substitute"):
            manager.get_ohlcv("BTC-USD", *BINANCE[1:])
    assert (vendors.count("binance"), vendors.count("yahoo")) == (1, 1)


def test_each_call_searches_for_a_missing_own_file(
    tmp_path: Path, clock: ManualClock, state_dir: Path
) -> None:
    rules = tmp_path / "own.yaml"
    (tmp_path / "bars").mkdir()
    rules.write_text(f"providers: {{local: {{folder: '{tmp_path / 'bars'}'}}}}\n")
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    asked = ("MINE", "1d", "2024-06-03", "2024-06-03")
    refused(manager, *asked, provider="local")
    rows = "timestamp,open,high,low,close,volume\n2024-06-03,1,1,1,1,1\n"
    (tmp_path / "bars" / "MINE_1d.csv").write_text(rows)
    assert len(manager.get_ohlcv(*asked, provider="local")) == 1


def test_doctor_counts_unknown_symbols_without_reporting_a_fault(
    manager: DataManager, rules: Path, tmp_path: Path, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("src.data.jobs.doctor.health.SystemClock", lambda: clock)
    for number in range(3):
        refused(manager, f"ZZZZ{'QXY'[number]}", *DAYS[1:])
    checks = checkup(tmp_path / "cache", rules, network=False)
    (check,) = [c for c in checks if "symbols skipped" in c.sentence]
    assert (check.topic, check.level) == ("yahoo", "note")
    assert check.sentence == "3 symbols skipped: unknown to this vendor"
    assert not [c for c in checks if "ZZZZ" in c.sentence], "their names are not listed"
