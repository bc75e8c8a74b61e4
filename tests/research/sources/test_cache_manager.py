"""The cache of query results: memory and file tiers, keys, staleness, limits, and faults."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.runtime.lru_cache import LruCache
from src.data.errors import ConfigError, QueryError, StorageError
from src.data.polars.cache_manager import CacheManager, LRUCache
from src.data.research.sources import cache_manager, frame_store
from tests.core.cache.counts import FULL
from tests.core.cache.disks import FailingDisk, RecordingDisk
from tests.programs import PYTHONPATH

MB = 1 << 20
YEAR = pd.Timestamp("2023-01-01"), pd.Timestamp("2023-12-31"), "1d", "mine"
ROWS = 20_000
DAY_S = 86_400


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own working folder, home and bars, with the default tier sizes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "bars"))
    for name in ("RUSTYBT_HOT_CACHE_SIZE_MB", "RUSTYBT_COLD_CACHE_SIZE_MB", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


class LaterDisk(RecordingDisk):
    """A disk whose time can be moved; it begins a second ahead, so that no file is young."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 1.0

    def now_ns(self) -> int:
        return super().now_ns() + int(self.ahead_s * 1e9)

    def opened(self) -> list[str]:
        """Return the names of the files opened since the last call."""
        names = [step.path.name for step in self.steps if step.name in ("open", "create")]
        self.steps.clear()
        return names


def frame(value: float = 1.0, rows: int = 3) -> pl.DataFrame:
    return pl.DataFrame({"day": range(rows), "close": [value + n / 7 for n in range(rows)]})


def put(cache: CacheManager, symbol: str = "AAPL", value: float = 1.0, **options: Any) -> str:
    """Put a frame of one symbol, and return its key."""
    cache.put([symbol], *YEAR, frame(value, options.pop("rows", 3)).lazy(), **options)
    return cache._generate_cache_key([symbol], *YEAR)


def got(cache: CacheManager, symbol: str = "AAPL", **options: Any) -> float | None:
    """Return the first value of a symbol's frame, or None."""
    found = cache.get([symbol], *YEAR, **options)
    return None if found is None else float(found.collect()["close"][0])


def files(cache: CacheManager) -> list[Path]:
    """Return the files of a cache's frames."""
    return sorted(cache._frames.folder.glob("cache_*.parquet"))


def tiers(cache: CacheManager) -> tuple[int, int, int]:
    counts = cache.session_stats
    return counts["hot_hits"], counts["cold_hits"], counts["miss_count"]


# --- two tiers ----------------------------------------------------------------------------------


def test_a_frame_is_put_into_memory_and_into_a_parquet_file(tmp_path: Path) -> None:
    cache = CacheManager(tmp_path / "c", disk=(disk := LaterDisk()))
    key = put(cache)
    disk.opened()
    assert got(cache) == 1.0
    assert disk.opened() == []  # from memory
    file = tmp_path / "c" / "cold_cache" / f"cache_{key[:16]}.parquet"
    assert pl.read_parquet(file).equals(frame())


def test_a_frame_is_read_from_memory_then_from_its_file(
    tmp_path: Path,
) -> None:
    cache = CacheManager(tmp_path)
    assert got(cache) is None
    put(cache)
    assert got(cache) == 1.0
    assert tiers(cache) == (1, 0, 1)
    other = CacheManager(tmp_path, disk=LaterDisk())
    assert [got(other), got(other)] == [1.0, 1.0]
    assert tiers(other) == (1, 1, 0)


def test_memory_is_limited_by_bytes_and_the_least_used_goes_first(tmp_path: Path) -> None:
    size = frame(rows=ROWS).estimated_size() / MB
    cache = CacheManager(tmp_path, hot_cache_size_mb=2.5 * size, disk=LaterDisk())
    for symbol in ("A", "B"):
        put(cache, symbol, rows=ROWS)
    got(cache, "A")
    put(cache, "C", rows=ROWS)
    assert cache.get_stats()["hot_size_mb"] <= 2.5 * size
    before = tiers(cache)
    got(cache, "A"), got(cache, "C")
    assert tiers(cache) == (before[0] + 2, *before[1:])
    got(cache, "B")
    assert tiers(cache)[1] == before[1] + 1


def test_files_are_limited_by_bytes_and_the_least_used_goes_first(tmp_path: Path) -> None:
    cache = CacheManager(tmp_path / "one", 0)
    put(cache, "A", rows=ROWS)
    size = cache.get_stats()["total_size_mb"]
    cache = CacheManager(tmp_path / "c", 0, 2.5 * size)
    for symbol in ("A", "B"):
        put(cache, symbol, rows=ROWS)
    got(cache, "A")
    put(cache, "C", rows=ROWS)
    assert cache.get_stats()["total_size_mb"] <= 2.5 * size
    assert [got(cache, symbol) for symbol in "ABC"] == [1.0, None, 1.0]


