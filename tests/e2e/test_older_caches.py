"""Caches of older tools: they answer alone, and new bars are joined only after a comparison."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import provenance


@pytest.fixture
def store_older_bars(tmp_path: Path, vendors: VendorServer) -> Callable[..., None]:
    """Return what writes bars as an older tool did."""

    def store_older_bars(
        symbol: str, timeframe: str, start: str, end: str, factor: float = 1.0, vendor: str = ""
    ) -> None:
        rows = vendors.truth.expected(symbol, timeframe, ms(start), ms(end), "split")
        assert rows
        frame = pd.DataFrame(rows, columns=["t", "open", "high", "low", "close", "volume"])
        frame.index = pd.DatetimeIndex(frame.pop("t").astype("M8[ms]"), name="timestamp")
        frame[["open", "high", "low", "close"]] *= factor
        folder = tmp_path / "cache" / "ohlcv" / symbol / timeframe
        folder.mkdir(parents=True)
        (folder / "2024.csv.gz").write_bytes(gzip.compress(frame.to_csv().encode()))
        if vendor:
            text = f'{{"data_source": "{vendor}", "last_updated": "2024-06-01T00:00:00"}}'
            (folder / "2024.metadata.json").write_text(text)

    return store_older_bars


def test_bars_of_an_older_cache_are_returned_without_a_request(
    manager: DataManager,
    vendors: VendorServer,
    clock: ManualClock,
    store_older_bars: Callable[..., None],
) -> None:
    store_older_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-11")
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-02", "2024-05-09", strict=True)
    assert vendors.count() == 0
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-05-02", "2024-05-10")


def test_older_bars_of_a_coin_equal_to_the_vendors_are_completed(
    manager: DataManager,
    vendors: VendorServer,
    clock: ManualClock,
    store_older_bars: Callable[..., None],
) -> None:
    store_older_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-11")
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-04-30", "2024-05-12", strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-04-30", "2024-05-13")
    spans = {(int(r.params["startTime"]), int(r.params["endTime"])) for r in vendors.log("binance")}
    assert all(b - a < 60 * 3_600_000 for a, b in spans), (
        "only head, tail and the bars for comparison"
    )
    assert provenance(frame)["from_cache"] > 0.6


def test_older_bars_of_a_coin_that_differ_are_fetched_again(
    manager: DataManager,
    vendors: VendorServer,
    clock: ManualClock,
    store_older_bars: Callable[..., None],
) -> None:
    store_older_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-11", factor=1.05)
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-04-30", "2024-05-12", strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-04-30", "2024-05-13")
    assert provenance(frame)["vendors"] == ["binance"]
    inner = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-03", "2024-05-04", strict=True)
    assert_true(inner, vendors, clock, "BTCUSDT", "1h", "2024-05-03", "2024-05-05")


def test_older_bars_of_a_coin_that_differ_and_cannot_be_fetched_again_raise_a_warning(
    manager: DataManager, vendors: VendorServer, store_older_bars: Callable[..., None]
) -> None:
    store_older_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-11", factor=1.05)
    vendors.fault("binance", Fault.status(503), skip=1)
    with pytest.warns(IncompleteDataWarning, match="stored by another tool"):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-05-03", "2024-05-12")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(IncompleteDataError, match="stored by another tool"):
            manager.get_ohlcv("BTCUSDT", "1h", "2024-05-03", "2024-05-12", strict=True)


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_older_bars_of_a_share_are_fetched_again_with_the_first_request(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, store_older_bars: Callable[..., None],
    factor: float, tmp_path: Path,
) -> None:  # fmt: skip
    store_older_bars("AAPL", "1d", "2024-03-01", "2024-05-01", factor=factor, vendor="yahoo")
    alone = manager.get_ohlcv("AAPL", "1d", "2024-03-04", "2024-04-26", strict=True)
    assert vendors.count() == 0
    assert len(alone) == 39
    kept = tmp_path / "cache" / "ohlcv" / "AAPL" / "1d" / "_legacy" / "2024.csv.gz"
    assert kept.exists(), "the first access converts them"
    frame = manager.get_ohlcv("AAPL", "1d", "2024-03-04", "2024-05-10", strict=True)
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-03-04", "2024-05-11", "split")
    vendors.clear_log()
    again = manager.get_ohlcv("AAPL", "1d", "2024-03-04", "2024-05-10", strict=True)
    pd.testing.assert_frame_equal(frame, again)
    assert vendors.count() == 0
