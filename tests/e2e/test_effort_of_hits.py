"""The cost of a cache hit in counted calls and bytes, which do not depend on the machine's load.

`make bench` measures the times. These tests fail if a change makes an answer process each bar, or a
repeated request read its files again.
"""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.cache.format import gzip_member
from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.disk import calls as disk_calls
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from tests.core.cache.counts import FULL
from tests.effort import calls_by_name, calls_of, effort_of

FETCHED = parse_iso("2024-06-03T12:00:00")
SPAN = Span(parse_iso("2024-01-01"), parse_iso("2024-02-02"))
COIN = Kind("24h", "clock", "binance", "USDT", "base")
DAY, MONTH = ("2024-01-05", "2024-01-05"), ("2024-01-01", "2024-01-31")
YEARS = (2022, 2023) if FULL else (2023,)
LAST_DAY = "12-31" if FULL else "02-28"
Make = Callable[[], DataManager]


@pytest.fixture(scope="module")
def _stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a month of minutes, to be copied."""
    folder = tmp_path_factory.mktemp("stored")

    def make() -> DataManager:
        return DataManager(folder / "cache", clock=ManualClock(FETCHED))

    stamps = np.arange(*SPAN, MINUTE_MS, dtype=np.int64)
    close = 100 + np.arange(len(stamps)) % 997 * 0.01
    table = BarTable.of_columns(stamps, [close, close + 1, close - 1, close, close])
    piece = CommitPiece(table, SPAN, "binance", FETCHED, COIN, Basis("raw"), "final")
    key = SeriesKey("BTCUSDT", Timeframe.parse("1m"))
    make().cache.store.commit(key, Commit((piece,), kind=COIN))
    return folder


@pytest.fixture
def held(_stored: Path, tmp_path: Path) -> Make:
    """Return a maker of managers on a copy of these bars, read before."""
    shutil.copytree(_stored / "cache", tmp_path / "cache")

    def make() -> DataManager:
        return DataManager(tmp_path / "cache", clock=ManualClock(FETCHED))

    settle(tmp_path / "cache", make)
    return make


def settle(cache: Path, make: Make, label: str = "1m") -> None:
    """Make all files old: young ones are looked at again and again, however long a test takes."""
    for part in ("ohlcv", "_columnar"):  # columns are made by the first answer
        for path in (cache / part).rglob("*"):
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10))
        calls(make(), *DAY, label)


def calls(manager: DataManager, start: str, end: str, label: str = "1m", **more: bool) -> int:
    """Return how many functions an answer takes, after checking that it is one."""
    frames = []
    count = calls_of(lambda: frames.append(manager.get_ohlcv("BTCUSDT", label, start, end, **more)))
    days = (parse_iso(end) - parse_iso(start)) // DAY_MS + 1
    assert [len(frame) for frame in frames] == [days * {"1m": 1440, "1h": 24}[label]]
    return count


def test_a_cache_hit_makes_a_tenth_of_the_calls_of_a_fetch(make: Make, tmp_path: Path) -> None:
    manager = make()
    calls(manager, "2024-01-03", "2024-01-03", "1h")  # loads what a fetch takes
    fetched = calls(manager, *DAY, "1h")
    settle(tmp_path / "cache", make, "1h")
    manager = make()
    again = [calls(manager, *DAY, "1h") for _ in range(3)]
    assert min(again) * 10 < fetched
    assert max(again) * 5 < fetched


def test_a_repeated_request_takes_a_fifth_of_the_calls_of_the_first(held: Make) -> None:
    manager = held()
    first = calls(manager, *DAY)
    calls(manager, *DAY)
    again = calls(manager, *DAY)
    assert again <= 180, calls_by_name(lambda: manager.get_ohlcv("BTCUSDT", "1m", *DAY))
    assert again * 5 < first


def test_a_long_answer_takes_no_function_call_per_bar(held: Make) -> None:
    more_bars = 30 * 1440
    first = [calls(held(), *asked) for asked in (DAY, MONTH)]
    assert max(first) < 6000
    assert first[1] - first[0] < more_bars / 10
    manager = held()
    calls(manager, *DAY)
    short, long = calls(manager, "2024-01-06", "2024-01-06"), calls(manager, *MONTH)
    assert long < 4000
    assert long - short < more_bars / 10


@pytest.mark.parametrize("asked", [DAY, MONTH])
def test_reading_some_bars_takes_under_a_third_of_the_memory_of_the_file(
    held: Make, tmp_path: Path, asked: tuple[str, str]
) -> None:
    (path,) = (tmp_path / "cache").rglob("BTCUSDT/1m/2024.csv.gz")
    whole = allocated(lambda: pd.read_csv(path, index_col=0, parse_dates=True))
    manager = held()
    calls(manager, "2024-01-06", "2024-01-06")
    own = allocated(lambda: manager.get_ohlcv("BTCUSDT", "1m", *asked, offline=True).sum())
    assert own < 0.3 * whole


def test_year_files_take_half_of_their_values_and_columns_count_in_the_cache_size(
    held: Make, tmp_path: Path
) -> None:
    """48 bytes a bar is what HDF5 takes for a frame in its fixed format."""
    (path,) = (tmp_path / "cache").rglob("BTCUSDT/1m/2024.csv.gz")
    values = 48 * (SPAN.end - SPAN.start) // MINUTE_MS
    assert path.stat().st_size < 0.5 * values
    columns = sum(p.stat().st_size for p in (tmp_path / "cache/_columnar").rglob("*.bars"))
    assert columns > values
    taken = held().metrics()["cache"]["bytes"]
    assert taken >= path.stat().st_size + columns


def test_year_files_of_random_prices_take_half_of_their_values(tmp_path: Path) -> None:
    """Cents, and prices and volumes that hardly repeat: what is kept is the year file."""
    random, minutes = np.random.default_rng(82), np.arange(*SPAN, MINUTE_MS, dtype=np.int64)
    steps = random.integers(-9, 10, (4, len(minutes)))
    close = (20_000 + np.cumsum(steps[0])) / 100
    high, low = close + abs(steps[1]) / 100, close - abs(steps[2]) / 100
    volume = random.integers(1, 9999, len(minutes)).astype(float)
    table = BarTable.of_columns(minutes, [close, high, low, close, volume])
    piece = CommitPiece(table, SPAN, "binance", FETCHED, COIN, Basis("raw"), "final")
    key = SeriesKey("BTCUSDT", Timeframe.parse("1m"))
    manager = DataManager(tmp_path / "cache", clock=ManualClock(FETCHED))
    manager.cache.store.commit(key, Commit((piece,), kind=COIN))
    (path,) = (tmp_path / "cache").rglob("BTCUSDT/1m/2024.csv.gz")
    values = 48 * len(minutes)
    assert 0.2 * values < path.stat().st_size < 0.35 * values


def test_a_year_read_before_is_read_only_from_its_columns(
    held: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a new process: a month takes the bytes that a day takes, as columns are mapped."""
    opened: list[str] = []
    read: list[int] = []
    opens, reads = disk_calls.opened, disk_calls.pread

    def opens_watched(path: str | Path, flags: int, mode: int) -> Any:
        opened.append("".join(Path(path).suffixes))
        return opens(path, flags, mode)

    def reads_watched(fd: int, count: int, offset: int) -> bytes:
        data = reads(fd, count, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(disk_calls, "opened", opens_watched)
    monkeypatch.setattr(disk_calls, "pread", reads_watched)
    taken = []
    for asked in (DAY, MONTH):
        opened.clear()
        read.clear()
        calls(held(), *asked)
        assert ".bars" in opened and ".csv.gz" not in opened and len(opened) <= 5
        taken.append(sum(read))
    (path,) = (tmp_path / "cache").rglob("BTCUSDT/1m/2024.csv.gz")
    assert taken[0] == taken[1] and 0 < taken[0] < path.stat().st_size / 10


def allocated(work: Callable[[], object]) -> int:
    """Return the bytes that are allocated at most while ``work`` is done."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_years_of_minutes_are_read_from_the_cache_without_a_call_per_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right to the last, from one file of columns, in a few thousand calls: 85 thousand, or a million."""

    def make() -> DataManager:
        return DataManager(tmp_path / "cache", clock=ManualClock(FETCHED))

    key = SeriesKey("BTCUSDT", Timeframe.parse("1m"))
    years = [
        Span(parse_iso(f"{year}-01-01"), parse_iso(f"{year}-{LAST_DAY}") + DAY_MS) for year in YEARS
    ]
    for span in years:
        stamps = np.arange(*span, MINUTE_MS, dtype=np.int64)
        close = 100 + stamps // MINUTE_MS % 997 * 0.25
        table = BarTable.of_columns(stamps, [close, close + 1, close - 1, close, close])
        piece = CommitPiece(table, span, "binance", FETCHED, COIN, Basis("raw"), "final")
        make().cache.store.commit(key, Commit((piece,), kind=COIN))
    asked = ("BTCUSDT", "1m", f"{YEARS[0]}-01-01", f"{YEARS[-1]}-{LAST_DAY}")
    first = make().get_ohlcv(*asked, strict=True)  # makes the columns
    frames: list[pd.DataFrame] = []
    monkeypatch.delattr(gzip_member, "inflated_stream")  # no year file is parsed again
    calls, files = effort_of(lambda: frames.append(make().get_ohlcv(*asked, strict=True)))
    (frame,) = frames
    minutes = np.arange(years[0].start, years[-1].end, MINUTE_MS) // MINUTE_MS
    assert len(frame) == len(minutes) == (525_600 * 2 if FULL else 59 * 1440)
    assert np.array_equal(frame.index.to_numpy().astype("datetime64[m]").astype(np.int64), minutes)
    assert np.array_equal(frame["close"].to_numpy(), 100 + minutes % 997 * 0.25)
    assert np.array_equal(first["close"].to_numpy(), frame["close"].to_numpy())
    assert calls < 20_000 and files <= 10, "the calls of a new manager are included"
