"""Processes that share a cache fetch the same bars once."""

from __future__ import annotations

import sys
from pathlib import Path

from src.data import DataManager
from src.data.core.clock import ManualClock
from tests.processes import Talker
from tests.vendor_server import Fault, VendorServer


def test_a_second_process_waits_for_the_first_and_finds_the_bars_stored(
    rules: Path, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    def ask() -> None:
        manager = DataManager(tmp_path / "cache", rules)
        print("ready", flush=True)
        sys.stdin.readline()
        print(len(manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")), flush=True)

    vendors.fault("binance", Fault.hold())
    both: list[Talker] = []
    one, two = Talker(both, ask), Talker(both, ask)
    assert [process.hear() for process in both] == ["ready\n"] * 2
    one.tell("go")
    assert vendors.wait_for("binance", 1, 20)
    two.tell("go")
    assert not vendors.wait_for("binance", 2, 0.5), "the second process asked, too"
    vendors.heal()
    assert [process.end() for process in both] == ["24\n"] * 2
    assert vendors.count("binance") == 1