def test_each_read_of_a_file_counts_as_a_use(tmp_path: Path) -> None:
    put(one := CacheManager(tmp_path / "one", 0), rows=ROWS)
    cache = CacheManager(tmp_path / "c", 0, 2.5 * one.get_stats()["total_size_mb"])
    put(cache, "A", rows=ROWS), put(cache, "B", rows=ROWS)
    for symbol in "ABA":  # a file system notes at most the first read of a file
        assert got(cache, symbol) == 1.0
    put(cache, "C", rows=ROWS)
    assert [got(cache, symbol) for symbol in "ABC"] == [1.0, None, 1.0]


def test_uses_of_a_frame_in_memory_count_on_disk(tmp_path: Path) -> None:
    put(one := CacheManager(tmp_path / "one", 0), rows=ROWS)
    cache = CacheManager(tmp_path / "c", 10, 2.5 * one.get_stats()["total_size_mb"])
    put(cache, "A", rows=ROWS), put(cache, "B", rows=ROWS)
    for _ in range(10):
        got(cache, "A")
    put(cache, "C", rows=ROWS)
    for reader in (cache, CacheManager(tmp_path / "c")):
        assert [got(reader, symbol) for symbol in "ABC"] == [1.0, None, 1.0]


@pytest.mark.parametrize(
    ("policy", "dropped", "kept"), [("lru", "A", "C"), ("size", "B", "A"), ("hybrid", "B", "A")]
)
def test_each_eviction_policy_drops_its_own_files_first(
    tmp_path: Path, policy: str, dropped: str, kept: str
) -> None:
    rows, disk = {"A": 4000, "B": 20_000, "C": 4000, "D": 4000}, LaterDisk()
    one = CacheManager(tmp_path / "one", 0)
    for symbol in "ABC":
        put(one, symbol, rows=rows[symbol])
    most = one.get_stats()["total_size_mb"] + 0.001
    cache = CacheManager(tmp_path / "c", 0, most, eviction_policy=policy, disk=disk)
    for symbol in rows:
        put(cache, symbol, rows=rows[symbol])
        disk.ahead_s += 100
    there = [symbol for symbol in rows if got(cache, symbol) is not None]
    assert dropped not in there and {kept, "D"} <= set(there)


