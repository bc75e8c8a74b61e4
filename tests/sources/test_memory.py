"""The highest memory of what is fetched, by counted bytes: of this process's own objects and arrays."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from src.data import DataManager
from src.data.bundles.metadata import BundleMetadata
from src.data.model.interchange import to_polars
from src.data.polars import PolarsDataPortal
from src.data.sources import VendorDataSource

YEAR = ("1d", "2023-01-01", "2023-12-31", 365)
DECADE = ("1d", "2013-01-01", "2022-12-31", 3652)
MONTH = ("1m", "2023-01-01", "2023-01-31", 44_640)


def highest(work: Callable[[], object]) -> int:
    """Return the highest memory of some work, above what was there."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# They took 437 KB, 947 KB and 11.6 MB when this was written: one more copy of the bars of ten years takes
# 175 KB, and one of a month of minutes 2.1 MB.
@pytest.mark.parametrize(
    ("question", "most"), [(YEAR, 500_000), (DECADE, 1_050_000), (MONTH, 12_500_000)]
)
def test_the_highest_memory_of_a_fetch_is_bounded(
    tmp_path: Path, question: tuple[str, str, str, int], most: int
) -> None:
    timeframe, first, last, count = question
    manager = DataManager(tmp_path)
    to_polars(manager.get_ohlcv("ETHUSDT", timeframe, first, first, provider="mock"))

    def fetch() -> None:
        bars = to_polars(manager.get_ohlcv("BTCUSDT", timeframe, first, last, provider="mock"))
        assert bars.height == count

    assert highest(fetch) < most


# They took 428 KB and 964 KB when this was written.
@pytest.mark.parametrize(("question", "most"), [(YEAR, 500_000), (DECADE, 1_070_000)])
def test_the_highest_memory_of_writing_days_is_bounded(
    tmp_path: Path, question: tuple[str, str, str, int], most: int
) -> None:
    source = VendorDataSource(DataManager(tmp_path / "cache"), provider="mock")
    timeframe, first, last, count = question
    source.ingest_to_bundle("warm", ["ETHUSDT"], first, last, timeframe, folder=tmp_path)

    def write() -> None:
        path = source.ingest_to_bundle("own", ["BTCUSDT"], first, last, timeframe, folder=tmp_path)
        assert BundleMetadata.load("own", Path(path).parent).row_count == count

    assert highest(write) < most


def test_the_highest_memory_of_a_window_of_twenty_bars_is_bounded(tmp_path: Path) -> None:
    """It took 463 KB when this was written, and a window of 2,000 bars 722 KB."""
    source = VendorDataSource(DataManager(tmp_path / "cache"), provider="mock")
    portal = PolarsDataPortal(data_source=source)
    portal.set_simulation_time("2023-12-29")
    ask = partial(portal.get_history_window, end_dt="2023-12-29", bar_count=20, frequency="1d",
                  field="close", data_frequency="daily")  # fmt: skip
    ask(["ETHUSDT"])

    def window() -> None:
        assert ask(["BTCUSDT"]).height == 20

    assert highest(window) < 520_000
