"""Ranges written as periods, through the whole library and on the command line."""

from __future__ import annotations

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import iso
from src.data.data_manager import DataManager
from src.data.errors import BadRangeError


def test_a_period_selects_the_same_range_for_bars_plans_and_batches(
    manager: DataManager, clock: ManualClock
) -> None:
    today = iso(clock.now_ms())[:10]
    bars = manager.get_ohlcv("BTCUSDT", "1d", period="5d")
    assert list(bars.index) == list(manager.get_ohlcv("BTCUSDT", "1d", "-5d", today).index)
    assert len(bars) == 5
    assert manager.plan("BTCUSDT", "1d", period="5d").requests == 0
    batch = manager.get_ohlcv_batch(["BTCUSDT", "ETHUSDT"], "daily", period="5d")
    assert [len(frame) for frame in batch.values()] == [5, 5]


def test_a_period_and_a_start_exclude_each_other(manager: DataManager) -> None:
    with pytest.raises(BadRangeError, match="start 2024 and period 1y cannot be used together"):
        manager.get_ohlcv("BTCUSDT", "1d", "2024", period="1y")
    with pytest.raises(
        BadRangeError, match="a batch: start 2024 and period 1y cannot be used together"
    ):
        manager.get_ohlcv_batch(["BTCUSDT"], "1d", "2024", period="1y")
    with pytest.raises(
        BadRangeError, match=r"^a plot: start 2024 and period 1y cannot be used together"
    ):
        manager.plot(["BTCUSDT", "ETHUSDT"], "1d", "2024", period="1y")