def test_the_constructor_accepts_documented_arguments_and_defaults(tmp_path: Path) -> None:
    cache = CacheManager(cache_dir=str(tmp_path / "c"))
    assert cache._hot.most_bytes == min(1024 * MB, cache_manager.all_memory() // 2)
    assert cache._frames._max_bytes == 51_200 * MB
    assert cache.cache_dir == tmp_path / "c"
    assert (cache.hot_cache_size_mb, cache.cold_cache_size_mb) == (1024, 51_200)
    cache = CacheManager(tmp_path / "c", 3, 5)
    assert (cache.hot_cache_size_mb, cache.cold_cache_size_mb) == (3, 5)
    assert (cache._hot.most_bytes, cache._frames._max_bytes) == (3 * MB, 5 * MB)
    cache = CacheManager(cache_directory="d")
    assert (cache.cache_dir, cache._frames.folder) == (Path("d"), tmp_path / "d" / "cold_cache")
    assert not (tmp_path / "d").exists()
    assert CacheManager().cache_dir == tmp_path / "home/.cache/onetape-foreign"


def test_put_and_get_accept_arguments_by_position_and_by_name(tmp_path: Path) -> None:
    cache = CacheManager(tmp_path)
    names = {"symbols": ["AAPL"], "start_date": YEAR[0], "end_date": YEAR[1]}
    names |= {"resolution": "1d", "source": "mine"}
    assert cache.get(**names) is None
    assert cache.put(**names, data=frame().lazy()) is None
    found = cache.get(["AAPL"], *YEAR)
    assert isinstance(found, pl.LazyFrame)
    assert found.collect().equals(frame())


def test_decimals_dates_and_frames_without_rows_are_read_back_unchanged(tmp_path: Path) -> None:
    exact = pl.DataFrame(
        {"date": [date(2023, 1, 3)], "close": ["12345678.12345678"]},
        schema={"date": pl.Date, "close": pl.String},
    ).with_columns(pl.col("close").cast(pl.Decimal(18, 8)))
    cache = CacheManager(tmp_path)
    for whole in (exact, exact.clear()):
        cache.put(["X"], *YEAR, whole)
        for one in (cache, CacheManager(tmp_path)):
            found = one.get(["X"], *YEAR)
            assert found is not None and found.collect().equals(whole)
            assert found.collect().schema == whole.schema


def test_changing_a_returned_frame_does_not_change_the_cache(tmp_path: Path) -> None:
    cache, own = CacheManager(tmp_path, disk=LaterDisk()), frame()
    cache.put(["AAPL"], *YEAR, own)
    own[0, "close"] = -1.0
    own.insert_column(0, pl.Series("more", [1, 2, 3]))
    key = cache.generate_cache_key(["AAPL"], *YEAR)
    for _ in range(2):
        handed = cache.get_cached_data(key)
        assert handed is not None and handed.equals(frame())
        handed[0, "close"] = -2.0
        handed.extend(handed.clone())
        collected = cache.get(["AAPL"], *YEAR).collect()  # type: ignore[union-attr]
        assert collected.equals(frame())
        collected[0, "close"] = -3.0


# --- removal and figures ------------------------------------------------------------------------


def test_invalidate_removes_a_frame_from_both_tiers(tmp_path: Path) -> None:
    cache = CacheManager(tmp_path)
    key = put(cache)
    put(cache, "MSFT", 2.0)
    cache.invalidate(key)
    assert got(cache) is got(CacheManager(tmp_path)) is None
    assert got(cache, "MSFT") == 2.0
    cache.invalidate(key)  # not there any more
    cache.invalidate(cache.generate_cache_key(["MSFT"], *YEAR))
    assert got(cache, "MSFT") is None


def test_clear_removes_only_frames(tmp_path: Path) -> None:
    cache = CacheManager(tmp_path)
    for symbol in "ABC":
        put(cache, symbol)
    (other := cache._frames.folder / "cache_0123456789abcdef").mkdir()
    (note := cache._frames.folder / "note.txt").write_text("mine")
    cache.clear()
    stats = cache.get_stats()
    assert (stats["entry_count"], stats["hot_entry_count"], stats["hot_size_mb"]) == (0, 0, 0)
    assert [got(cache, symbol) for symbol in "ABC"] == [None] * 3
    assert other.exists() and note.exists()
    put(cache)
    assert got(cache) == 1.0


def test_cache_manager_stats_count_hits_entries_and_sizes(tmp_path: Path) -> None:
    cache = CacheManager(tmp_path)
    assert cache.get_stats()["hit_rate"] == 0.0
    put(cache, "A"), put(cache, "B")
    for symbol in "ABAX":
        got(cache, symbol)
    stats = cache.get_stats()
    assert (stats["hit_count"], stats["miss_count"], stats["hit_rate"]) == (3, 1, 0.75)
    assert (stats["entry_count"], stats["hot_entry_count"]) == (2, 2)
    assert stats["total_size_mb"] * MB == sum(path.stat().st_size for path in files(cache))
    assert 0 < stats["hot_size_mb"] < 1


# --- keys ---------------------------------------------------------------------------------------


def test_a_key_is_the_digest_of_the_printed_json() -> None:
    cache = CacheManager()
    printed = {
        "symbols": ["AAPL", "GOOG", "MSFT"],
        "start_date": pd.Timestamp("2023-01-01").isoformat(),
        "end_date": pd.Timestamp("2023-12-31").isoformat(),
        "resolution": "1d",
        "source": "yfinance",
    }
    key = hashlib.sha256(json.dumps(printed, sort_keys=True).encode()).hexdigest()
    arguments = ["MSFT", "AAPL", "GOOG"], pd.Timestamp("2023-01-01"), "2023-12-31", "1d", "yfinance"
    assert cache._generate_cache_key(*arguments) == key
    assert cache.generate_cache_key(*arguments) == key[:16]


def test_different_requests_have_different_keys() -> None:
    """The order of symbols and the form of a time make no difference; everything else does."""
    cache = CacheManager()
    request = {
        "symbols": ["AAPL", "MSFT"], "start_date": datetime(2023, 1, 1), "end_date": "2023-12-31",
        "resolution": "1d", "source": "mine",
    }  # fmt: skip

    def key(**changes: Any) -> str:
        return cache._generate_cache_key(**(request | changes))

    same = [
        {"symbols": ("MSFT", "AAPL")}, {"symbols": ["AAPL", "MSFT", "AAPL"]},
        {"start_date": date(2023, 1, 1)}, {"start_date": datetime(2023, 1, 1, tzinfo=UTC)},
        {"start_date": pd.Timestamp("2022-12-31 19:00", tz="America/New_York")},
    ]  # fmt: skip
    assert {key(**change) for change in same} == {key()}
    others = [
        {"symbols": ["AAPL"]}, {"symbols": ["AAPL,MSFT"]}, {"symbols": ["aapl", "MSFT"]},
        {"start_date": datetime(2023, 1, 1, 0, 0, 1)}, {"end_date": "2023-12-31T12:00"},
        {"resolution": "1h"}, {"source": "theirs"}, {"resolution": "mine", "source": "1d"},
    ]  # fmt: skip
    assert len({key(**change) for change in [{}, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("AAPL", *YEAR), ([], *YEAR), ([1], *YEAR), (["A"], "then", YEAR[1], "1d", "x"),
        (["A"], 5, YEAR[1], "1d", "x"), (["A"], None, YEAR[1], "1d", "x"),
        (["A"], [], YEAR[1], "1d", "x"), (["A"], *YEAR[:2], None, "x"), (None, *YEAR),
        (["A"], YEAR[0], "now", *YEAR[2:]), (["A"], "today", *YEAR[1:]),
        (["A"], *YEAR[:3], 5), (["A"], "9999999-01-01", YEAR[1], "1d", "x"),
    ],
)  # fmt: skip
def test_an_invalid_cache_request_is_refused(arguments: Any) -> None:
    cache = CacheManager()
    with pytest.raises(QueryError):
        cache.get(*arguments)
    with pytest.raises(QueryError):
        cache.put(*arguments, frame())


@pytest.mark.parametrize("key", ["../../x", "", "0" * 15, "G" * 16, "0" * 64 + "\n", "/etc", None])
def test_an_invalid_cache_key_is_refused_before_any_file_changes(tmp_path: Path, key: Any) -> None:
    cache = CacheManager(tmp_path / "c")
    put(cache)
    before = sorted(tmp_path.rglob("*"))
    calls: list[Callable[[], object]] = [
        lambda: cache.invalidate(key), lambda: cache.get_cached_data(key),
        lambda: cache.put_cached_data(key, frame()), lambda: cache.lookup_cache(key),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(QueryError, match="invalid cache key"):
            call()
    assert sorted(tmp_path.rglob("*")) == before


def test_hostile_symbols_and_sources_stay_in_the_folder(tmp_path: Path) -> None:
    cache = CacheManager(tmp_path / "c")
    for name in ("../../../x", "/etc/passwd", "a\0b", "\ud800", "x" * 100_000):
        cache.put([name], *YEAR[:3], name, frame())
        assert cache.get([name], *YEAR[:3], name) is not None
    assert {path.name for path in tmp_path.iterdir()} == {"c"}
    names = {path.name for path in (tmp_path / "c" / "cold_cache").iterdir()}
    assert len(names) == 5 and all(name.startswith("cache_") for name in names)


# --- staleness ----------------------------------------------------------------------------------


def later(seconds: float) -> ManualClock:
    return ManualClock(int((1_700_000_000 + seconds) * 1000))


@pytest.mark.parametrize("is_hot", [True, False])
def test_a_changed_checksum_makes_a_frame_stale(tmp_path: Path, is_hot: bool) -> None:
    first = CacheManager(tmp_path)
    put(first, checksum="a")
    cache = first if is_hot else CacheManager(tmp_path)
    assert got(cache, checksum="a") == got(cache) == 1.0
    assert got(cache, checksum="b") is None
    assert got(cache, checksum="a") is None  # it was removed
    assert not files(cache)
    put(cache)  # without a checksum nothing vouches for it
    assert got(cache, checksum="b") is None


@pytest.mark.parametrize("is_hot", [True, False])
def test_a_newer_generation_makes_a_frame_stale(tmp_path: Path, is_hot: bool) -> None:
    first = CacheManager(tmp_path)
    put(first, generation=4)
    cache = first if is_hot else CacheManager(tmp_path)
    assert got(cache, generation=4) == 1.0
    assert got(cache, generation=5) is None
    assert got(cache) is None


def test_a_frame_is_stale_after_seven_days_or_the_configured_age(tmp_path: Path) -> None:
    put(CacheManager(tmp_path, clock=later(0)))
    for name in (tmp_path / "hot", tmp_path):
        clock = later(0)
        cache = CacheManager(name, clock=clock)
        if name != tmp_path:
            put(cache)
        clock.advance(7 * DAY_S - 1)
        assert got(cache) == 1.0
        clock.advance(1)
        assert got(cache) is None
    put(cache := CacheManager(tmp_path, ttl_seconds=60, clock=(clock := later(0))))
    clock.advance(60)
    assert got(cache) is None
    put(cache := CacheManager(tmp_path, ttl_seconds=0))
    assert got(cache) is None


def test_a_frame_stored_long_after_the_current_time_is_a_miss(tmp_path: Path) -> None:
    put(CacheManager(tmp_path, clock=later(30 * DAY_S)))
    assert got(CacheManager(tmp_path, clock=later(30 * DAY_S - 59))) == 1.0
    assert got(CacheManager(tmp_path, clock=later(0))) is None


class Catalog:
    """A catalog whose one dataset has a checksum."""

    def __init__(self, checksum: str) -> None:
        self.checksum = checksum

    def get_dataset_info(self, dataset_id: str) -> dict[str, Any]:
        if dataset_id != "own":
            raise QueryError(f"no dataset {dataset_id}")
        return {"checksum": self.checksum}


@pytest.mark.parametrize("is_hot", [True, False])
def test_a_validity_check_follows_the_documented_steps(tmp_path: Path, is_hot: bool) -> None:
    """There, of the dataset's checksum, younger than the limit: in this order, and removed if not."""
    catalog, clock = Catalog("a"), later(0)

    def opened() -> CacheManager:
        return CacheManager(tmp_path, data_catalog=catalog, clock=clock)

    cache = opened()
    key = cache._generate_cache_key(["AAPL"], *YEAR)
    assert cache.check_cache_validity(key, "own") is False
    put(cache, checksum="a")
    other = cache if is_hot else opened()
    assert other.check_cache_validity(key, "own") is True
    with pytest.raises(QueryError, match="no dataset other"):
        other.check_cache_validity(key, "other")
    catalog.checksum = "b"
    assert other.check_cache_validity(key, "own") is False
    assert got(other) is None
    put(cache, checksum="b")
    other = cache if is_hot else opened()
    clock.advance(8 * DAY_S)
    assert other.check_cache_validity(key, "own") is False
    assert not files(cache)
    with pytest.raises(QueryError, match="has no catalog"):
        CacheManager(tmp_path).check_cache_validity(key, "own")


# --- settings -----------------------------------------------------------------------------------


def settings_file(text: str) -> None:
    Path("config").mkdir(exist_ok=True)
    Path("config/data_catalog.yaml").write_text(text)


def test_the_environment_variable_sets_the_size_of_the_hot_tier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings_file("cache: {hot_cache_size_mb: 9}\n")
    monkeypatch.setenv("RUSTYBT_HOT_CACHE_SIZE_MB", "0.5")
    assert CacheManager()._hot.most_bytes == MB // 2
    assert CacheManager(hot_cache_size_mb=1)._hot.most_bytes == MB
    for wrong in ("many", "-1", "nan", "inf"):
        monkeypatch.setenv("RUSTYBT_HOT_CACHE_SIZE_MB", wrong)
        with pytest.raises(ConfigError, match="RUSTYBT_HOT_CACHE_SIZE_MB is"):
            CacheManager()


def test_the_environment_variable_sets_the_size_of_the_cold_tier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings_file("cache: {cold_cache_size_mb: 9}\n")
    monkeypatch.setenv("RUSTYBT_COLD_CACHE_SIZE_MB", "2")
    assert CacheManager()._frames._max_bytes == 2 * MB
    assert CacheManager(cold_cache_size_mb=1)._frames._max_bytes == MB
    monkeypatch.setenv("RUSTYBT_COLD_CACHE_SIZE_MB", "x")
    with pytest.raises(ConfigError, match="RUSTYBT_COLD_CACHE_SIZE_MB is 'x'"):
        CacheManager()


def test_the_settings_file_sets_sizes_folder_age_and_policy(tmp_path: Path) -> None:
    settings_file(
        "cache: {hot_cache_size_mb: 2, cold_cache_size_mb: 3, cache_dir: mine, ttl_seconds: 60, "
        "eviction_policy: size}\n"
    )
    cache = CacheManager(clock=(clock := later(0)))
    assert (cache._hot.most_bytes, cache._frames._max_bytes) == (2 * MB, 3 * MB)
    assert cache.cache_dir == tmp_path / "mine"
    assert cache._frames._rank(5, 7) == 5
    put(cache)
    clock.advance(60)
    assert got(cache) is None


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"cache_dir": "a", "cache_directory": "b"}, QueryError, "two names"),
        ({"db_path": "a", "data_catalog": Catalog("a")}, QueryError, "together"),
        ({"hot_cache_size_mb": "cache/"}, QueryError, "name the arguments"),
        ({"hot_cache_size_mb": -1}, QueryError, "hot_cache_size_mb is -1"),
        ({"cold_cache_size_mb": float("nan")}, QueryError, "cold_cache_size_mb is nan"),
        ({"ttl_seconds": True}, QueryError, "ttl_seconds is True"),
        ({"eviction_policy": "fifo"}, QueryError, "use lru, size, hybrid"),
        ({"cache_dir": ""}, ConfigError, "is empty"),
        ({"cache_dir": "bars/frames"}, ConfigError, "is inside the cache folder"),
    ],
)
def test_invalid_cache_manager_options_raise(
    options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        CacheManager(**options)


def test_a_put_of_something_other_than_a_frame_is_refused() -> None:
    with pytest.raises(QueryError, match="must be a Polars frame, not dict"):
        CacheManager().put(["A"], *YEAR, {})  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="cannot be collected"):
        CacheManager().put(["A"], *YEAR, frame().lazy().select("nothing"))


