"""Caches of older tools: they answer alone, and new bars are joined only after a comparison."""

from __future__ import annotations

import gzip
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import provenance


@pytest.fixture
def store_older_bars(tmp_path: Path, vendors: VendorServer) -> Callable[..., None]:
    """Return what writes bars as an older tool did."""

    def store_older_bars(
        symbol: str, timeframe: str, start: str, end: str, factor: float = 1.0, vendor: str = "",
        also: Mapping[str, float] = MappingProxyType({}), layout: str = "ohlcv",
    ) -> None:  # fmt: skip
        rows = vendors.truth.expected(symbol, timeframe, ms(start), ms(end), "split")
        assert rows
        frame = pd.DataFrame(rows, columns=["t", "open", "high", "low", "close", "volume"])
        frame.index = pd.DatetimeIndex(frame.pop("t").astype("M8[ms]"), name="timestamp")
        frame[["open", "high", "low", "close"]] *= factor
        more = pd.DataFrame(dict.fromkeys(frame, also.values()), index=pd.DatetimeIndex(list(also)))
        frame = pd.concat([frame, more]).rename_axis("timestamp").sort_index(kind="stable")
        folder = tmp_path / "cache" / layout / symbol / timeframe
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


# A Saturday, a Sunday, and Good Friday.
CLOSED_DAYS = {"2024-03-09": 180.0, "2024-03-10": 181.0, "2024-03-29": 182.0}
SHARE = ("AAPL", "1d", "2024-03-04", "2024-04-26")
OUTSIDE = "3 bars outside the sessions of the market's calendar, first 2024-03-09"


def test_bars_of_an_older_cache_outside_the_sessions_are_kept_and_not_trusted(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    store_older_bars: Callable[..., None],
) -> None:  # fmt: skip
    store_older_bars("AAPL", "1d", "2024-03-01", "2024-05-01", vendor="yahoo", also=CLOSED_DAYS)
    for how in ({}, {"offline": True}, {}):
        with pytest.warns(IncompleteDataWarning, match=OUTSIDE):
            frame = make().get_ohlcv(*SHARE, **how)
        assert len(frame) == 39 + 3
        assert not provenance(frame)["complete"]
        assert [entry["stamp"][:10] for entry in provenance(frame)["flagged"]] == [*CLOSED_DAYS]
        assert {entry["reason"] for entry in provenance(frame)["flagged"]} == {
            "outside the sessions of the market's calendar"
        }
        with pytest.raises(IncompleteDataError, match=OUTSIDE):
            make().get_ohlcv(*SHARE, strict=True, **how)
    manager = make()
    with pytest.raises(IncompleteDataError, match="1 bar outside the sessions"):
        manager.get_ohlcv("AAPL", "1d", "2024-03-28", "2024-04-02", strict=True)
    assert len(manager.get_ohlcv("AAPL", "1d", "2024-04-02", "2024-04-12", strict=True)) == 9
    with pytest.raises(IncompleteDataError, match="outside the sessions"):
        manager.get_ohlcv("AAPL", "1w", "2024-03-04", "2024-03-22", strict=True, offline=True)
    assert vendors.count() == 0
    healed = manager.get_ohlcv("AAPL", "1d", "2024-03-04", "2024-05-10", strict=True)
    assert_true(healed, vendors, clock, "AAPL", "1d", "2024-03-04", "2024-05-11", "split")


