"""The highest memory of what is fetched, by counted bytes: of this process's own objects and arrays."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest

from src.data import DataManager
from src.data.model.interchange import to_polars

YEAR = ("1d", "2023-01-01", "2023-12-31", 365)
MONTH = ("1m", "2023-01-01", "2023-01-31", 44_640)


@pytest.mark.parametrize(("question", "most"), [(YEAR, 900_000), (MONTH, 18_000_000)])
def test_the_highest_memory_of_a_fetch_is_bounded(
    tmp_path: Path, question: tuple[str, str, str, int], most: int
) -> None:
    timeframe, first, last, count = question
    manager = DataManager(tmp_path)
    to_polars(manager.get_ohlcv("ETHUSDT", timeframe, first, first, provider="mock"))
    gc.collect()
    tracemalloc.start()
    try:
        bars = to_polars(manager.get_ohlcv("BTCUSDT", timeframe, first, last, provider="mock"))
        highest = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bars.height == count
    assert highest < most