# --- faults -------------------------------------------------------------------------------------


def test_a_folder_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    cache = CacheManager(tmp_path / "c", disk=LaterDisk())
    put(cache)
    assert got(cache) == 1.0
    subprocess.run(["rm", "-r", tmp_path / "c"], check=True)
    assert got(cache) is None
    assert cache.get_stats()["entry_count"] == 0
    cache.clear()
    put(cache, value=2.0)
    assert got(cache) == got(CacheManager(tmp_path / "c")) == 2.0


def refused(code: int) -> FailingDisk:
    return FailingDisk(1, code, for_ever=True)


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EIO])
def test_frames_that_cannot_be_stored_are_in_memory_with_one_warning(
    tmp_path: Path, code: int
) -> None:
    cache = CacheManager(tmp_path, disk=refused(code))
    with pytest.warns(UserWarning, match="are kept in memory only") as caught:
        put(cache, "A"), put(cache, "B", 2.0)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [got(cache, "A"), got(cache, "B"), got(cache, "C")] == [1.0, 2.0, None]
    assert got(CacheManager(tmp_path), "A") is None


def test_a_read_only_folder_with_frames_is_no_warning_until_one_is_stored(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    put(CacheManager(tmp_path), value=1.0)
    cache = CacheManager(tmp_path, disk=refused(errno.EROFS))
    assert got(cache) == 1.0
    assert not recwarn.list


def test_a_frame_that_could_not_be_replaced_or_removed_is_not_returned(tmp_path: Path) -> None:
    """A read-only folder has an older frame; neither the older one nor a stale one comes back."""
    key = put(CacheManager(tmp_path), value=1.0, checksum="a")
    put(CacheManager(tmp_path), "MSFT")
    cache = CacheManager(tmp_path, 0, disk=refused(errno.EROFS))
    assert got(cache) == 1.0
    with pytest.warns(UserWarning, match="in memory only"):
        put(cache, value=2.0)
    assert got(cache) is None  # memory has no room
    with pytest.raises(StorageError):
        cache.invalidate(cache.generate_cache_key(["MSFT"], *YEAR))
    assert got(cache, "MSFT") is None
    other = CacheManager(tmp_path, disk=refused(errno.EROFS))
    assert got(other, checksum="b") is None
    assert got(other) is None
    assert other.lookup_cache(key) is None
    with pytest.raises(StorageError):
        other.clear()
    assert got(CacheManager(tmp_path)) == 1.0


@pytest.mark.parametrize("for_ever", [False, True])
def test_a_disk_that_fails_at_any_step_loses_no_frame(tmp_path: Path, for_ever: bool) -> None:
    fails_at, disk = 0, FailingDisk(0)
    while fails_at == 0 or disk.failed is not None:
        fails_at += 1
        disk = FailingDisk(fails_at, for_ever=for_ever)
        cache = CacheManager(tmp_path / str(fails_at), disk=disk)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            put(cache, value=5.0)
            assert got(cache) == 5.0
        assert got(CacheManager(tmp_path / str(fails_at))) in (5.0, None)
    assert fails_at > 5


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rename_to_msft(path: Path) -> None:
    key = CacheManager().generate_cache_key(["MSFT"], *YEAR)
    path.rename(path.with_name(f"cache_{key}.parquet"))


@pytest.mark.parametrize(
    ("damage", "is_named"),
    [
        (flip, True), (Path.unlink, False), (lambda path: path.write_bytes(b""), True),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), True),
        (lambda path: frame(9.0).write_parquet(path), True), (rename_to_msft, False),
    ],
)  # fmt: skip
def test_a_view_that_is_missing_damaged_or_foreign_is_a_miss_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object],
    is_named: bool,
) -> None:  # fmt: skip
    put(cache := CacheManager(tmp_path))
    damage(files(cache)[0])
    assert got(CacheManager(tmp_path)) is got(CacheManager(tmp_path), "MSFT") is None
    assert ("is damaged" in caplog.text) is is_named
    assert got(cache) is None
    put(cache, value=2.0)
    assert got(cache) == got(CacheManager(tmp_path)) == 2.0