@pytest.mark.parametrize("minute", [0, 30], ids=["on the hour", "from the open"])
def test_hours_of_an_older_cache_are_outside_the_sessions_only_if_no_hour_begins_then(
    manager: DataManager, vendors: VendorServer, tmp_path: Path, minute: int
) -> None:
    opens = pd.date_range(f"2024-03-07 14:{minute or 30}", periods=6, freq="h")
    if not minute:
        opens = opens.ceil("h")
    times = [*opens, *(opens + pd.Timedelta(days=1)), *(opens[:2] + pd.Timedelta(days=2)),
             *(opens + pd.Timedelta(days=4, hours=-1))]  # fmt: skip
    rows = [f"{time},180,181,179,180,{n}\n" for n, time in enumerate(times)]
    folder = tmp_path / "cache/ohlcv/AAPL/1h"
    folder.mkdir(parents=True)
    text = "timestamp,open,high,low,close,volume\n" + "".join(rows)
    (folder / "2024.csv.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(IncompleteDataError, match="2 bars outside the sessions") as caught:
        manager.get_ohlcv("AAPL", "1h", "2024-03-07", "2024-03-10", strict=True, offline=True)
    assert caught.value.frame is not None
    assert len(caught.value.frame) == 14


def test_rows_of_an_older_cache_that_contradict_each_other_are_not_trusted(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    store_older_bars: Callable[..., None],
) -> None:  # fmt: skip
    store_older_bars("AAPL", "1d", "2024-03-01", "2024-05-01", also={"2024-03-06": 7.0})
    for _ in range(2):
        with pytest.raises(
            IncompleteDataError, match="older tools contradict each other"
        ) as caught:
            make().get_ohlcv(*SHARE, strict=True, offline=True)
        assert caught.value.frame is not None
        assert len(caught.value.frame) == 39, "kept"
    assert vendors.count() == 0
    vendors.fault("yahoo", Fault.status(503))
    with pytest.raises(IncompleteDataError, match="older tools contradict each other"):
        make().get_ohlcv(*SHARE, strict=True)
    vendors.heal()
    clock.advance(3600)
    for manager in (make(), make()):
        frame = manager.get_ohlcv(*SHARE, strict=True)
        assert_true(frame, vendors, clock, *SHARE[:3], "2024-04-27", "split")


def test_rows_of_an_older_coin_that_contradict_each_other_are_fetched_again(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    store_older_bars: Callable[..., None],
) -> None:  # fmt: skip
    also = {"2024-05-03 07:00": 7.0}
    store_older_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-11", also=also)
    for manager in (make(), make()):
        frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-02", "2024-05-09", strict=True)
        assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-05-02", "2024-05-10")
    assert vendors.count("binance") == 1


def test_half_a_year_in_each_older_layout_is_read_offline(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    store_older_bars: Callable[..., None],
) -> None:  # fmt: skip
    store_older_bars("BTCUSDT", "1d", "2024-01-01", "2024-03-02")
    store_older_bars("BTCUSDT", "1d", "2024-03-01", "2024-06-01", layout="")
    for manager in (make(), make()):
        frame = manager.get_ohlcv(
            "BTCUSDT", "1d", "2024-01-01", "2024-05-29", strict=True, offline=True
        )
        assert_true(frame, vendors, clock, "BTCUSDT", "1d", "2024-01-01", "2024-05-30")
    assert vendors.count() == 0


def test_an_impossible_name_of_a_source_is_no_error(
    make: Callable[[], DataManager], store_older_bars: Callable[..., None]
) -> None:
    store_older_bars("AAPL", "1d", "2024-03-01", "2024-05-01", vendor="x" * 4000)
    for manager in (make(), make()):
        frame = manager.get_ohlcv(*SHARE, strict=True, offline=True)
        assert (len(frame), provenance(frame)["vendors"]) == (39, ["unknown"])


@pytest.mark.parametrize("is_read_before", [True, False])
def test_rows_of_an_older_cache_after_its_own_time_are_not_trusted(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, tmp_path: Path,
    store_older_bars: Callable[..., None], is_read_before: bool,
) -> None:  # fmt: skip
    """An older tool has filled up the year with the last price that it knew."""
    filled = dict.fromkeys(map(str, pd.date_range("2024-05-11", "2024-12-31")), 7.0)
    store_older_bars("BTCUSDT", "1d", "2024-04-01", "2024-05-11", vendor="binance", also=filled)
    folder = tmp_path / "cache/ohlcv/BTCUSDT/1d"
    text = '{"data_source": "binance", "last_updated": "2024-05-11T09:00:00"}'
    (folder / "2024.metadata.json").write_text(text)
    os.utime(folder / "2024.csv.gz", (ms("2024-05-11T09:00:00") / 1000,) * 2)
    if is_read_before:
        clock.set(ms("2024-05-11T12:00:00"))
        asked = ("BTCUSDT", "1d", "2024-04-10", "2024-05-10")
        assert len(make().get_ohlcv(*asked, strict=True, offline=True)) == 31
    clock.set(ms("2024-06-10T12:00:00"))
    asked = ("BTCUSDT", "1d", "2024-04-10", "2024-06-05")
    for _ in range(2):
        with pytest.raises(IncompleteDataError, match="not closed when an older tool wrote"):
            make().get_ohlcv(*asked, strict=True, offline=True)
    assert vendors.count() == 0
    for manager in (make(), make()):
        frame = manager.get_ohlcv(*asked, strict=True)
        assert_true(frame, vendors, clock, *asked[:3], "2024-06-06")
