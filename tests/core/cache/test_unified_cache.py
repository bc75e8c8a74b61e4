"""Tests the older interface of the cache, including the faults that it no longer passes on."""

from __future__ import annotations

import errno
import gzip
import importlib
import inspect
import json
import os
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import src.data.core.cache.facade as package
from src.data.core.cache.facade import unified_cache as module
from src.data.core.cache.facade.unified_cache import (
    UnifiedCache,
    configure_unified_cache,
)
from src.data.core.cache.store import Commit
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso, to_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import (
    BadRangeError,
    BadSymbolError,
    BadTimeframeError,
    ConfigError,
    QueryError,
    StorageError,
)

from .bars import piece
from .frames import bars, same

NOW = to_ms(datetime(2025, 6, 2, 12))
HOURS = Timeframe.parse("1h")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2025-06-02 12:00 UTC."""
    return ManualClock(NOW)


@pytest.fixture
def cache(tmp_path: Path, clock: ManualClock) -> UnifiedCache:
    """Return an empty cache with a limit of 10 GB and ``clock``."""
    return UnifiedCache(tmp_path / "cache", 10.0, clock=clock)


def test_a_folder_below_one_that_may_not_be_searched_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, stat = str(tmp_path / "closed" / "cache"), os.stat

    def refused(path: Any, **options: Any) -> os.stat_result:
        """Root may search all: the look itself is refused, as it is for other users."""
        if os.fspath(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", closed)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(StorageError, match=f"{closed} cannot be accessed: Permission denied"):
        UnifiedCache(closed)


def another(cache: UnifiedCache) -> UnifiedCache:
    """Return a second object on the same folder, as another process would have."""
    return UnifiedCache(cache.cache_dir, 10.0, clock=ManualClock(NOW))


def everything(cache: UnifiedCache, symbol: str, timeframe: str) -> pd.DataFrame | None:
    return cache.get(symbol, timeframe, date(2000, 1, 1), date(2025, 6, 2))


class TestPutAndGet:
    def test_a_round_trip_keeps_every_bit(self, cache: UnifiedCache) -> None:
        frame = bars("2024-12-20", 600)
        assert cache.put(
            frame, "BTCUSDT", "1h", frame.index[0], frame.index[-1], provider="binance"
        )
        same(cache.get("BTCUSDT", "1h", frame.index[0], frame.index[-1]), frame)

    def test_a_row_off_the_full_minute_is_quarantined(self, cache: UnifiedCache) -> None:
        frame = bars("2018-02-09", 12)
        late = frame.set_axis(
            [at + pd.Timedelta("28min 14.789s") * int(at.hour >= 9) for at in frame.index]
        )
        assert cache.put(late, "BTCUSDT", "1h", frame.index[0], frame.index[-1])
        same(cache.get("BTCUSDT", "1h", frame.index[0], frame.index[-1]), frame[:9])
        (kept,) = cache.cache_dir.rglob("2018.rows.csv.gz")
        assert gzip.decompress(kept.read_bytes()).decode().count("28:14.789Z") == 3
        assert cache.put(late[9:], "ETHUSDT", "1h", frame.index[0], frame.index[-1])
        assert cache.get("ETHUSDT", "1h", frame.index[0], frame.index[-1]) is None

    def test_both_ends_of_get_are_inclusive(self, cache: UnifiedCache) -> None:
        frame = bars("2025-03-01", 48)
        cache.put(frame, "BTCUSDT", "1h", frame.index[0], frame.index[-1])
        found = cache.get("BTCUSDT", "1h", datetime(2025, 3, 1, 5), datetime(2025, 3, 1, 9))
        same(found, frame.iloc[5:10])
        one = cache.get("BTCUSDT", "1h", datetime(2025, 3, 1, 5), datetime(2025, 3, 1, 5))
        same(one, frame.iloc[5:6])

    def test_bounds_have_a_short_and_a_long_name(self, cache: UnifiedCache) -> None:
        frame, other = bars("2025-03-01", 48), bars("2025-04-01", 48)
        ends = (datetime(2025, 3, 1, 5), datetime(2025, 3, 1, 9))
        cache.put(frame, "BTCUSDT", "1h", start=frame.index[0], end=frame.index[-1])
        cache.put(other, "ETHUSDT", "1h", other.index[0], other.index[-1])
        same(cache.get("BTCUSDT", "1h", start=ends[0], end=ends[1]), frame.iloc[5:10])
        same(cache.get("BTCUSDT", "1h", ends[0], end=ends[1]), frame.iloc[5:10])
        with pytest.raises(QueryError, match="two names for the same argument"):
            cache.get("BTCUSDT", "1h", ends[0], start=ends[0])
        with pytest.raises(QueryError, match="two names for the same argument"):
            cache.put(other, "BTCUSDT", "1h", end_date=ends[1], end=ends[1])
        assert len(everything(cache, "BTCUSDT", "1h")) == 48  # type: ignore[arg-type]

    def test_changing_a_returned_frame_does_not_change_the_next_answer(
        self, cache: UnifiedCache
    ) -> None:
        frame = bars("2025-03-01", 48)
        cache.put(frame, "BTCUSDT", "1h", frame.index[0], frame.index[-1])
        first = everything(cache, "BTCUSDT", "1h")
        assert first is not None
        kept = first.copy()
        first["close"] = 0.0  # the caller may write into what he was given
        same(everything(cache, "BTCUSDT", "1h"), kept)

    def test_get_returns_none_if_no_bars_are_stored(self, cache: UnifiedCache) -> None:
        assert cache.get("BTCUSDT", "1h") is None
        frame = bars("2025-03-01", 48)
        cache.put(frame, "BTCUSDT", "1h", frame.index[0], frame.index[-1])
        assert cache.get("BTCUSDT", "1h", datetime(2024, 1, 1), datetime(2024, 2, 1)) is None
        assert cache.get("BTCUSDT", "1d") is None
        assert not (cache.ohlcv_dir / "BTCUSDT" / "1d").exists()

    def test_the_default_range_is_the_last_thirty_days(self, cache: UnifiedCache) -> None:
        frame = bars("2025-04-01", 62, "1D")
        cache.put(frame, "BTCUSDT", "1d", frame.index[0], frame.index[-1])
        found = cache.get("BTCUSDT", "1d")
        assert found is not None
        assert found.index[0] == pd.Timestamp("2025-05-04")
        assert found.index[-1] == pd.Timestamp("2025-06-01")

    @pytest.mark.parametrize("frame", [None, pd.DataFrame(), bars("2025-01-01", 0)])
    def test_an_empty_frame_is_not_stored(
        self, cache: UnifiedCache, frame: pd.DataFrame | None
    ) -> None:
        assert cache.put(frame, "BTCUSDT", "1h", date(2025, 1, 1), date(2025, 1, 2)) is False

    @pytest.mark.parametrize(
        "frame",
        [
            "not a frame",
            pd.DataFrame({"close": [1.0]}, index=pd.to_datetime(["2025-01-01"])),
            pd.DataFrame({"open": [1], "high": [1], "low": [1], "close": [1]}),
        ],
    )
    def test_a_put_of_something_other_than_a_frame_of_bars_is_logged(
        self, cache: UnifiedCache, caplog: pytest.LogCaptureFixture, frame: object
    ) -> None:
        assert cache.put(frame, "BTCUSDT", "1h", date(2025, 1, 1), date(2025, 1, 2)) is False
        assert "BTCUSDT" in caplog.text
        assert cache.list_symbols() == []

    @pytest.mark.parametrize(("symbol", "timeframe"), [("", "1h"), ("BTCUSDT", "soon")])
    def test_a_bad_symbol_or_timeframe_is_not_stored(
        self, cache: UnifiedCache, symbol: str, timeframe: str
    ) -> None:
        assert cache.put(bars("2025-01-01", 3), symbol, timeframe, None, None) is False

    def test_get_raises_an_error_for_a_bad_timeframe_symbol_or_range(
        self, cache: UnifiedCache
    ) -> None:
        with pytest.raises(BadTimeframeError):
            cache.get("BTCUSDT", "soon")
        with pytest.raises(BadSymbolError):
            cache.get("", "1h")
        with pytest.raises(BadRangeError):
            cache.get("BTCUSDT", "1h", datetime(2025, 2, 1, 1), datetime(2025, 1, 1, 1))

    def test_timestamps_with_a_time_zone_are_converted(self, cache: UnifiedCache) -> None:
        frame = bars("2025-03-01", 24)
        aware = frame.tz_localize("UTC").tz_convert("America/New_York")
        cache.put(aware, "BTCUSDT", "1h", aware.index[0], aware.index[-1])
        same(everything(cache, "BTCUSDT", "1h"), frame)
        assert cache.get(
            "BTCUSDT", "1h", datetime(2025, 3, 1, 2, tzinfo=UTC), datetime(2025, 3, 1, 3, tzinfo=UTC)
        ).index.hour.tolist() == [2, 3]  # fmt: skip

    def test_a_frame_with_a_timestamp_column_is_accepted(self, cache: UnifiedCache) -> None:
        frame = bars("2025-03-01", 24)
        cache.put(frame.reset_index(), "BTCUSDT", "1h", None, None)
        same(everything(cache, "BTCUSDT", "1h"), frame)

    def test_days_with_a_time_zone_keep_the_date_of_their_venue(self, cache: UnifiedCache) -> None:
        frame = bars("2025-03-03", 5, "1D")
        for zone in ("America/New_York", "Asia/Tokyo"):
            cache.clear_all()
            cache.put(frame.tz_localize(zone), "AAPL", "1d", None, None)
            same(everything(cache, "AAPL", "1d"), frame)

    def test_forming_bars_are_not_stored(self, cache: UnifiedCache) -> None:
        frame = bars("2025-06-02 09:00", 4)  # the last one opens now
        cache.put(frame, "BTCUSDT", "1h", frame.index[0], frame.index[-1])
        same(everything(cache, "BTCUSDT", "1h"), frame.iloc[:3])
        assert cache.put(frame.iloc[3:], "BTCUSDT", "1h", None, None) is False

    def test_a_session_that_closed_today_is_stored(self, tmp_path: Path) -> None:
        evening = ManualClock(to_ms(datetime(2025, 6, 2, 21)))  # New York closed at 20:00 UTC
        cache = UnifiedCache(tmp_path, 10.0, clock=evening)
        frame = bars("2025-06-02", 1, "1D")
        assert cache.put(frame, "AAPL", "1d", None, None)
        assert not cache.put(frame, "BTCUSDT", "1d", None, None)

    def test_later_rows_replace_equal_timestamps_and_others_stay(self, cache: UnifiedCache) -> None:
        frame = bars("2025-03-01", 10)
        cache.put(frame, "BTCUSDT", "1h", frame.index[0], frame.index[-1], provider="one")
        revised = bars("2025-03-01", 10, seed=2).iloc[[2, 5]]
        cache.put(revised, "BTCUSDT", "1h", frame.index[0], frame.index[-1], provider="two")
        expected = frame.copy()
        expected.iloc[[2, 5]] = revised
        same(everything(cache, "BTCUSDT", "1h"), expected)

    def test_invalid_rows_are_left_out(
        self, cache: UnifiedCache, caplog: pytest.LogCaptureFixture
    ) -> None:
        frame = bars("2025-03-01", 3)
        frame.iloc[1, frame.columns.get_loc("high")] = 1.0  # below everything else
        assert cache.put(frame, "BTCUSDT", "1h", frame.index[0], frame.index[-1])
        same(everything(cache, "BTCUSDT", "1h"), frame.iloc[[0, 2]])
        assert "1 rows that cannot be bars are left out: high below low" in caplog.text
        text = gzip.decompress((cache.ohlcv_dir / "BTCUSDT/1h/2025.csv.gz").read_bytes())
        assert len(text.splitlines()) == 3  # the header and two good rows

    def test_the_vendor_and_basis_of_a_put_are_stored_in_the_coverage(
        self, cache: UnifiedCache
    ) -> None:
        frame = bars("2025-03-03", 5, "1D")
        last = frame.index[-1]
        cache.put(frame, "AAPL", "1d", frame.index[0], last, provider="yahoo", adjustment="split")
        covered = cache.store.view(SeriesKey("AAPL", Timeframe.parse("1d"))).coverage
        assert [(c.vendor, c.state, c.basis) for c in covered if c.state != "empty"] == [
            ("yahoo", "final", Basis("split", date(2025, 5, 30)))
        ]

    @pytest.mark.parametrize(
        ("symbol", "now", "session"),
        [
            ("AAPL", "2025-06-02T02:00", date(2025, 5, 30)),
            ("AAPL", "2025-06-02T13:30", date(2025, 6, 2)),
            ("AAPL", "2025-06-07T12:00", date(2025, 6, 6)),
            ("BHP.AX", "2025-06-02T23:59", date(2025, 6, 2)),
            ("BHP.AX", "2025-06-03T00:00", date(2025, 6, 3)),
            ("BHP.AX", "2025-11-02T23:00", date(2025, 11, 3)),
        ],
    )
    def test_a_put_is_adjusted_as_of_the_last_session_that_has_opened(
        self, tmp_path: Path, symbol: str, now: str, session: date
    ) -> None:
        cache = UnifiedCache(tmp_path / "cache", 10.0, clock=ManualClock(parse_iso(now)))
        cache.put(bars("2025-03-03", 5, "1D"), symbol, "1d", adjustment="split")
        covered = cache.store.view(SeriesKey(symbol, Timeframe.parse("1d"))).coverage
        assert {c.basis for c in covered if c.state != "empty"} == {Basis("split", session)}

    def test_unknown_options_of_a_put_are_named_in_the_log(
        self, cache: UnifiedCache, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert cache.put(bars("2025-03-01", 3), "BTCUSDT", "1h", None, None, ajustment="raw")
        assert "ajustment" in caplog.text
        assert not cache.put(bars("2025-03-01", 3), "BTCUSDT", "1h", adjustment="some")

    def test_the_requested_range_of_a_put_counts_as_answered_for_a_day(
        self, cache: UnifiedCache, clock: ManualClock
    ) -> None:
        frame = bars("2025-03-02", 24)
        cache.put(frame, "BTCUSDT", "1h", datetime(2025, 3, 1), datetime(2025, 3, 3, 23))
        view = cache.store.view(SeriesKey("BTCUSDT", HOURS))
        asked = Span(to_ms(datetime(2025, 3, 1)), to_ms(datetime(2025, 3, 3, 23)) + 1)
        assert view.coverage.standing(clock.now_ms()) == [asked]
        # Nobody but the caller said that there is nothing, so it is asked again some day.
        assert view.coverage.standing(clock.now_ms() + 2 * DAY_MS) == [
            Span(to_ms(datetime(2025, 3, 2)), to_ms(datetime(2025, 3, 3)))
        ]

    def test_a_put_does_not_cover_the_future(self, cache: UnifiedCache, clock: ManualClock) -> None:
        frame = bars("2025-06-02", 6)
        cache.put(frame, "BTCUSDT", "1h", frame.index[0], datetime(2026, 1, 1))
        coverage = cache.store.view(SeriesKey("BTCUSDT", HOURS)).coverage
        assert coverage[-1].span.end <= clock.now_ms()

    def test_sample_data_are_never_returned_for_a_real_request(self, cache: UnifiedCache) -> None:
        made_up, real = bars("2025-03-01", 10), bars("2025-03-01", 5, seed=2)
        assert cache.put(made_up, "BTCUSDT", "1h", None, None, provider="mock")
        assert not cache.store.view(SeriesKey("BTCUSDT", HOURS)).exists
        same(everything(cache, "BTCUSDT", "1h"), made_up)
        assert cache.list_timeframes("BTCUSDT") == ["1h"]
        cache.put(real, "BTCUSDT", "1h", None, None, provider="binance")
        same(everything(cache, "BTCUSDT", "1h"), real)

    def test_put_and_get_have_the_documented_parameters(self) -> None:
        names = list(inspect.signature(UnifiedCache.put).parameters)[1:]
        assert names == [
            "df", "symbol", "timeframe", "start_date", "end_date", "provider", "data_type",
            "start", "end", "kwargs",
        ]  # fmt: skip
        names = list(inspect.signature(UnifiedCache.get).parameters)[1:]
        assert names == [
            "symbol",
            "timeframe",
            "start_date",
            "end_date",
            "format",
            "data_type",
            "start",
            "end",
        ]


class TestOtherTables:
    def test_a_table_with_any_columns_round_trips(self, cache: UnifiedCache) -> None:
        index = pd.DatetimeIndex(
            ["2024-12-31 16:00:00.003", "2025-01-01 00:00", "2025-01-01 08:00"], name="timestamp"
        ).as_unit("ns")
        rates = pd.DataFrame({"fundingRate": [0.1 + 0.2, -1e-5, 3e-5]}, index=index)
        where = ("BTCUSDT", "8h", date(2024, 12, 31), date(2025, 1, 1))
        assert cache.put(rates, *where, provider="binance", data_type="funding_rate")
        same(cache.get(*where, data_type="funding_rate"), rates)
        assert (cache.cache_dir / "funding_rate/BTCUSDT/8h/2024.csv.gz").is_file()
        assert cache.get(*where) is None  # they are no bars
        assert cache.list_symbols() == []

    def test_put_merges_rows_and_the_later_value_counts(self, cache: UnifiedCache) -> None:
        frame = bars("2025-01-01", 6).rename(columns=str.upper)
        cache.put(frame.iloc[:4], "BTCUSDT", "1h", None, None, data_type="things")
        cache.put(frame.iloc[2:] * 2, "BTCUSDT", "1h", None, None, data_type="things")
        found = cache.get("BTCUSDT", "1h", date(2025, 1, 1), date(2025, 1, 2), data_type="things")
        same(found, pd.concat([frame.iloc[:2], frame.iloc[2:] * 2]))

    def test_a_damaged_table_file_is_set_aside(self, cache: UnifiedCache) -> None:
        frame = bars("2025-01-01", 6)
        cache.put(frame, "BTCUSDT", "1h", None, None, data_type="things")
        path = cache.cache_dir / "things/BTCUSDT/1h/2025.csv.gz"
        path.write_bytes(path.read_bytes()[:-20])
        assert (
            cache.get("BTCUSDT", "1h", date(2025, 1, 1), date(2025, 1, 2), data_type="things")
            is None
        )
        cache.put(frame.iloc[:1], "BTCUSDT", "1h", None, None, data_type="things")
        assert len(list(path.parent.glob("_quarantine/*.csv.gz"))) == 1

    def test_other_tables_are_cleared_by_type(self, cache: UnifiedCache) -> None:
        frame = bars("2025-01-01", 3)
        cache.put(frame, "BTCUSDT", "1h", None, None)
        for name in ("things", "others"):
            cache.put(frame, "BTCUSDT", "1h", None, None, data_type=name)
        where = ("BTCUSDT", "1h", date(2025, 1, 1), date(2025, 1, 2))
        cache.clear_symbol_timeframe("BTCUSDT", "1h", "things")
        assert cache.get(*where, data_type="things") is None
        assert cache.get(*where, data_type="others") is not None
        cache.clear_all("others")
        assert cache.get(*where, data_type="others") is None
        assert cache.get(*where) is not None

    @pytest.mark.parametrize("name", ["../up", "fundamentals", "_metadata", "A", ""])
    def test_a_data_type_that_cannot_be_a_folder_name_is_refused(
        self, cache: UnifiedCache, name: str
    ) -> None:
        assert not cache.put(bars("2025-01-01", 3), "BTCUSDT", "1h", None, None, data_type=name)
        assert sorted(p.name for p in cache.cache_dir.iterdir()) == []


class TestLists:
    def test_symbols_timeframes_and_years_are_listed(self, cache: UnifiedCache) -> None:
        for symbol, frame, count in (("BTC/USDT", "1h", 3), ("^VIX", "1M", 3), ("AAPL", "1d", 3)):
            freq = {"1h": "1h", "1M": "MS", "1d": "1D"}[frame]
            cache.put(bars("2023-12-01", count, freq), symbol, frame, None, None)
        cache.put(bars("2023-12-01", 3, "1min"), "^VIX", "1m", None, None)
        assert cache.list_symbols() == ["AAPL", "BTC/USDT", "^VIX"]
        assert cache.list_timeframes("^VIX") == ["1m", "1M"]
        assert cache.list_years("^VIX", "1M") == [2023, 2024]
        assert cache._get_available_years("AAPL", "1d") == [2023]
        assert cache.list_timeframes("NONE") == []
        assert cache.list_years("AAPL", "1h") == []

    def test_folders_that_are_not_series_are_skipped(self, cache: UnifiedCache) -> None:
        cache.put(bars("2025-01-01", 3), "AAPL", "1h", None, None)
        for name in ("_metadata/1h", "AAPL/fundamentals", "AAPL/1d@raw", ".x/1h"):
            folder = cache.ohlcv_dir / name
            folder.mkdir(parents=True)
            (folder / "2025.csv.gz").write_bytes(b"")
        assert cache.list_symbols() == ["AAPL"]
        assert cache.list_timeframes("AAPL") == ["1h"]

    def test_data_info_has_the_documented_keys(self, cache: UnifiedCache) -> None:
        frame = bars("2025-01-01", 5)
        cache.put(frame, "BTCUSDT", "1h", frame.index[0], frame.index[-1], provider="binance")
        info = cache.get_data_info("BTCUSDT", "1h", 2025)
        assert info is not None
        assert (info["symbol"], info["timeframe"], info["year"]) == ("BTCUSDT", "1h", 2025)
        assert info["data_source"] == info["provider_info"]["name"] == "binance"
        assert info["start_date"] == "2025-01-01T00:00:00"
        assert info["end_date"] == "2025-01-01T04:00:00"
        assert info["created_at"] == info["last_updated"] == "2025-06-02T12:00:00"
        assert set(info["data_quality"]) == {"score", "validation_errors", "gaps", "duplicates"}
        assert set(info["provider_info"]) == {"name", "reliability", "rate_limit"}
        size = (cache.ohlcv_dir / "BTCUSDT/1h/2025.csv.gz").stat().st_size
        assert info["file_info"] == {
            "format": "csv.gz", "size_bytes": size, "rows": 5,
            "columns": ["open", "high", "low", "close", "volume"],
        }  # fmt: skip
        assert cache.get_data_info("BTCUSDT", "1h", 2024) is None

    def test_get_stats_counts_files_series_and_symbols(
        self, cache: UnifiedCache, clock: ManualClock
    ) -> None:
        assert cache.get_stats()["last_updated"] is None
        cache.put(bars("2024-12-31 20:00", 8), "BTCUSDT", "1h", None, None)
        clock.advance(60)
        cache.put(bars("2025-01-01", 5), "ETHUSDT", "1h", None, None)
        stats = cache.get_stats()
        assert stats["files_count"] == 3
        assert stats["last_updated"] == "2025-06-02T12:01:00"
        assert stats["total_size_gb"] > 0
        assert (stats["symbols_count"], stats["series_count"], stats["bars_count"]) == (2, 2, 13)

    def test_get_stats_counts_bars_of_a_pinned_vendor(self, cache: UnifiedCache) -> None:
        cache.put(bars("2025-01-01", 5), "BTCUSDT", "1h", None, None)
        key = SeriesKey("AAPL", Timeframe.parse("1d"), ("yahoo",))
        cache.store.commit(key, Commit((piece(0, 7),)))
        stats = cache.get_stats()
        assert (stats["symbols_count"], stats["series_count"], stats["bars_count"]) == (2, 2, 12)

    def test_files_are_in_the_documented_folder_and_format(self, cache: UnifiedCache) -> None:
        cache.put(bars("2025-01-01", 5), "TEST", "1h", None, None)
        lane = cache.ohlcv_dir / "TEST" / "1h"
        assert sorted(p.name for p in lane.glob("*.csv.gz")) == ["2025.csv.gz"]
        assert sorted(p.name for p in lane.glob("*.metadata.json")) == ["2025.metadata.json"]
        plain = pd.read_csv(lane / "2025.csv.gz", index_col=0, parse_dates=True)
        assert plain.index.name == "timestamp"
        assert list(plain.columns) == ["open", "high", "low", "close", "volume"]
        assert len(plain) == 5


class TestPrivateNames:
    def test_load_year_data_returns_the_bars_of_one_year_or_none(self, cache: UnifiedCache) -> None:
        frame = bars("2024-12-31 20:00", 8)
        cache.put(frame, "BTCUSDT", "1h", None, None)
        same(cache._load_year_data("BTCUSDT", "1h", 2025), frame.iloc[4:])
        assert cache._load_year_data("BTCUSDT", "1h", 2020) is None

    def test_save_compressed_csv_writes_a_plain_file(
        self, cache: UnifiedCache, tmp_path: Path
    ) -> None:
        frame = bars("2025-01-01", 3)
        cache._save_compressed_csv(frame, tmp_path / "out.csv.gz")
        plain = pd.read_csv(tmp_path / "out.csv.gz", index_col=0, parse_dates=True)
        np.testing.assert_allclose(plain.to_numpy(), frame.to_numpy(), rtol=1e-12)

    def test_save_compressed_csv_refuses_files_of_the_locked_store(
        self, cache: UnifiedCache, tmp_path: Path
    ) -> None:
        frame = bars("2025-01-01", 3)
        cache.put(frame, "BTCUSDT", "1h", None, None)
        inside = cache.ohlcv_dir / "BTCUSDT" / "1h" / "2025.csv.gz"
        (tmp_path / "link").symlink_to(inside.parent)
        for path in (inside, str(inside), tmp_path / "link" / "2025.csv.gz"):
            with pytest.raises(StorageError, match="put"):
                cache._save_compressed_csv(frame * 2, path)
        same(everything(cache, "BTCUSDT", "1h"), frame)


class TestTheOneCacheOfAProcess:
    @pytest.fixture
    def fresh(self, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        """Return the module as a new process has it."""
        monkeypatch.setattr(package, "unified_cache", module)  # until the test ends
        monkeypatch.delitem(sys.modules, module.__name__)
        return importlib.import_module(module.__name__)

    def test_the_calls_used_by_older_programs_work(self, tmp_path: Path, fresh: ModuleType) -> None:
        cache = fresh.configure_unified_cache(cache_dir=str(tmp_path))
        frame = bars("2024-03-04", 5, "1D")
        a, b = datetime(2024, 3, 4), datetime(2024, 3, 8)
        assert cache.put(frame, "AAPL", "1d", a, b, provider="yahoo")
        same(fresh.get_unified_cache().get("AAPL", "1d", a, b), frame)
        assert cache.list_years("AAPL", "1d") == [2024]
        assert fresh.get_unified_cache() is cache

    def test_the_example_of_the_manual_works(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        cache = UnifiedCache(cache_dir="./my-cache", max_size_gb=20.0)
        assert cache.cache_dir == tmp_path / "my-cache"
        assert cache.max_size_gb == 20.0
        assert cache.ohlcv_dir == tmp_path / "my-cache" / "ohlcv"
        assert cache.metadata_dir == tmp_path / "my-cache" / "ohlcv" / "_metadata"

    def test_environment_variables_set_the_folder_and_the_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: ModuleType
    ) -> None:
        monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "told"))
        monkeypatch.setenv("CACHE_MAX_SIZE_GB", "20.0")
        cache = fresh.get_unified_cache()
        assert (cache.cache_dir, cache.max_size_gb) == (tmp_path / "told", 20.0)

    def test_concurrent_threads_get_the_same_cache(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: ModuleType
    ) -> None:
        monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path))
        barrier, found = threading.Barrier(8), []

        def ask() -> None:
            barrier.wait()
            found.append(fresh.get_unified_cache())

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, found))) == 1


class TestFaultsOfOld:
    """One test for each fault that caches of this layout used to have."""

    def test_two_writers_lose_no_bar(self, cache: UnifiedCache) -> None:
        """Interleaved rows of one range, by two objects and four threads."""
        frame = bars("2025-03-01", 120)
        caches = [cache, another(cache)]

        def write(part: int) -> None:
            mine = caches[part % 2]
            for step in range(3):
                rows = frame.iloc[part + 4 * step :: 12]
                assert mine.put(rows, "BTCUSDT", "1h", frame.index[0], frame.index[-1])

        threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for mine in caches:
            same(everything(mine, "BTCUSDT", "1h"), frame)

    def test_two_caches_on_one_folder_read_each_others_bars(self, cache: UnifiedCache) -> None:
        other = another(cache)
        first, more = bars("2025-03-01", 5), bars("2025-03-02", 5)
        cache.put(first, "BTCUSDT", "1h", None, None)
        same(everything(other, "BTCUSDT", "1h"), first)
        other.put(more, "BTCUSDT", "1h", None, None)
        same(everything(cache, "BTCUSDT", "1h"), pd.concat([first, more]))
        other.clear_symbol("BTCUSDT")
        assert everything(cache, "BTCUSDT", "1h") is None

    def test_an_append_does_not_rewrite_the_year_file(self, cache: UnifiedCache) -> None:
        path = cache.ohlcv_dir / "BTCUSDT/1h/2025.csv.gz"
        cache.put(bars("2025-03-01", 500), "BTCUSDT", "1h", None, None)
        before = path.read_bytes()
        cache.put(bars("2025-04-01", 1), "BTCUSDT", "1h", None, None)
        after = path.read_bytes()
        assert after[: len(before)] == before
        assert 0 < len(after) - len(before) < 1000

    def test_get_data_info_scores_missing_and_bad_rows(
        self, cache: UnifiedCache, clock: ManualClock
    ) -> None:
        frame = bars("2025-03-01", 24).drop(pd.Timestamp("2025-03-01 10:00"))
        frame.iloc[3, frame.columns.get_loc("low")] = -1.0
        doubled = pd.concat([frame, frame.iloc[[7]]])
        cache.put(doubled, "BTCUSDT", "1h", None, None)
        quality = cache.get_data_info("BTCUSDT", "1h", 2025)["data_quality"]
        # One hour never came, and one row of those that came cannot be a bar; each counts once.
        assert quality["score"] == pytest.approx(22 / 24, abs=1e-5)
        assert quality["duplicates"] == 1
        assert quality["gaps"] == 1
        assert any("not positive" in text for text in quality["validation_errors"])

    def test_created_at_does_not_change_when_bars_are_added(
        self, cache: UnifiedCache, clock: ManualClock
    ) -> None:
        cache.put(bars("2025-03-01", 5), "BTCUSDT", "1h", None, None)
        clock.advance(3600)
        cache.put(bars("2025-03-02", 5), "BTCUSDT", "1h", None, None)
        info = cache.get_data_info("BTCUSDT", "1h", 2025)
        assert info["created_at"] == "2025-06-02T12:00:00"
        assert info["last_updated"] == "2025-06-02T13:00:00"

    def test_a_flipped_bit_is_never_served(self, cache: UnifiedCache) -> None:
        frame = bars("2025-03-01", 50)
        cache.put(frame, "BTCUSDT", "1h", None, None)
        path = cache.ohlcv_dir / "BTCUSDT/1h/2025.csv.gz"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        assert everything(another(cache), "BTCUSDT", "1h") is None
        assert list(path.parent.glob("_quarantine/2025*"))

    def test_enforce_limit_evicts_replaceable_bars_by_least_recent_use(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        def must_keep(key: SeriesKey, part: Covered, now_ms: int) -> str:
            return "" if part.vendor == "binance" else "nobody else has it"

        cache = UnifiedCache(tmp_path, 0, clock=clock, must_keep=must_keep)
        for symbol, vendor in (("CCC", "binance"), ("BBB", "rare"), ("AAA", "binance")):
            answered = piece(12_000, 12_400, size=HOUR_MS, vendor=vendor)
            cache.store.commit(SeriesKey(symbol, HOURS), Commit((answered,)))
            clock.advance(600)
        cache.put(bars("2025-03-01", 400), "PUT", "1h", None, None, provider="binance")
        clock.advance(600)
        derived = tmp_path / "_columnar" / "AAA"
        derived.mkdir(parents=True)
        (derived / "1h.bin").write_bytes(b"0" * 1000)
        assert cache.enforce_limit() == 0  # no limit yet
        held = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
        cache.max_size_gb = (held - 3000) / 1024**3
        assert cache.enforce_limit() == 1
        assert not (derived / "1h.bin").exists()
        # Of those that can be had again the one unused for longest went.
        assert cache.list_symbols() == ["AAA", "BBB", "PUT"]
        assert not cache.store.view(SeriesKey("CCC", HOURS)).coverage

    def test_enforce_limit_keeps_bars_that_no_vendor_can_replace(
        self, tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = UnifiedCache(tmp_path, 1e-9, clock=clock)
        cache.put(bars("2025-03-01", 5), "BTCUSDT", "1h", None, None)
        assert cache.enforce_limit() == cache.enforce_limit() == 0
        assert cache.list_symbols() == ["BTCUSDT"]
        assert caplog.text.count("above its limit") == 1

    def test_the_size_limit_is_enforced_once_in_several_puts(
        self, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = UnifiedCache(tmp_path, 1.0, clock=clock)
        looks: list[int] = []
        monkeypatch.setattr(UnifiedCache, "enforce_limit", lambda _: looks.append(1) or 0)
        monkeypatch.setattr(module, "PUTS_BETWEEN_LOOKS", 3)
        for day in range(1, 8):
            cache.put(bars(f"2025-03-0{day}", 1), "BTCUSDT", "1h", None, None)
        assert len(looks) == 2

    def test_the_cache_can_be_used_after_clear_all(self, cache: UnifiedCache) -> None:
        frame = bars("2025-03-01", 5)
        cache.put(frame, "BTCUSDT", "1h", None, None)
        cache.get_stats()
        cache.clear_all()
        assert cache.list_symbols() == []
        assert everything(cache, "BTCUSDT", "1h") is None
        assert cache.put(frame, "BTCUSDT", "1h", None, None)
        same(everything(cache, "BTCUSDT", "1h"), frame)

    def test_clear_deletes_only_the_named_symbol_or_timeframe(self, cache: UnifiedCache) -> None:
        for symbol in ("AAA", "BBB"):
            for frame, freq in (("1h", "1h"), ("1d", "1D")):
                cache.put(bars("2025-03-01", 3, freq), symbol, frame, None, None)
        cache.clear(timeframe="1h")
        assert [cache.list_timeframes(s) for s in ("AAA", "BBB")] == [["1d"], ["1d"]]
        cache.clear("AAA", "1d")
        assert cache.list_symbols() == ["BBB"]
        cache.clear("BBB")
        assert cache.list_symbols() == []

    @pytest.mark.parametrize(
        "symbol", ["BTC/USDT", "^VIX", "CON", "BRK.B", "EURUSD=X", "BNB/USDT:USDT", "aapl", "..x"]
    )
    def test_odd_symbols_are_stored_inside_the_cache_and_listed(
        self, cache: UnifiedCache, symbol: str
    ) -> None:
        frame = bars("2025-03-01", 3)
        assert cache.put(frame, symbol, "1h", None, None)
        assert cache.list_symbols() == [symbol]
        same(everything(cache, symbol, "1h"), frame)
        assert len(list(cache.ohlcv_dir.glob("*/1h/2025.csv.gz"))) == 1

    @pytest.mark.parametrize(
        ("symbol", "other"), [("BTCUSDT", "BTC/USDT"), ("BRK-B", "BRK.B"), ("AAPL", "aapl")]
    )
    def test_bars_under_the_usual_spelling_are_found_under_every_other(
        self, cache: UnifiedCache, symbol: str, other: str
    ) -> None:
        frame = bars("2025-03-01", 3)
        cache.put(frame, symbol, "1h", None, None)
        same(everything(cache, other, "1h"), frame)
        assert (cache.list_timeframes(other), cache.list_years(other, "1h")) == (["1h"], [2025])
        assert cache.get_data_info(other, "1h", 2025) == cache.get_data_info(symbol, "1h", 2025)
        cache.put(frame * 2, other, "1h", None, None)
        same(everything(cache, other, "1h"), frame * 2)
        same(everything(cache, symbol, "1h"), frame)
        cache.clear(other)
        assert cache.list_symbols() == [symbol]
        cache.clear(other, "1h")
        assert cache.list_symbols() == []

    @pytest.mark.parametrize("symbol", ["..", "../up", "/etc", "a\0b", "\u202eAB", "A" * 99])
    def test_hostile_symbols_write_no_file_outside_of_the_cache(
        self, cache: UnifiedCache, tmp_path: Path, symbol: str
    ) -> None:
        cache.put(bars("2025-03-01", 3), symbol, "1h", None, None)
        assert [p.name for p in tmp_path.iterdir()] == ["cache"]

    def test_minutes_and_months_are_stored_in_separate_folders(self, cache: UnifiedCache) -> None:
        minutes, months = bars("2025-03-01", 3, "1min"), bars("2025-01-01", 3, "MS")
        cache.put(minutes, "BTCUSDT", "1m", None, None)
        cache.put(months, "BTCUSDT", "1M", None, None)
        folders = [p.name for p in (cache.ohlcv_dir / "BTCUSDT").iterdir()]
        assert len({name.lower() for name in folders}) == 2
        same(everything(cache, "BTCUSDT", "1m"), minutes)
        same(everything(cache, "BTCUSDT", "1M"), months)

    def test_an_unusable_folder_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        monkeypatch.chdir(tmp_path)
        for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
            with pytest.raises(StorageError):
                UnifiedCache(folder, 10.0)
        assert [p.name for p in tmp_path.iterdir()] == ["file"]

    def test_a_folder_that_became_read_only_is_an_error(
        self, cache: UnifiedCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("src.data.core.disk.files.os.mkdir", refuse)
        with pytest.raises(StorageError, match="permissions"):
            cache.put(bars("2025-03-01", 3), "BTCUSDT", "1h", None, None)

    @pytest.mark.parametrize("end", [datetime(2024, 12, 31), date(2024, 12, 31), "2024-12-31"])
    def test_an_end_at_midnight_includes_the_whole_day(
        self, cache: UnifiedCache, end: object
    ) -> None:
        frame = bars("2024-12-30", 72)
        cache.put(frame, "BTCUSDT", "1h", None, None)
        same(cache.get("BTCUSDT", "1h", datetime(2024, 1, 1), end), frame.iloc[:48])

    def test_a_date_means_the_day_of_the_venue(self, tmp_path: Path, clock: ManualClock) -> None:
        tokyo = Instrument("7203.T", "stock", "XTKS", "Asia/Tokyo")
        cache = UnifiedCache(tmp_path, 10.0, clock=clock, instrument_of=lambda _: tokyo)
        frame = bars("2025-03-03", 48)
        cache.put(frame, "7203.T", "1h", None, None)
        day = cache.get("7203.T", "1h", date(2025, 3, 4), date(2025, 3, 4))
        same(day, frame.loc["2025-03-03 15:00":"2025-03-04 14:00"])

    def test_a_frame_shorter_than_the_requested_range_covers_only_its_bars(
        self, cache: UnifiedCache, clock: ManualClock
    ) -> None:
        """The rest of the requested range is requested again."""
        frame = bars("2025-03-10", 24)
        cache.put(frame, "BTCUSDT", "1h", datetime(2025, 3, 1), datetime(2025, 3, 20))
        coverage = cache.store.view(SeriesKey("BTCUSDT", HOURS)).coverage
        final = [c.span for c in coverage if c.state == "final"]
        first = to_ms(datetime(2025, 3, 10))
        assert final == [Span(first, first + 24 * HOUR_MS)]


class TestCleanup:
    def test_cleanup_deletes_series_by_their_last_update(
        self, cache: UnifiedCache, clock: ManualClock
    ) -> None:
        cache.put(bars("2023-03-01", 3), "OLD", "1h", None, None)
        cache.put(bars("2023-03-01", 3), "QUIET", "1h", None, None)
        clock.advance(timedelta(days=400).total_seconds())
        cache.put(bars("2023-03-02", 3), "QUIET", "1h", None, None)
        assert cache.cleanup_old_data(max_age_days=365) == 1
        assert cache.list_symbols() == ["QUIET"]
        assert not cache.store.view(SeriesKey("OLD", HOURS)).coverage
        assert cache.cleanup_old_data() == 0

    def test_cleanup_deletes_only_the_old_years_of_a_series(
        self, cache: UnifiedCache, clock: ManualClock
    ) -> None:
        cache.put(bars("2023-03-01", 3), "BTCUSDT", "1h", None, None)
        clock.advance(timedelta(days=400).total_seconds())
        kept = bars("2025-03-01", 3)
        cache.put(kept, "BTCUSDT", "1h", None, None)
        assert cache.cleanup_old_data(365) == 1
        assert cache.list_years("BTCUSDT", "1h") == [2025]
        same(everything(cache, "BTCUSDT", "1h"), kept)


def test_metadata_are_plain_json(cache: UnifiedCache) -> None:
    cache.put(bars("2025-03-01", 3), "BTCUSDT", "1h", None, None)
    text = (cache.ohlcv_dir / "BTCUSDT/1h/2025.metadata.json").read_text()
    moment = datetime.fromisoformat(json.loads(text)["last_updated"])
    assert moment.tzinfo is None


@pytest.mark.parametrize("size", [-1, -0.5, float("nan"), float("inf")])
def test_an_invalid_size_limit_is_refused(tmp_path: Path, size: float) -> None:
    with pytest.raises(ConfigError, match=f"max_size_gb is {size}"):
        UnifiedCache(tmp_path / "cache", size)
    with pytest.raises(ConfigError):
        configure_unified_cache(tmp_path / "cache", size)
    assert not (tmp_path / "cache").exists()


def test_sorted_timestamps_are_not_hashed(
    cache: UnifiedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    sorting = np.unique

    def unique(values: np.ndarray, **options: bool) -> object:
        assert options, "it takes a quarter of a second for a year of minutes"
        return sorting(values, **options)

    frame = bars("2025-03-01", 500)
    frame.iloc[7, 0] = np.nan
    monkeypatch.setattr(np, "unique", unique)
    for name in ("union1d", "setdiff1d", "isin"):
        monkeypatch.setattr(np, name, unique)
    assert cache.put(frame, "BTCUSDT", "1h", "2025-03-01", "2025-03-21")


def test_a_size_limit_of_any_number_of_digits_is_a_limit(tmp_path: Path) -> None:
    cache = UnifiedCache(tmp_path, 1e300)
    assert cache.put(bars("2025-03-01", 3), "BTCUSDT", "1h")
    assert cache.enforce_limit() == 0
