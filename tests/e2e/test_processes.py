"""Processes that share a cache fetch the same bars once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from src.data.clock import ManualClock
from tests.vendor_server import Fault, VendorServer

ROOT = Path(__file__).parents[2]
ASK = """
import sys
from src.data import DataManager
manager = DataManager({cache!r}, {rules!r})
print("ready", flush=True)
sys.stdin.readline()
print(len(manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-01")), flush=True)
"""


def test_a_second_process_waits_for_the_first_and_finds_the_bars_stored(
    rules: Path, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    code = ASK.format(cache=str(tmp_path / "cache"), rules=str(rules))
    vendors.fault("binance", Fault.hold())
    with _started(code) as one, _started(code) as two:
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        _go(one)
        assert vendors.wait_for("binance", 1, 20)
        _go(two)
        assert not vendors.wait_for("binance", 2, 0.5), "the second process asked, too"
        vendors.heal()
        assert [process.communicate(timeout=30)[0] for process in (one, two)] == ["24\n"] * 2
    assert vendors.count("binance") == 1


def _started(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
