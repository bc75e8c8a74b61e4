"""Limits, bans and circuits shared with the next process; a cache hit reads none of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError
from tests.vendor_server import Fault, VendorServer

from .fresh import Fresh

DAY = ("2024-06-03", "2024-06-04")


def reasons(manager: DataManager, timeframe: str = "1h", provider: str = "binance") -> str:
    """Request bars that no vendor can supply, and return the reasons."""
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv("BTCUSDT", timeframe, *DAY, provider=provider)
    return str(caught.value)


def test_a_ban_holds_for_the_next_process_until_its_end(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.ban(7200))
    reasons(make())
    vendors.heal()
    vendors.clear_log()
    clock.advance(7100)
    assert "next request possible in" in reasons(make())
    assert vendors.count() == 0
    clock.advance(100)
    assert len(make().get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance", strict=True)) == 48


def test_a_refusal_opens_one_circuit_for_all_processes_and_none_of_another_host(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.status(451))
    assert "451" in reasons(make())
    vendors.heal()
    vendors.clear_log()
    reported = reasons(make())
    assert "is paused for bars/1h at 127.0.0.1" in reported
    assert "next request possible in 15 minutes (15:16 UTC)" in reported
    assert vendors.count() == 0
    make().get_ohlcv("BTCUSDT", "4h", *DAY, provider="binance", strict=True)
    clock.advance(900)
    make().get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance", strict=True)


def test_a_vendor_that_keeps_failing_is_paused(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.lie("html"))
    for _ in range(3):
        reasons(manager)
    vendors.clear_log()
    assert "3 times in a row" in reasons(manager)
    assert vendors.count() == 0
    vendors.heal()
    clock.advance(300)
    manager.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance", strict=True)


def with_currency(name: str) -> Fault:
    """Return the fault that gives Yahoo's prices another currency."""
    put = partial(re.compile(rb'"currency":\s*"USD"').sub, f'"currency": "{name}"'.encode())
    return Fault(f"currency {name:.3}", reply=lambda reply: replace(reply, body=put(reply.body)))


def days_of(manager: DataManager, share: str, month: int = 5) -> int:
    """Request a month of daily bars from Yahoo; return their number."""
    start, end = f"2024-{month:02}-01", f"2024-{month:02}-28"
    return len(manager.get_ohlcv(share, "1d", start, end, provider="yahoo", strict=True))


@pytest.mark.parametrize(
    "fault",
    [
        with_currency("X" * 50), Fault.lie("{}"),
        Fault.lie('{"chart": {"result": [{"meta": 1}], "error": null}}'),
    ],
    ids=lambda fault: fault.name,
)  # fmt: skip
def test_answers_that_are_wrong_for_one_symbol_do_not_pause_a_vendor_for_others(
    make: Callable[[], DataManager], vendors: VendorServer, fault: Fault
) -> None:
    vendors.fault("yahoo", fault, symbol="AAPL")
    manager = make()
    for month in (1, 2, 3, 4):
        with pytest.raises(AllProvidersFailedError) as caught:
            days_of(manager, "AAPL", month)
        assert "paused" not in str(caught.value)
    assert days_of(manager, "MSFT") == days_of(make(), "NVDA") == 19


def test_a_vendor_whose_answers_are_wrong_for_three_symbols_is_paused_for_all(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("yahoo", Fault.lie("{}"))
    for share in ("AAPL", "MSFT", "AAPL", "NVDA"):  # each in another process
        with pytest.raises(AllProvidersFailedError, match="KeyError"):
            days_of(make(), share)
    vendors.clear_log()
    with pytest.raises(AllProvidersFailedError, match=r"paused for .* failed 3 times in a row"):
        days_of(make(), "SPY")
    assert vendors.count() == 0
    clock.advance(300)
    for share in ("AAPL", "AAPL", "MSFT"):  # only two symbols: undecided
        with pytest.raises(AllProvidersFailedError, match="KeyError"):
            days_of(make(), share)
    vendors.heal()
    assert days_of(make(), "SPY") == 19


def test_a_hit_touches_neither_the_database_nor_its_folder(
    manager: DataManager, rules: Path, tmp_path: Path, clock: ManualClock, fresh: Fresh
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    unused = tmp_path / "unused"
    code = f"""
import sys
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
manager = DataManager({str(tmp_path / "cache")!r}, {str(rules)!r}, clock=ManualClock({clock.now_ms()}))
assert len(manager.get_ohlcv("BTCUSDT", "1h", {DAY[0]!r}, {DAY[1]!r})) == 48
assert manager.rate_limiters["binance"].limits.per_minute == 1200
assert "sqlite3" not in sys.modules
"""
    fresh.run(code, ONETAPE_STATE_DIR=str(unused))
    assert not unused.exists()


def test_local_files_have_no_rate_limit(manager: DataManager, state_dir: Path) -> None:
    manager.rate_limiters["local"].acquire(1, 0)
    assert not state_dir.exists()