def test_a_damaged_frame_in_a_folder_that_cannot_be_written_is_a_miss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(CacheManager(tmp_path))
    (path,) = tmp_path.glob("cold_cache/cache_*.parquet")
    flip(path)
    assert got(CacheManager(tmp_path, disk=refused(errno.EROFS))) is None
    assert "cannot be removed" in caplog.text
    assert path.exists()


def test_a_frame_larger_than_a_file_may_be_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_store, "MOST_BYTES", 1000)
    cache = CacheManager(tmp_path)
    with pytest.warns(UserWarning, match=r"takes [\d,]+ bytes as Parquet, more than 1,000"):
        put(cache, rows=ROWS)
    assert got(cache) == 1.0


# --- what a call costs --------------------------------------------------------------------------


def test_a_put_takes_the_same_effort_with_few_and_many_frames(tmp_path: Path) -> None:
    """By counted steps of the disk; with one more listing an hour."""
    counts = list[int]()
    for frames in (50, 100, 200) if FULL else (20, 80):
        disk = LaterDisk()
        cache = CacheManager(tmp_path / str(frames), 0, disk=disk)
        for n in range(frames):
            put(cache, f"S{n}")
        disk.steps.clear()
        for n in range(10):
            put(cache, f"T{n}")
        counts.append(len(disk.steps))
    assert len(set(counts)) == 1


