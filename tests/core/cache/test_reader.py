"""Tests year files of older tools: found, read, rejected if invalid, and converted."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import os
import tracemalloc
import zlib
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.cache.legacy.reader import (
    LegacyYear,
    describe_legacy,
    folder_timeframes,
    legacy_coverage,
    legacy_files,
    read_legacy,
)
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.answer.frame import build_frame, table_of
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import HOUR_MS, to_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import CorruptEntryError, StorageError

from .frames import bars, older_file, same

NOW = to_ms(datetime(2025, 6, 2, 12))
HOURS, DAYS = Timeframe.parse("1h"), Timeframe.parse("1d")
BTC = SeriesKey("BTCUSDT", HOURS)


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    """Return an empty store at 2025-06-02 12:00 UTC."""
    return BarStore(tmp_path, clock=ManualClock(NOW))


def whole(store: BarStore, key: SeriesKey) -> pd.DataFrame:
    return build_frame(store.read(key, Span(0, NOW))[0])


def piece(frame: pd.DataFrame, vendor: str = "binance") -> Commit:
    table = table_of(frame)
    span = Span(int(table.stamps[0]), int(table.stamps[-1]) + HOUR_MS)
    return Commit((CommitPiece(table, span, vendor, NOW, Kind("24h"), Basis("raw"), "final"),))


LAYOUTS = ["ohlcv/BTCUSDT/1h", "BTCUSDT/1h"]


class TestBothLayouts:
    @pytest.mark.parametrize("folder", LAYOUTS)
    @pytest.mark.parametrize("documented", [True, False])
    def test_bars_of_an_older_tool_are_read_without_the_last(
        self, store: BarStore, tmp_path: Path, folder: str, documented: bool
    ) -> None:
        frame = bars("2025-01-01", 24)
        facts = {"data_source": "binance"} if documented else {}
        older_file(tmp_path / folder, frame, 2025, **facts)
        # Its last bar may not have been closed when it was written.
        same(whole(store, BTC), frame.iloc[:-1])
        assert store.years(BTC) == [2025]
        view = store.view(BTC)
        assert (view.rows, view.exists) == (23, True)
        start = to_ms(datetime(2025, 1, 1))
        assert [c.span for c in view.coverage] == [Span(start, start + 23 * HOUR_MS)]
        assert view.coverage[0].basis == Basis("unknown")
        assert view.coverage[0].vendor == ("binance" if documented else "unknown")

    @pytest.mark.parametrize("folder", LAYOUTS)
    def test_the_first_commit_converts_older_files(
        self, store: BarStore, tmp_path: Path, folder: str
    ) -> None:
        old = {
            2024: bars("2024-12-31 12:00", 12),
            2025: bars("2025-01-01", 24, seed=2),
        }
        paths = [
            older_file(tmp_path / folder, frame, year, data_source="binance")
            for year, frame in old.items()
        ]
        contents = {p.name: p.read_bytes() for p in paths}
        new = bars("2025-02-01", 5, seed=3)
        store.commit(BTC, piece(new))
        lane = tmp_path / "ohlcv" / "BTCUSDT" / "1h"
        for year in old:
            assert b"OT" in (lane / f"{year}.csv.gz").read_bytes()[:64]
            assert (lane / "_legacy" / f"{year}.csv.gz").read_bytes() == contents[f"{year}.csv.gz"]
            document = json.loads((lane / "_legacy" / f"{year}.metadata.json").read_text())
            assert document["data_source"] == "binance"
        assert not list((tmp_path / "BTCUSDT").rglob("*.csv.gz"))
        expected = pd.concat([old[2024].iloc[:-1], old[2025].iloc[:-1], new])
        for reader in (store, BarStore(tmp_path, clock=ManualClock(NOW))):
            same(whole(reader, BTC), expected)
            bases = [c.basis.adjustment for c in reader.view(BTC).coverage]
            assert set(bases) == {"unknown", "raw"}

    def test_bars_of_this_library_take_precedence_over_an_older_file(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        new = bars("2025-02-01", 5)
        store.commit(BTC, piece(new))
        older_file(tmp_path / "BTCUSDT/1h", bars("2025-01-01", 24, seed=2), 2025)
        same(whole(BarStore(tmp_path), BTC), new)

    @pytest.mark.parametrize("folder", LAYOUTS)
    def test_files_with_an_old_modification_time_are_read_and_remembered(
        self, store: BarStore, tmp_path: Path, folder: str
    ) -> None:
        """What is known of a file is remembered once it is older than a moment."""
        frame = bars("2025-01-01", 24)
        path = older_file(tmp_path / folder, frame, 2025, data_source="binance")
        for each in path.parent.iterdir():
            os.utime(each, (1_700_000_000, 1_700_000_000))
        for _ in range(2):
            same(whole(store, BTC), frame.iloc[:-1])
            assert store.view(BTC).rows == 23
        new = bars("2025-02-01", 5)
        store.commit(BTC, piece(new))
        same(whole(store, BTC), pd.concat([frame.iloc[:-1], new]))

    def test_the_newer_layout_wins(self, store: BarStore, tmp_path: Path) -> None:
        one, other = bars("2025-01-01", 24), bars("2025-01-01", 24, seed=2)
        older_file(tmp_path / LAYOUTS[0], one, 2025)
        older_file(tmp_path / LAYOUTS[1], other, 2025)
        same(whole(store, BTC), one.iloc[:-1])

    def test_symbols_were_written_as_typed(self, store: BarStore, tmp_path: Path) -> None:
        frame = bars("2025-01-06", 5, "1D")
        for name in ("^VIX", "EURUSD=X", "brk.b"):
            older_file(tmp_path / "ohlcv" / name / "1d", frame, 2025)
            key = SeriesKey(name.upper(), DAYS)
            same(whole(store, key), frame.iloc[:-1])

    def test_a_folder_in_lowercase_belongs_to_the_symbol_in_uppercase(self, tmp_path: Path) -> None:
        frame = bars("2025-01-01", 24)
        older_file(tmp_path / "btcusdt/1h", frame, 2025)
        cache = UnifiedCache(tmp_path, 10.0, clock=ManualClock(NOW))
        assert cache.list_symbols() == ["BTCUSDT"]
        for name in ("btcusdt", "BTCUSDT", "BTC/USDT"):
            same(cache.get(name, "1h", date(2025, 1, 1), date(2025, 1, 2)), frame)
        assert (tmp_path / "ohlcv/BTCUSDT/1h/_legacy/2025.csv.gz").is_file()

    @pytest.mark.parametrize("name", ["brk.b", "btc", "foo_bar"])
    def test_a_name_in_lowercase_that_the_data_manager_spells_otherwise_finds_its_folder(
        self, tmp_path: Path, name: str
    ) -> None:
        frame = bars("2025-01-01", 24)
        older_file(tmp_path / name / "1h", frame, 2025)
        for _ in range(2):
            cache = UnifiedCache(tmp_path, 10.0, clock=ManualClock(NOW))
            same(cache.get(name, "1h", date(2024, 12, 30), date(2025, 1, 3)), frame)
            assert cache.list_timeframes(name) == ["1h"]

    def test_months_were_written_as_1M(self, store: BarStore, tmp_path: Path) -> None:
        frame = bars("2025-01-01", 5, "MS")
        older_file(tmp_path / "ohlcv/AAPL/1M", frame, 2025, data_source="yahoo")
        months = SeriesKey("AAPL", Timeframe.parse("1M"))
        same(whole(store, months), frame.iloc[:-1])
        assert not store.view(SeriesKey("AAPL", Timeframe.parse("1m"))).exists
        store.commit(months, Commit(piece(bars("2025-05-01", 1, "MS")).pieces))
        assert (tmp_path / "ohlcv/AAPL/1mo/_legacy/2025.csv.gz").is_file()
        assert not (tmp_path / "ohlcv/AAPL/1M/2025.csv.gz").exists()

    def test_one_tool_wrote_months_as_1m(self, store: BarStore, tmp_path: Path) -> None:
        older_file(tmp_path / "ohlcv/AAPL/1m", bars("2025-01-01", 5, "MS"), 2025)
        assert not len(whole(store, SeriesKey("AAPL", Timeframe.parse("1m"))))

    def test_lanes_other_than_the_default_have_no_older_files(self, tmp_path: Path) -> None:
        older_file(tmp_path / "ohlcv/BTCUSDT/1h", bars("2025-01-01", 5), 2025)
        assert not legacy_files(tmp_path, SeriesKey("BTCUSDT", HOURS, ("raw",)), "BTCUSDT")


class TestReading:
    @pytest.mark.parametrize("label", ["timestamp", "datetime", "Date", ""])
    def test_the_first_column_is_the_time_whatever_its_name(
        self, tmp_path: Path, label: str
    ) -> None:
        frame = bars("2025-01-01", 24)
        path = older_file(tmp_path / "1h", frame, 2025, label=label)
        same(build_frame(read_legacy(Disk(), path, HOURS)), frame)

    def test_values_of_older_files_are_read_bit_for_bit(self, tmp_path: Path) -> None:
        frame = bars("2025-01-01", 2000)
        table = read_legacy(Disk(), older_file(tmp_path / "1h", frame, 2025), HOURS)
        assert table.close.tobytes() == frame["close"].to_numpy().tobytes()

    def test_times_with_a_time_zone_are_converted_to_utc(self, tmp_path: Path) -> None:
        frame = bars("2025-01-01 05:00", 24)
        local = frame.tz_localize("UTC").tz_convert("America/New_York")
        path = older_file(tmp_path / "1h", local, 2025)
        same(build_frame(read_legacy(Disk(), path, HOURS)), frame)

    def test_capitalised_and_additional_columns_are_accepted(self, tmp_path: Path) -> None:
        frame = bars("2025-01-01", 24)
        odd = frame.rename(columns=str.title).assign(trades=7, source="x")
        odd["Adj Close"] = frame["close"] / 2
        table = read_legacy(Disk(), older_file(tmp_path / "1h", odd, 2025), HOURS)
        same(build_frame(table), frame.assign(adj_close=frame["close"] / 2))

    def test_unsorted_and_duplicate_rows_are_accepted(self, tmp_path: Path) -> None:
        frame = bars("2025-01-01", 24)
        mixed = pd.concat([frame.iloc[3:4] * 2, frame.iloc[::-1]])
        path = older_file(tmp_path / "1h", mixed, 2025)
        same(build_frame(read_legacy(Disk(), path, HOURS)), frame)

    def test_rows_that_cannot_be_bars_become_holes(self, tmp_path: Path) -> None:
        frame = bars("2025-01-01", 24).astype(object)
        frame.iloc[3, 0] = "oops"
        frame.iloc[5, 3] = -1.0
        frame.iloc[7] = np.nan
        frame.iloc[9, 4] = np.inf
        frame.iloc[11, 4] = -5.0
        frame.index = frame.index.where(frame.index.hour != 13)
        table = read_legacy(Disk(), older_file(tmp_path / "1h", frame, 2025), HOURS)
        assert len(table) == 18
        spans = [c.span for c in legacy_coverage(table, HOURS, LegacyYear("x"))]
        start = to_ms(datetime(2025, 1, 1))
        edges = [(0, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 13), (14, 23)]
        assert spans == [Span(start + a * HOUR_MS, start + b * HOUR_MS) for a, b in edges]

    def test_bars_of_another_year_are_left_out(self, tmp_path: Path) -> None:
        frame = bars("2024-12-31 20:00", 24)
        path = older_file(tmp_path / "1h", frame, 2025)
        same(build_frame(read_legacy(Disk(), path, HOURS)), frame.loc["2025"])

    def test_the_year_can_be_passed_if_the_file_name_begins_differently(
        self, tmp_path: Path
    ) -> None:
        frame = bars("2024-12-31 20:00", 24)
        path = older_file(tmp_path / "1h", frame, 2025)
        other = path.rename(path.with_name(f"2024ab0123456789.{path.name}"))
        same(build_frame(read_legacy(Disk(), other, HOURS, 2025)), frame.loc["2025"])

    @pytest.mark.parametrize(
        ("timeframe", "stamps", "meant"),
        [
            ("1d", ["2025-01-06 05:00", "2025-01-07 05:00"], ["2025-01-06", "2025-01-07"]),
            ("1d", ["2025-01-06 15:00", "2025-01-07 00:00"], ["2025-01-07"]),
            ("1w", ["2025-01-06", "2025-01-17", "2025-01-26"], ["2025-01-06", "2025-01-13"]),
            ("1M", ["2025-01-31", "2025-02-01 05:00"], ["2025-01-01", "2025-02-01"]),
        ],
    )
    def test_stamps_of_older_files_become_dates_or_are_left_out(
        self, tmp_path: Path, timeframe: str, stamps: list[str], meant: list[str]
    ) -> None:
        frame = bars("2025-01-01", len(stamps))
        frame.index = pd.DatetimeIndex(pd.to_datetime(stamps, format="ISO8601"))
        path = older_file(tmp_path / timeframe, frame, 2025)
        table = read_legacy(Disk(), path, Timeframe.parse(timeframe))
        assert build_frame(table).index.tolist() == [pd.Timestamp(day) for day in meant]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"timestamp,open,high,low,close,volume\n",
            gzip.compress(b"", mtime=0),
            gzip.compress(b"a,b\n1,2\n", mtime=0),
            gzip.compress(b"date,close\n2025-01-01,2\n", mtime=0),
            gzip.compress(b"timestamp,open,high,low,close,volume\nsoon,1,1,1,1,1\n", mtime=0),
            gzip.compress(b"timestamp,open,high,low,close,volume\n1735689600,1,1,1,1,1\n", mtime=0),
            gzip.compress(b"\x00\xff\xfe" * 40, mtime=0),
            gzip.compress(b"timestamp,open,high,low,close,volume\n" * 9, mtime=0)[:-4],
            zlib.compress(b"timestamp,open,high,low,close,volume\n2025-01-01,1,1,1,1,1\n"),
        ],
        ids=[
            "empty",
            "plain",
            "nothing",
            "no bars",
            "no prices",
            "no time",
            "epoch",
            "binary",
            "cut off",
            "no gzip",
        ],
    )
    def test_bytes_that_are_no_year_file_are_a_corrupt_entry(
        self, tmp_path: Path, content: bytes
    ) -> None:
        path = tmp_path / "2025.csv.gz"
        path.write_bytes(content)
        with pytest.raises(CorruptEntryError, match=r"2025\.csv\.gz"):
            read_legacy(Disk(), path, HOURS)

    def test_a_gzip_bomb_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("src.data.core.cache.format.gzip_member.MOST_TEXT", 10_000)
        path = tmp_path / "2025.csv.gz"
        path.write_bytes(gzip.compress(b"0" * 1_000_000))
        with pytest.raises(CorruptEntryError, match="too large"):
            read_legacy(Disk(), path, HOURS)

    def test_a_gzip_bomb_is_inflated_no_further_than_the_limit_of_a_year(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        most = 24 << 20
        monkeypatch.setattr("src.data.core.cache.format.gzip_member.MOST_TEXT", most)
        path = tmp_path / "2025.csv.gz"
        path.write_bytes(gzip.compress(b"0" * 50_000_000, 1))
        tracemalloc.start()
        try:
            with pytest.raises(CorruptEntryError, match="too large"):
                read_legacy(Disk(), path, HOURS)
            assert tracemalloc.get_traced_memory()[1] < 1.5 * most
        finally:
            tracemalloc.stop()

    def test_a_gzip_bomb_after_the_allowed_number_of_bytes_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("src.data.core.cache.format.gzip_member.MOST_TEXT", 10_000)
        path = tmp_path / "2025.csv.gz"
        path.write_bytes(gzip.compress(b"0" * 10_000) + gzip.compress(b"0" * 1_000_000))
        with pytest.raises(CorruptEntryError, match="too large"):
            read_legacy(Disk(), path, HOURS)

    def test_a_gzip_bomb_in_many_members_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("src.data.core.cache.format.gzip_member.MOST_TEXT", 10_000)
        path = tmp_path / "2025.csv.gz"
        path.write_bytes(b"".join(gzip.compress(b"0" * size) for size in (100, 6_000, 6_000)))
        with pytest.raises(CorruptEntryError, match="too large"):
            read_legacy(Disk(), path, HOURS)

    def test_all_members_of_a_file_are_read(self, tmp_path: Path) -> None:
        path = older_file(tmp_path / "1h", bars("2025-01-01", 10), 2025)
        text = gzip.decompress(path.read_bytes())
        parts = (text[:100], b"", text[100:])
        path.write_bytes(b"".join(map(gzip.compress, parts)))
        assert len(read_legacy(Disk(), path, HOURS)) == 10

    def test_a_year_without_rows_is_not_reported_as_damaged(self, tmp_path: Path) -> None:
        path = tmp_path / "2025.csv.gz"
        path.write_bytes(gzip.compress(b"timestamp,open,high,low,close,volume\n"))
        assert len(read_legacy(Disk(), path, HOURS)) == 0

    @pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["no byte", "no text"])
    def test_a_file_without_rows_is_reported_as_empty(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "2025.csv.gz"
        path.write_bytes(content)
        with pytest.raises(CorruptEntryError, match="it is empty"):
            read_legacy(Disk(), path, HOURS)

    @pytest.mark.parametrize(("count", "frame"), [(3, "1M"), (4, "1M"), (4, "1m"), (4, "1h")])
    def test_bars_of_another_timeframe_are_refused(
        self, tmp_path: Path, count: int, frame: str
    ) -> None:
        """Minutes in a folder of days, months in one of minutes: no bar of them is one of its own."""
        freq = {"1M": "MS", "1m": "min", "1h": "h"}[frame]
        path = older_file(tmp_path / "x", bars("2025-01-01", count, freq), 2025)
        other = Timeframe.parse("1m") if frame == "1M" else DAYS
        with pytest.raises(CorruptEntryError, match="does not contain"):
            read_legacy(Disk(), path, other)

    def test_times_with_two_utc_offsets_are_converted_to_one_clock(self, tmp_path: Path) -> None:
        path = tmp_path / "2025.csv.gz"
        rows = [
            "timestamp,open,high,low,close,volume",
            "2025-03-09T01:00:00-05:00,1,1,1,1,1",
            "2025-03-09T03:00:00-04:00,1,1,1,1,1",
        ]
        path.write_bytes(gzip.compress("\n".join(rows).encode()))
        first = to_ms(datetime(2025, 3, 9, 6))
        assert read_legacy(Disk(), path, HOURS).stamps.tolist() == [first, first + HOUR_MS]

    def test_integers_that_look_like_dates_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "2025.csv.gz"
        path.write_bytes(gzip.compress(b"date,open,high,low,close,volume\n20250102,1,1,1,1,1\n"))
        with pytest.raises(CorruptEntryError, match="numbers instead of times"):
            read_legacy(Disk(), path, DAYS)

    def test_a_file_truncated_anywhere_is_refused(self, tmp_path: Path) -> None:
        path = older_file(tmp_path / "1h", bars("2025-01-01", 10), 2025)
        content = path.read_bytes()
        for size in range(len(content)):
            path.write_bytes(content[:size])
            with pytest.raises(CorruptEntryError):
                read_legacy(Disk(), path, HOURS)


class TestWhereTheyAreLookedFor:
    @pytest.mark.parametrize("symbol", ["A/../SECRET", "A/B", " AAPL", ".A", "_A"])
    def test_a_symbol_is_read_only_from_its_own_folder(self, tmp_path: Path, symbol: str) -> None:
        (tmp_path / "A").mkdir()
        older_file(tmp_path / symbol / "1d", bars("2025-01-01", 3), 2025)
        assert legacy_files(tmp_path, SeriesKey(symbol, DAYS), "QUOTED") == []

    def test_a_file_in_place_of_a_folder_contains_no_years(self, tmp_path: Path) -> None:
        (tmp_path / "BTCUSDT").mkdir()
        (tmp_path / "BTCUSDT" / "1h").write_bytes(b"")
        assert legacy_files(tmp_path, BTC, "BTCUSDT") == []

    def test_a_folder_that_cannot_be_listed_is_not_taken_for_empty(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(folder: object) -> list[str]:
            raise OSError(errno.EIO, "made to fail")

        older_file(tmp_path / LAYOUTS[0], bars("2025-01-01", 3), 2025)
        monkeypatch.setattr(os, "listdir", fail)
        with pytest.raises(StorageError, match="made to fail"):
            legacy_files(tmp_path, BTC, "BTCUSDT")

    def test_a_folder_with_another_spelling_is_not_a_timeframe(self, tmp_path: Path) -> None:
        for name in ("60m", "1mo", "7x"):
            older_file(tmp_path / name, bars("2025-01-01", 3), 2025)
        assert {frame.label for frame in folder_timeframes(tmp_path)} == {"1M"}


class TestWhatIsSaid:
    @pytest.mark.parametrize("name", ["2025.metadata.json", "metadata.json"])
    def test_the_document_next_to_a_file_describes_the_file(
        self, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / name).write_text(
            '{"data_source": "fmp", "last_updated": "2025-01-15T10:30:00"}'
        )
        about = describe_legacy(Disk(), tmp_path / "2025.csv.gz")
        assert about == LegacyYear("fmp", to_ms(datetime(2025, 1, 15, 10, 30)))

    @pytest.mark.parametrize("text", [
        "", "[]", "{", '{"data_source": 5, "last_updated": "x"}', '{"last_updated": 5}',
        '{"data_source": "", "last_updated": null}', "[" * 100_000,
        '{"last_updated": "0001-01-01T00:00:00+14:00", "created_at": "soon"}',
    ])  # fmt: skip
    def test_an_odd_document_counts_as_absent(self, tmp_path: Path, text: str) -> None:
        path = older_file(tmp_path / "1h", bars("2025-01-01", 3), 2025)
        (path.parent / "2025.metadata.json").write_text(text)
        about = describe_legacy(Disk(), path)
        assert about.vendor == "unknown"
        assert about.fetched_at == path.stat().st_mtime_ns // 1_000_000

    def test_the_description_of_a_deleted_legacy_file_is_empty(self, tmp_path: Path) -> None:
        assert describe_legacy(Disk(), tmp_path / "2025.csv.gz") == LegacyYear()

    def test_sample_data_of_older_tools_are_not_served_as_bars(
        self, store: BarStore, tmp_path: Path
    ) -> None:
        older_file(tmp_path / LAYOUTS[0], bars("2025-01-01", 24), 2025, data_source="mock")
        assert not store.view(BTC).coverage
        assert store.years(BTC) == []
        assert not len(whole(store, BTC))

    def test_a_missing_weekend_splits_the_coverage_of_an_older_file(self) -> None:
        days = pd.date_range("2025-01-06", periods=10, freq="B")
        frame = bars("2025-01-06", 10)
        frame.index = days
        spans = [c.span for c in legacy_coverage(table_of(frame), DAYS, LegacyYear("x"))]
        monday, next_monday = to_ms(datetime(2025, 1, 6)), to_ms(datetime(2025, 1, 13))
        assert spans == [
            Span(monday, monday + 5 * 24 * HOUR_MS),
            Span(next_monday, next_monday + 4 * 24 * HOUR_MS),
        ]

    def test_an_older_file_with_one_bar_covers_no_span(self) -> None:
        table = table_of(bars("2025-01-01", 1))
        assert not legacy_coverage(table, HOURS, LegacyYear("x"))
        assert not legacy_coverage(BarTable.empty(), HOURS, LegacyYear("x"))

    def test_monthly_bars_are_adjacent_by_the_calendar(self) -> None:
        table = table_of(bars("2025-01-01", 6, "MS"))
        months = Timeframe.parse("1M")
        spans = [c.span for c in legacy_coverage(table, months, LegacyYear("x"))]
        assert spans == [Span(to_ms(datetime(2025, 1, 1)), to_ms(datetime(2025, 6, 1)))]


class TestDamage:
    @pytest.mark.parametrize("folder", LAYOUTS)
    def test_a_damaged_older_file_has_no_bars_and_is_kept(
        self, store: BarStore, tmp_path: Path, folder: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = older_file(tmp_path / folder, bars("2025-01-01", 24), 2025, data_source="binance")
        damaged = path.read_bytes()[:-30]
        path.write_bytes(damaged)
        os.utime(path, (NOW // 1000 - 3600,) * 2)  # nobody is writing it any more
        with caplog.at_level(logging.WARNING):
            assert not store.view(BTC).coverage
            assert not len(whole(store, BTC))
        assert "2025.csv.gz" in caplog.text
        new = bars("2025-02-01", 5)
        store.commit(BTC, piece(new))
        same(whole(store, BTC), new)
        lane = tmp_path / "ohlcv" / "BTCUSDT" / "1h"
        kept = {p.parent.name for p in lane.rglob("_*/*.csv.gz") if p.read_bytes() == damaged}
        assert kept == {"_legacy", "_quarantine"}
        note = next(lane.glob("_quarantine/*.json")).read_text()
        assert "truncated" in note


class TestTheCompatFace:
    def cache(self, root: Path) -> UnifiedCache:
        return UnifiedCache(root, 10.0, clock=ManualClock(NOW))

    @pytest.mark.parametrize("folder", LAYOUTS)
    def test_the_cache_lists_bars_of_an_older_folder(self, tmp_path: Path, folder: str) -> None:
        frame = bars("2025-01-01", 24)
        older_file(tmp_path / folder, frame, 2025, data_source="binance")
        cache = self.cache(tmp_path)
        assert cache.list_symbols() == ["BTCUSDT"]
        assert cache.list_timeframes("BTCUSDT") == ["1h"]
        assert cache.list_years("BTCUSDT", "1h") == [2025]
        same(cache.get("BTCUSDT", "1h", date(2025, 1, 1), date(2025, 1, 2)), frame)
        info = cache.get_data_info("BTCUSDT", "1h", 2025)
        assert info is not None
        assert info["data_source"] == "binance"
        assert info["created_at"] == "2025-01-15T10:30:00"
        # It stays so when the files have been taken over.
        new = bars("2025-02-01", 3)
        cache.put(new, "BTCUSDT", "1h", None, None)
        found = cache.get("BTCUSDT", "1h", date(2025, 1, 1), date(2025, 3, 1))
        same(found, pd.concat([frame, new]))

    def test_a_put_over_older_bars_keeps_the_others(self, tmp_path: Path) -> None:
        frame = bars("2025-01-01", 24)
        older_file(tmp_path / LAYOUTS[0], frame, 2025)
        cache = self.cache(tmp_path)
        revised = frame.iloc[[2, 20]] * 2
        cache.put(revised, "BTCUSDT", "1h", None, None, provider="other")
        expected = frame.copy()
        expected.iloc[[2, 20]] = revised
        same(cache.get("BTCUSDT", "1h", date(2025, 1, 1), date(2025, 1, 2)), expected)

    def test_get_data_info_describes_an_older_file_without_a_document(self, tmp_path: Path) -> None:
        older_file(tmp_path / LAYOUTS[1], bars("2025-01-01", 24), 2025)
        info = self.cache(tmp_path).get_data_info("BTCUSDT", "1h", 2025)
        assert info is not None
        assert info["data_source"] == "unknown"
        assert info["file_info"]["rows"] == 23
        assert info["start_date"] == "2025-01-01T00:00:00"

    @pytest.mark.parametrize("folder", LAYOUTS)
    def test_clearing_a_series_deletes_its_files_of_older_tools(
        self, tmp_path: Path, folder: str
    ) -> None:
        older_file(tmp_path / folder, bars("2025-01-01", 24), 2025, data_source="mock")
        other = older_file(tmp_path / "fundamentals/BTCUSDT", bars("2025-01-01", 2), 2025)
        cache = self.cache(tmp_path)
        cache.clear_symbol_timeframe("BTCUSDT", "1h")
        assert not list(tmp_path.glob(f"{folder}/*.csv.gz"))
        assert cache.list_symbols() == []
        older_file(tmp_path / folder, bars("2025-01-01", 24), 2025)
        cache.clear_all()
        assert not list(tmp_path.glob(f"{folder}/*.csv.gz"))
        assert other.exists()

    def test_folders_of_other_data_are_not_listed_as_symbols(self, tmp_path: Path) -> None:
        frame = bars("2025-01-01", 3)
        for folder in ("funding_rate/BTCUSDT/8h", "AAPL/fundamentals", "_metadata/1h"):
            older_file(tmp_path / folder, frame, 2025)
        older_file(tmp_path / "AAPL/1d", frame, 2025)
        assert folder_timeframes(tmp_path / "AAPL") == {DAYS}
        assert self.cache(tmp_path).list_symbols() == ["AAPL"]
