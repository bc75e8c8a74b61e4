"""Tests deletion by age: whole years of a lane, never under a doubtful clock, and always logged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.cache.format import json_document
from src.data.core.cache.retention.age import Aged, AgeRetention
from src.data.core.cache.store import Commit
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.retention import Age
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, to_ms, year_start
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import CacheError, QueryError
from tests.core.cache.bars import EVER, piece, write_older_year

NOW = to_ms(datetime(2026, 11, 21, 14))
DAILY = SeriesKey("BTCUSDT", Timeframe(1, "d"))
RAW = SeriesKey("BTCUSDT", Timeframe(1, "d"), ("raw",))
MONTHS = SeriesKey("BTCUSDT", Timeframe(1, "M"))


def days(first: str, last: str) -> pd.DataFrame:
    index = pd.date_range(first, last, freq="D", name="timestamp")
    rows = dict.fromkeys(("open", "high", "low", "close", "volume"), 100.0)
    return pd.DataFrame(rows, index=index)


def tree(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2026-11-21 14:00 UTC."""
    return ManualClock(NOW)


@pytest.fixture
def make(tmp_path: Path, clock: ManualClock) -> Callable[..., UnifiedCache]:
    """Return a maker of caches on one folder, with a limit of 1 GB and ``clock``."""
    return lambda **more: UnifiedCache(tmp_path, 1, clock=clock, private=False, **more)


@pytest.fixture
def cache(make: Callable[..., UnifiedCache]) -> UnifiedCache:
    """Return a cache with days of 2015, of autumn 2021, and of this year."""
    made = make()
    for first, last in (("2015-03-01", "2015-12-31"), ("2021-10-01", "2021-11-30"),
                        ("2026-11-01", "2026-11-20")):  # fmt: skip
        assert made.put(days(first, last), "BTCUSDT", "1d", provider="binance")
    return made


def test_only_whole_years_whose_newest_bar_is_older_are_deleted(cache: UnifiedCache) -> None:
    deletion = cache.delete_older_than("5y")  # 2021-11-21: most of the bars of 2021 are older
    assert [(one.key, one.year, one.rows) for one in deletion.years] == [(DAILY, 2015, 306)]
    assert cache.list_years("BTCUSDT", "1d") == [2021, 2026]
    kept = cache.get("BTCUSDT", "1d", "2021-01-01", "2021-12-31")
    assert kept is not None
    assert len(kept) == 61


def test_a_bar_is_as_old_as_its_close(cache: UnifiedCache, clock: ManualClock) -> None:
    close = to_ms(datetime(2021, 12, 1))
    clock.set(close + 1826 * DAY_MS - 1)
    assert 2021 not in {one.year for one in cache.delete_older_than("1826d", dry_run=True).years}
    clock.set(close + 1826 * DAY_MS)
    assert 2021 in {one.year for one in cache.delete_older_than("1826d", dry_run=True).years}


def test_a_month_counts_as_31_days_in_the_age_of_monthly_bars(
    make: Callable[..., UnifiedCache], clock: ManualClock
) -> None:
    clock.set(to_ms(datetime(2016, 12, 31)))
    cache = make()
    cache.put(days("2015-12-01", "2015-12-01"), "BTCUSDT", "1M", provider="binance")
    cache.put(days("2014-12-01", "2014-12-01"), "BTCUSDT", "1M", provider="binance")
    found = cache.delete_older_than("1y", dry_run=True)
    assert [(one.key, one.year) for one in found.years] == [(MONTHS, 2014)]