def test_a_put_into_a_full_folder_does_not_list_the_folder_each_time(tmp_path: Path) -> None:
    """Lists grow with the bytes that are put, not with the square of the frames."""
    one = CacheManager(tmp_path / "one", 0)
    put(one, rows=500)
    size = one.get_stats()["total_size_mb"]
    steps = list[float]()
    for frames in (40, 80, 160) if FULL else (10, 30):
        disk = LaterDisk()
        cache = CacheManager(tmp_path / str(frames), 0, frames * size, disk=disk)
        for n in range(frames):
            put(cache, f"S{n}", rows=500)
        disk.steps.clear()
        for n in range(frames):
            put(cache, f"T{n}", rows=500)
        steps.append(len(disk.steps) / frames)
    assert steps[-1] < 1.3 * steps[0]


def test_the_size_limit_covers_files_of_other_writers_at_the_first_use_after_an_hour(
    tmp_path: Path,
) -> None:
    """Files that others put there count, and are dropped, at the next put or get after an hour."""
    disk = LaterDisk()
    put(one := CacheManager(tmp_path / "one", 0), rows=ROWS)
    size = one.get_stats()["total_size_mb"]
    cache = CacheManager(tmp_path / "c", 0, 2.5 * size, disk=disk)
    put(cache, "A", rows=ROWS)
    for n in range(3):  # as if their writers had died before they could say so
        (path,) = files(one)
        (cache._frames.folder / f"cache_{n:016x}.parquet").write_bytes(path.read_bytes())
    got(cache, "A")
    assert cache.get_stats()["total_size_mb"] > 2.5 * size
    disk.ahead_s += 3600 - 60  # a busy machine may take some seconds
    got(cache, "A")
    assert cache.get_stats()["total_size_mb"] > 2.5 * size
    disk.ahead_s += 61
    assert got(cache, "A") == 1.0
    assert cache.get_stats()["total_size_mb"] <= 2.5 * size
    assert got(cache, "A") == 1.0  # the one that was used last stays


