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
from src.data.core.model.answer.interchange import to_polars
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.vendors.mock.bars import MockDataDownloader
from src.data.polars import PolarsDataPortal
from src.data.research.sources.vendor_sources import VendorDataSource
from tests.core.cache.counts import FULL

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


@pytest.fixture
def made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each answer of the vendor made once: to make bars up takes more memory than to keep them."""
    answers, real = dict[object, Fetched](), MockDataDownloader.fetch

    def fetch(self: MockDataDownloader, query: FetchQuery) -> Fetched:
        key = query.instrument.symbol, query.timeframe, query.span
        if key not in answers:
            answers[key] = real(self, query)
        return answers[key]

    monkeypatch.setattr(MockDataDownloader, "fetch", fetch)


# They took 824 KB, 464 KB and 11.6 MB when this was written. One more copy of the bars of ten years takes
# 175 KB, and one of a month of minutes 2.1 MB.
FETCHED = [(DECADE, 910_000), (YEAR, 520_000), (MONTH, 12_500_000)]


@pytest.mark.parametrize(("question", "most"), FETCHED if FULL else FETCHED[:1])
def test_the_highest_memory_of_a_fetch_is_bounded(
    tmp_path: Path, made_before: None, question: tuple[str, str, str, int], most: int
) -> None:
    timeframe, first, last, count = question

    def fetch(folder: str) -> None:
        manager = DataManager(tmp_path / folder)
        bars = to_polars(manager.get_ohlcv("BTCUSDT", timeframe, first, last, provider="mock"))
        assert bars.height == count

    fetch("first")
    assert highest(partial(fetch, "second")) < most


# They took 466 KB and 919 KB when this was written.
WRITTEN = [(YEAR, 520_000), (DECADE, 1_000_000)]


@pytest.mark.parametrize(("question", "most"), WRITTEN if FULL else WRITTEN[:1])
def test_the_highest_memory_of_writing_days_is_bounded(
    tmp_path: Path, made_before: None, question: tuple[str, str, str, int], most: int
) -> None:
    timeframe, first, last, count = question

    def write(place: str) -> None:
        source = VendorDataSource(DataManager(tmp_path / f"{place} cache"), provider="mock")
        source.ingest_to_bundle("own", ["BTCUSDT"], first, last, timeframe, folder=tmp_path / place)
        assert BundleMetadata.load("own", tmp_path / place).row_count == count

    write("first")
    assert highest(partial(write, "second")) < most


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