def test_each_lane_is_checked_separately(cache: UnifiedCache) -> None:
    start = year_start(2024)
    old = piece((year_start(2015) - start) // DAY_MS, (year_start(2016) - start) // DAY_MS)
    cache.store.commit(RAW, Commit((old,)))
    deletion = cache.delete_older_than("5y")
    assert {(one.key.lane, one.year) for one in deletion.years} == {((), 2015), (("raw",), 2015)}
    assert cache.store.years(RAW) == []


def test_a_deletion_is_logged_and_generations_continue(
    cache: UnifiedCache, make: Callable[..., UnifiedCache]
) -> None:
    newest = cache.store.view(DAILY).generation
    cache.delete_older_than("5y")
    entry = make().maintenance.log(DAILY)[-1]
    assert (entry["deleted"], entry["removed"], entry["years"]) == ("retention", 306, [2015])
    assert entry["generation"] == newest + 1
    with pytest.raises(QueryError, match="are no longer kept"):
        make().store.read_version(DAILY, EVER, newest)
    cache.put(days("2015-03-01", "2015-03-02"), "BTCUSDT", "1d", provider="binance")
    assert cache.store.view(DAILY).generation > newest + 1


def test_deleting_by_age_removes_versions_and_quarantine_of_the_year(
    cache: UnifiedCache, tmp_path: Path
) -> None:
    worse = days("2015-03-01", "2015-03-09")
    worse.loc["2015-03-04", "high"] = 1.0  # impossible: kept in quarantine
    cache.put(worse + 1, "BTCUSDT", "1d", provider="binance")
    lane = tmp_path / "ohlcv/BTCUSDT/1d"
    assert list(lane.glob("_versions/2015*"))
    assert list(lane.glob("_quarantine/2015*"))
    files = [path.stat() for path in lane.rglob("2015*") if path.suffix != ".log"]
    (one,) = cache.delete_older_than("5y").years
    assert one.bytes == sum({file.st_ino: file.st_size for file in files}.values())
    assert [path.name for path in lane.rglob("2015*")] == ["2015.log"]
    assert cache.get("BTCUSDT", "1d", "2015-01-01", "2015-12-31") is None


def test_a_dry_run_reports_the_same_and_deletes_nothing(
    cache: UnifiedCache, tmp_path: Path
) -> None:
    before = tree(tmp_path)
    reported = cache.delete_older_than("5y", dry_run=True)
    assert tree(tmp_path) == before
    assert cache.delete_older_than("5y").to_json() == reported.to_json()
    plain = reported.to_json()
    assert (plain["before"], plain["rows"]) == ("2021-11-21T14:00:00Z", 306)


def test_bars_stored_during_a_deletion_are_kept(
    cache: UnifiedCache, clock: ManualClock, make: Callable[..., UnifiedCache],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def rates(first: str) -> None:
        rows = pd.DataFrame({"funding_rate": 0.1}, pd.date_range(first, periods=3, freq="8h"))
        make().put(rows, "BTCUSDT", "8h", data_type="funding_rate", provider="binance")

    rates("2021-10-01")
    clock.set(to_ms(datetime(2021, 12, 5)) + 1826 * DAY_MS)
    deletion = cache.delete_older_than("1826d", dry_run=True)
    assert [one.year for one in deletion.years] == [2015, 2021, 2021]
    find = AgeRetention.find

    def slowly(self: AgeRetention, before: int) -> Aged:
        found = find(self, before)
        make().put(days("2021-12-01", "2021-12-31"), "BTCUSDT", "1d", provider="binance")
        rates("2021-12-10")
        return found

    monkeypatch.setattr(AgeRetention, "find", slowly)
    assert [one.year for one in cache.delete_older_than("1826d").years] == [2015]
    assert cache.list_years("BTCUSDT", "1d") == [2021, 2026]
    assert cache.tables("funding_rate").years(SeriesKey("BTCUSDT", Timeframe(8, "h"))) == [2021]


def test_a_file_with_bars_missing_from_the_metadata_is_kept(
    cache: UnifiedCache, tmp_path: Path
) -> None:
    data = tmp_path / "ohlcv/BTCUSDT/1d/2015.csv.gz"
    data.write_bytes(data.read_bytes() + b"torn")
    deletion = cache.delete_older_than("5y")
    assert deletion.years == ()
    assert "until `onetape cache repair`" in deletion.problems[0][1]
    assert data.exists()


def test_files_of_older_tools_are_deleted_by_the_same_rule(
    cache: UnifiedCache, tmp_path: Path
) -> None:
    folder = tmp_path / "ohlcv/ETHUSDT/1d"
    folder.mkdir(parents=True)
    for year in (2014, 2026):
        days(f"{year}-01-01", f"{year}-01-31").to_csv(folder / f"{year}.csv.gz")
    deletion = cache.delete_older_than("5y")
    assert [(one.key.symbol, one.year) for one in deletion.years] == [
        ("BTCUSDT", 2015),
        ("ETHUSDT", 2014),
    ]
    assert sorted(path.name for path in folder.glob("*.csv.gz")) == ["2026.csv.gz"]


def test_a_series_of_a_newer_version_is_reported_and_others_are_deleted(
    cache: UnifiedCache, make: Callable[..., UnifiedCache]
) -> None:
    assert cache.put(days("2014-01-01", "2014-03-01"), "ETHUSDT", "1d", provider="binance")
    path = cache.ohlcv_dir / "ETHUSDT/1d/2014.metadata.json"
    document = json_document.load(path.read_bytes())
    document["onetape"]["need"] = ["more"]
    path.write_bytes(json_document.dump(document))
    made = make()
    deletion = made.delete_older_than("5y")
    assert [(one.key, one.year) for one in deletion.years] == [(DAILY, 2015)]
    ((key, reason),) = deletion.problems
    assert (key.symbol, "update this library" in reason) == ("ETHUSDT", True)
    stats = made.overview()
    assert (stats["bars_count"], stats["series_count"]) == (81, 1)
    assert path.with_name("2014.csv.gz").exists()
    assert made.write_summaries()


def test_tables_are_deleted_by_year_and_other_files_stay(
    cache: UnifiedCache, tmp_path: Path
) -> None:
    for first in ("2015-03-01", "2026-03-01"):
        rows = pd.DataFrame({"funding_rate": 0.1}, index=pd.date_range(first, periods=3, freq="8h"))
        cache.put(rows, "BTCUSDT", "8h", data_type="funding_rate", provider="binance")
    note = tmp_path / "fundamentals/AAPL/fmp_20150101_000000.json"
    note.parent.mkdir(parents=True)
    note.write_text("{}")
    deletion = cache.delete_older_than("5y")
    assert [(one.data_type, one.year, one.rows) for one in deletion.years] == [
        ("ohlcv", 2015, 306), ("funding_rate", 2015, 3)]  # fmt: skip
    rates = cache.tables("funding_rate")
    key = SeriesKey("BTCUSDT", Timeframe(8, "h"))
    assert rates.years(key) == [2026]
    (entry,) = [entry for entry in rates.log(key) if entry["deleted"]]
    assert (entry["deleted"], entry["year"], entry["removed"]) == ("retention", 2015, 3)
    assert note.exists()


def test_deleting_every_bar_by_age_needs_an_explicit_option(
    cache: UnifiedCache, clock: ManualClock
) -> None:
    clock.set(to_ms(datetime(2033, 1, 1)))
    with pytest.raises(QueryError, match="all bars in the cache are older than 5y"):
        cache.delete_older_than("5y")
    assert cache.list_years("BTCUSDT", "1d") == [2015, 2021, 2026]
    assert cache.delete_older_than("5y", dry_run=True).is_all
    assert len(cache.delete_older_than("5y", every=True).years) == 3


def test_no_year_is_deleted_under_a_clock_behind_the_newest_commit(
    cache: UnifiedCache, clock: ManualClock
) -> None:
    clock.set(NOW - HOUR_MS)
    with pytest.raises(
        CacheError, match="the newest commit to the cache is from 2026-11-21"
    ) as caught:
        cache.delete_older_than("5y")
    assert "set the clock" in str(caught.value.hint)
    assert 2015 in cache.list_years("BTCUSDT", "1d")


def test_a_deletion_without_a_valid_age_is_refused(cache: UnifiedCache) -> None:
    with pytest.raises(QueryError, match="the rules set none"):
        cache.delete_older_than()
    with pytest.raises(QueryError, match="invalid age"):
        cache.delete_older_than("soon")


@pytest.mark.parametrize("days_", [-1, float("nan"), float("inf")])
def test_cleanup_with_an_invalid_age_is_refused(cache: UnifiedCache, days_: float) -> None:
    with pytest.raises(QueryError, match="must be 0 or more days"):
        cache.cleanup_old_data(days_)
    assert cache.list_years("BTCUSDT", "1d") == [2015, 2021, 2026]


# --- by the rules --------------------------------------------------------------------------


def test_commits_delete_old_years_once_a_day(
    cache: UnifiedCache, make: Callable[..., UnifiedCache], clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    kept = make(max_age=Age.parse("5y"))
    clock.advance(3600)
    with caplog.at_level(logging.INFO):
        kept.put(days("2026-11-20", "2026-11-20"), "BTCUSDT", "1d", provider="binance")
    assert "cache.retention: deleted 1 year, 306 rows" in caplog.messages
    assert kept.list_years("BTCUSDT", "1d") == [2021, 2026]
    kept.put(days("2014-03-01", "2014-12-31"), "BTCUSDT", "1d", provider="binance")
    for hours, stays in ((1, True), (22, True), (2, False)):
        clock.advance(hours * 3600)
        kept.put(days("2026-11-20", "2026-11-20"), "BTCUSDT", "1d", provider="binance")
        assert (2014 in kept.list_years("BTCUSDT", "1d")) == stays


def test_the_maintenance_after_a_job_deletes_old_years(
    cache: UnifiedCache, make: Callable[..., UnifiedCache], clock: ManualClock
) -> None:
    clock.advance(3600)
    make(max_age=Age.parse("5y")).look_after()
    assert cache.list_years("BTCUSDT", "1d") == [2021, 2026]
    make().look_after()
    assert cache.list_years("BTCUSDT", "1d") == [2021, 2026], "off by default"


def test_a_year_file_in_use_is_deleted_by_age_another_day(
    cache: UnifiedCache, make: Callable[..., UnifiedCache], clock: ManualClock
) -> None:
    for first in ("2015-03-01", "2026-03-01"):
        rates = pd.DataFrame({"funding_rate": 0.1}, index=pd.date_range(first, periods=3))
        cache.put(rates, "BTCUSDT", "1d", data_type="funding_rate", provider="binance")
    clock.advance(3600)
    kept = make(max_age=Age.parse("5y"))
    kept.store.read(DAILY, Span(year_start(2015), year_start(2016)))
    kept.look_after()
    assert 2015 in kept.list_years("BTCUSDT", "1d")
    assert kept.tables("funding_rate").years(DAILY) == [2026], "a table is not in use"
    clock.advance(3600)
    kept.look_after()
    assert 2015 not in kept.list_years("BTCUSDT", "1d")


def test_automatic_deletion_does_not_wait_for_a_writer(
    cache: UnifiedCache, make: Callable[..., UnifiedCache], clock: ManualClock
) -> None:
    clock.advance(3600)
    kept = make(max_age=Age.parse("5y"))
    with Disk().lock(kept.store.parts.lane(DAILY).paths.lock, 1.0):
        other = threading.Thread(target=kept.look_after, daemon=True)
        other.start()
        other.join(5.0)
        assert not other.is_alive()
    assert 2015 in kept.list_years("BTCUSDT", "1d")
    kept.look_after()
    assert 2015 not in kept.list_years("BTCUSDT", "1d")


@pytest.mark.parametrize("years_ahead", [5, 10])
def test_a_clock_ahead_deletes_no_further_year(
    cache: UnifiedCache, make: Callable[..., UnifiedCache], clock: ManualClock, years_ahead: int
) -> None:
    clock.advance(years_ahead * 366 * 86_400)
    make(max_age=Age.parse("5y")).look_after()
    assert cache.list_years("BTCUSDT", "1d") == [2021, 2026]


def test_a_clock_behind_raises_one_warning(
    cache: UnifiedCache, make: Callable[..., UnifiedCache], clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    clock.set(NOW - HOUR_MS)
    kept = make(max_age=Age.parse("5y"))
    with caplog.at_level(logging.WARNING):
        kept.look_after()
        kept.look_after()
    assert caplog.text.count("cache.retention: nothing is deleted by age") == 1
    assert 2015 in cache.list_years("BTCUSDT", "1d")


def test_the_last_years_of_a_cache_are_never_deleted_automatically(
    make: Callable[..., UnifiedCache], clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make(max_age=Age.parse("5y"))
    cache.put(days("2015-03-01", "2015-12-31"), "BTCUSDT", "1d", provider="binance")
    clock.advance(3600)
    with caplog.at_level(logging.WARNING):
        cache.look_after()
    assert "are not deleted automatically" in caplog.text
    assert cache.list_years("BTCUSDT", "1d") == [2015]


def test_a_frame_in_use_does_not_change_on_deletion(cache: UnifiedCache) -> None:
    span = Span(year_start(2015), year_start(2016))
    cache.store.read(DAILY, span)
    read, _ = cache.store.read(DAILY, span)
    cache.delete_older_than("5y")
    assert len(read) == 306
    assert float(read.close.sum()) == 306 * 100.0


@pytest.mark.parametrize("folder", ["AAPL/1d", "ohlcv/AAPL/1d"])
def test_a_dry_run_converts_no_file_of_an_older_tool(
    make: Callable[..., UnifiedCache], tmp_path: Path, folder: str
) -> None:
    make().put(days("2026-11-01", "2026-11-20"), "BTCUSDT", "1d", provider="binance")
    write_older_year(tmp_path / folder)
    before = tree(tmp_path)
    reported = make().delete_older_than("1y", dry_run=True)
    assert [(one.year, one.rows) for one in reported.years] == [(2024, 5)]
    assert tree(tmp_path) == before
    assert len(make().delete_older_than("1y").years) == 1
    assert not list(tmp_path.rglob("2024.csv.gz"))