# --- processes and threads ----------------------------------------------------------------------


@pytest.mark.parametrize("hot_mb", [0, 10])
def test_a_frame_changed_by_another_object_is_returned_at_the_next_call(
    tmp_path: Path, hot_mb: float
) -> None:
    """Even if it has the same size, and within the resolution of file times."""
    writer, reader = (CacheManager(tmp_path, hot_mb) for _ in range(2))
    for n in range(30 if FULL else 8):
        put(writer, value=float(n))
        assert got(reader) == n
    writer.invalidate(writer.generate_cache_key(["AAPL"], *YEAR))
    assert got(reader) is None


def test_each_version_of_a_file_has_its_own_time(tmp_path: Path) -> None:
    """That of the disk's clock, because those of file systems may be coarse."""
    cache = CacheManager(tmp_path, disk=(disk := LaterDisk()))
    times = list[int]()
    for ahead_s in (1000.0, 2000.0):
        disk.ahead_s = ahead_s
        put(cache)
        times.append(files(cache)[0].stat().st_mtime_ns)
    assert 999e9 < times[1] - times[0] < 1100e9


WRITER = """
import sys
from tests.research.sources.test_cache_manager import CacheManager, put
cache = CacheManager(sys.argv[1])
for n in range(1, int(sys.argv[2]) + 1):
    put(cache, value=float(n), rows=50)
    put(cache, f"S{n % 7}", value=float(n), rows=50)
    print(n, flush=True)
"""


def test_two_processes_share_one_folder_without_losing_frames(tmp_path: Path) -> None:
    """Each frame read is whole, and at least as new as the last one reported by its writer."""
    rounds = 150 if FULL else 40
    program = [sys.executable, "-c", WRITER, str(tmp_path), str(rounds)]
    environment = os.environ | {"PYTHONPATH": PYTHONPATH}
    cache, said = CacheManager(tmp_path), 0.0
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            said = float(line)
            found = cache.get(["AAPL"], *YEAR)
            assert found is not None
            values = found.collect()
            assert values.equals(frame(float(values["close"][0]), 50))
            assert values["close"][0] >= said
            put(cache, f"S{int(said) % 5}", value=said, rows=50)
    assert writer.returncode == 0 and said == rounds


def test_threads_share_one_cache_manager(tmp_path: Path) -> None:
    cache, errors = CacheManager(tmp_path, 0.01, 0.05), list[BaseException]()
    rounds = 40 if FULL else 15

    def work(seed: int) -> None:
        try:
            for n in range(rounds):
                symbol = f"S{(n * seed) % 5}"
                value = got(cache, symbol)
                assert value is None or value == float(symbol[1:])
                put(cache, symbol, float(symbol[1:]), rows=400)
                if n % 13 == 0:
                    cache.clear()
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sum(tiers(cache)) == 4 * rounds


# --- as in older programs -----------------------------------------------------------------------


