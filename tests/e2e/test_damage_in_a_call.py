"""Damage that a call comes upon is made good in the same call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError
from tests.vendor_server import VendorServer

from .oracle import assert_true

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "garbage": lambda data: b"\xff" * len(data),
    "a bit": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "cut": lambda data: data[: len(data) // 2],
}
SERIES = {
    "BTCUSDT 1h": ("BTCUSDT", "1h", "2024-06-01", "2024-06-10", "raw"),
    "AAPL 1d": ("AAPL", "1d", "2024-01-02", "2024-06-10", "split"),
    "two years": ("AAPL", "1d", "2023-06-01", "2024-06-10", "split"),
}
ENDS = {
    "hit": "2024-06-10",
    "append": "2024-06-11",
}


CASES = [
    *(("BTCUSDT 1h", damage, way, False) for damage in DAMAGES for way in (*ENDS, "head")),
    *((series, "garbage", way, same) for series in SERIES for same in (False, True)
      for way in (*ENDS, "head", "inside")),
]  # fmt: skip


@pytest.mark.parametrize(("series", "damage", "way", "same"), CASES)
def test_a_damaged_year_is_asked_for_again_in_the_same_call(
    tmp_path: Path, make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    series: str, damage: str, way: str, same: bool,
) -> None:  # fmt: skip
    symbol, timeframe, start, end, basis = SERIES[series]
    manager = make()
    manager.get_ohlcv(symbol, timeframe, start, end, strict=True)
    path = min((tmp_path / "cache/ohlcv").rglob("*.csv.gz"))
    damaged = DAMAGES[damage](path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    for columns in (tmp_path / "cache/_columnar").rglob("*.bars"):
        columns.unlink()
    first = {"head": f"{int(start[:4]) - 1}-12-20", "inside": "2024-06-05"}.get(way, start)
    last = ENDS.get(way, end)
    frame = (manager if same else make()).get_ohlcv(symbol, timeframe, first, last, strict=True)
    until = f"{last}T23:59:59"
    assert_true(frame, vendors, clock, symbol, timeframe, first, until, basis)


def test_offline_the_damaged_stretch_is_said_to_be_gone_from_the_cache(
    tmp_path: Path, make: Callable[[], DataManager]
) -> None:
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-10", strict=True)
    (path,) = (tmp_path / "cache/ohlcv").rglob("*.csv.gz")
    path.write_bytes(b"\xff" * 5000)
    with pytest.raises(AllProvidersFailedError, match="nothing is cached, and offline"):
        make().get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-11", offline=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_bars_lost_behind_what_a_call_was_about_are_asked_for_by_the_next_one(
    tmp_path: Path, make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    damage: str,
) -> None:  # fmt: skip
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-10", strict=True)  # nothing newer is due
    (path,) = (tmp_path / "cache/ohlcv").rglob("*.csv.gz")
    damaged = DAMAGES[damage](path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-03", strict=True)
    frame = make().get_ohlcv("BTCUSDT", "1h", "2024-06-11", "2024-06-11", strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-11", "2024-06-11T23:59:59")