def test_the_methods_of_the_older_class_work(tmp_path: Path) -> None:
    cache = CacheManager(cache_directory=tmp_path, disk=LaterDisk())
    key = cache.generate_cache_key(["AAPL"], "2023-01-01", "2023-12-31", "1d", "yfinance")
    assert len(key) == 16
    assert cache.lookup_cache(key) is cache.get_cached_data(key) is None
    cache.put_cached_data(key, frame(), dataset_id=1, backtest_id="run")
    found = cache.get_cached_data(key)
    assert isinstance(found, pl.DataFrame) and found.equals(frame())
    entry = cache.lookup_cache(key)
    assert entry is not None
    assert (entry["cache_key"], entry["dataset_id"], entry["backtest_id"]) == (key, 1, "run")
    data = Path(entry["parquet_path"]).read_bytes()
    assert entry["checksum"] == hashlib.sha256(data).hexdigest()
    assert entry["size_bytes"] == len(data)
    assert abs(entry["created_at"] - entry["last_accessed"]) < 60
    other = cache.generate_cache_key(["MSFT"], "2023-01-01", "2023-12-31", "1d", "yfinance")
    cache.put_cached_data(other, frame(2.0), dataset_id=1)
    cache.clear_cache(backtest_id="run")
    assert cache.get_cached_data(key) is None
    assert cache.get_cached_data(other) is not None
    cache.clear_cache(other)
    assert cache.get_cached_data(other) is None
    put(cache)
    assert cache.get_cached_data(cache.generate_cache_key(["AAPL"], *YEAR)) is not None
    cache.clear_cache()
    assert cache.get_stats()["entry_count"] == 0


def test_a_backtest_is_linked_in_the_catalog(tmp_path: Path) -> None:
    cache = CacheManager(tmp_path / "c", db_path=tmp_path / "bundles" / "metadata.db")
    days = "2023-01-01", "2023-12-31"
    own = cache.data_catalog.register_dataset("mine", ["AAPL"], *days, "1d", "a1")
    key = cache.generate_cache_key(["AAPL"], *days, "1d", "mine")
    cache.put_cached_data(key, frame(), own, "run")
    assert cache.data_catalog.get_datasets_for_backtest("run") == [own]
    assert cache.check_cache_validity(key, own) is True


def test_daily_cache_statistics_are_recorded_once_per_day(tmp_path: Path) -> None:
    clock = ManualClock(int(pd.Timestamp("2024-01-01 12:00", tz="UTC").timestamp() * 1000))
    cache = CacheManager(tmp_path, clock=clock)
    put(cache)
    for symbol in ("AAPL", "AAPL", "AAPL", "X"):
        got(cache, symbol)
    cache.record_daily_statistics()
    cache.record_daily_statistics()  # counts nothing twice
    clock.advance(DAY_S)
    got(CacheManager(tmp_path, clock=clock), "X")
    got(cache, "X")
    cache.record_daily_statistics()
    whole = CacheManager(tmp_path).get_cache_statistics()
    assert (whole["hit_count"], whole["miss_count"], whole["hit_rate"]) == (3, 2, 0.6)
    assert whole["entry_count"] == 1 and whole["total_size_mb"] > 0
    assert whole["session_stats"]["hit_count"] == 0
    assert cache.get_cache_statistics("2024-01-02")["miss_count"] == 1
    assert cache.get_cache_statistics(end_date=date(2024, 1, 1))["hit_rate"] == 0.75
    with pytest.raises(QueryError):
        cache.get_cache_statistics("never")
    (cache._frames.folder / "statistics.json").write_text("{")
    assert cache.get_cache_statistics()["hit_count"] == 0


def test_the_older_cache_of_frames_in_memory_works() -> None:
    """A face of the one cache by bytes."""
    size = frame(rows=ROWS).estimated_size()
    memory = LRUCache(max_size_bytes=int(2.5 * size))
    for key in ("a", "b"):
        memory.put(key, frame(rows=ROWS))
    memory.get("a")
    memory.put("c", frame(rows=ROWS))
    assert [memory.get(key) is not None for key in "abc"] == [True, False, True]
    assert memory.get_stats()["entry_count"] == 2
    assert 2 * size <= memory.current_size_bytes <= memory.max_size_bytes
    memory.put("d", frame(rows=5 * ROWS))
    assert memory.get("d") is None
    memory.clear()
    assert memory.get_stats() == {"entry_count": 0, "total_size_mb": 0.0}
    assert isinstance(memory._frames, LruCache)


def test_the_eviction_policies_equal_those_accepted_in_the_settings_file() -> None:
    for policy in frame_store.POLICIES:
        settings_file(f"cache: {{eviction_policy: {policy}}}\n")
        CacheManager()
    assert set(frame_store.POLICIES) == {"lru", "size", "hybrid"}


def test_the_cache_folder_is_not_created_before_the_first_put(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    cache = CacheManager(tmp_path / "c", disk=Disk())
    got(cache), cache.get_stats(), cache.get_cache_statistics(), cache.clear()
    assert not (tmp_path / "c").exists()
    assert not caplog.text
