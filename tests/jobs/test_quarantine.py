"""Quarantined rows: listed, restored if they can be bars, and deleted only on request."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BadRow, Bar, BarTable
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.stored.reasons import RESCALED
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.bar_rule import AHEAD
from src.data.core.wiring import Services, build
from src.data.data_manager import DataManager
from src.data.jobs.validation.quarantine import quarantine_report, restore
from tests.cli.conftest import Run, bare, machine

__all__ = ["bare", "machine"]

KEY = SeriesKey("BTCUSDT", Timeframe(1, "h"))
START = parse_iso("2024-03-01")


@pytest.fixture
def filled(tmp_path: Path, clock: ManualClock) -> DataManager:
    """Return a manager with ten bars: one could not be a bar, one was withdrawn by its vendor."""
    manager = DataManager(tmp_path / "cache", clock=clock)
    index = pd.date_range("2024-03-01", periods=10, freq="h", name="timestamp")
    close = np.linspace(100, 109, 10)
    frame = pd.DataFrame(
        {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 5.0},
        index=index,
    )
    frame.iloc[3, 1] = 1.0
    manager.cache.put(frame, "BTCUSDT", "1h", provider="binance")
    store = manager.cache.store
    whole = Span(START + 5 * HOUR_MS, START + 10 * HOUR_MS)
    table, _ = store.read(KEY, whole)
    kept = table.take(table.stamps != START + 7 * HOUR_MS)
    piece = CommitPiece(
        kept, whole, "binance", clock.now_ms(), store.view(KEY).kind or Kind(), Basis(), "final"
    )
    store.commit(KEY, Commit((piece,)))
    assert len(store.read(KEY, whole)[0]) == 4
    return manager


@pytest.fixture
def services(tmp_path: Path, clock: ManualClock) -> Services:
    """Return what a command would put bars back with, on the same folder."""
    return build(tmp_path / "cache", clock=clock)


def test_quarantined_rows_are_counted_by_reason(filled: DataManager) -> None:
    kept = quarantine_report(filled.client, KEY)
    assert kept.reasons == {"high below low": 1, "withdrawn by binance": 1}
    assert kept.to_json()["rows"] == 2
    assert [row["timestamp"] for row in kept.to_json(details=True)["rows_kept"]] == [
        "2024-03-01T03:00:00Z",
        "2024-03-01T07:00:00Z",
    ]


def test_cache_statistics_count_quarantined_rows_and_files(
    filled: DataManager, bare: Run, tmp_path: Path
) -> None:
    """As the list does: rows of series, damaged files, and files of tables and fundamentals."""
    stats = filled.cache.get_stats()
    assert (stats["quarantined_rows"], stats["quarantined_files"]) == (2, 0)
    year = next(Path(filled.cache.cache_dir).rglob("2024.csv.gz"))
    year.write_bytes(year.read_bytes()[:-9])
    filled.cache.maintenance.repair([KEY])
    listed = bare("cache", "quarantine", "list", "--json", "--cache-dir", str(tmp_path / "cache"))
    (one,) = listed.json
    assert one["rows"] >= 2 and one["files"] == 1
    elsewhere = tmp_path / "cache" / "fundamentals" / "AAPL" / "_quarantine"
    elsewhere.mkdir(parents=True)
    (elsewhere / "profile.0123.json").write_bytes(b"odd")
    reported = bare("cache", "stats", "--json", "--cache-dir", str(tmp_path / "cache")).json
    assert (reported["quarantined_rows"], reported["quarantined_files"]) == (one["rows"], 2)
    shown = bare("cache", "stats", "--cache-dir", str(tmp_path / "cache")).out
    assert f"{one['rows']} rows, 1 file (see `onetape cache quarantine list`)" in shown
    assert re.search("of other data +1 file in its `_quarantine` folders", shown)
    filled.cache.clear()
    shown = bare("cache", "stats", "--cache-dir", str(tmp_path / "cache")).out
    assert re.search("in quarantine +nothing", shown)
    assert re.search("of other data +1 file in its `_quarantine` folders", shown)
    listed = bare("cache", "quarantine", "list", "--cache-dir", str(tmp_path / "cache"))
    assert listed.out == "no rows or files of bars are quarantined\n"


def test_a_withdrawn_bar_is_restored_and_an_impossible_row_stays_in_quarantine(
    filled: DataManager, services: Services
) -> None:
    done, left = restore(services, KEY)
    assert [bar.stamp_ms for bar in done] == [START + 7 * HOUR_MS]
    assert [reason for _, reason in left] == ["high below low"]
    table, coverage = filled.cache.store.read(KEY, Span(START, START + 10 * HOUR_MS))
    assert table.close[table.stamps == START + 7 * HOUR_MS].tolist() == [107.0]
    assert len(table) == 9
    assert all(part.state in ("final", "provisional", "suspect") for part in coverage)
    again, stay = restore(services, KEY)
    assert again == []
    assert sorted(reason for _, reason in stay) == [
        "another bar is stored at that time",
        "high below low",
    ]
    # Nothing leaves the quarantine by it.
    assert len(quarantine_report(filled.client, KEY).rows) == 2


MARCH = Span(parse_iso("2024-03-04"), parse_iso("2024-03-09"))
APPLE = SeriesKey("AAPL", Timeframe(1, "d"))
SPLIT = Action(date(2024, 5, 1), "split", parse_iso("2024-05-01T13:30:00"), 2.0, 1.0)


PLACES = ["amid others", "where nothing is known", "where vendors have none"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("is_told", [True, False])
def test_a_bar_from_before_a_split_is_restored_converted_or_not_at_all(
    is_told: bool, place: str, tmp_path: Path, clock: ManualClock, services: Services
) -> None:
    """Five days at 100; after a split 2:1 they come at 50, and the third does not come any more."""
    manager = DataManager(tmp_path / "cache", clock=clock)
    store, third = manager.cache.store, MARCH.start + 2 * DAY_MS
    if is_told:
        asked = Span(MARCH.start, parse_iso("2024-06-13"))
        store.add_actions("AAPL", [SPLIT], asked, "yahoo", clock.now_ms())

    def commit(price: float, as_of: date, *, is_whole: bool) -> None:
        stamps = range(MARCH.start, MARCH.end, DAY_MS)
        bars = [Bar(ms, price, price + 1, price - 1, price, 1000 / price) for ms in stamps]
        table = BarTable.from_bars([bar for bar in bars if is_whole or bar.stamp_ms != third])
        basis, now = Basis("split", as_of), clock.now_ms()
        piece = CommitPiece(table, MARCH, "yahoo", now, Kind(), basis, "final")
        store.commit(APPLE, Commit((piece,)))

    commit(100.0, date(2024, 3, 11), is_whole=True)
    commit(50.0, date(2024, 6, 11), is_whole=False)
    if place == "where vendors have none":
        nothing = Covered(
            Span(third, third + DAY_MS), "empty", "yahoo,fmp", expires=clock.now_ms() + 99 * DAY_MS
        )
        store.commit(APPLE, Commit(marks=(nothing,)))
    if place == "where nothing is known":
        (part,) = store.read(APPLE, Span(third, third + DAY_MS))[1]
        unknown = (BarTable.empty(), part.span, part.vendor, clock.now_ms(), part.kind, part.basis)
        store.commit(APPLE, Commit((CommitPiece(*unknown, "final", holes=(part.span,)),)))
    done, left = restore(services, APPLE)
    if not is_told:
        assert (done, len(left)) == ([], 1) and "100" not in str(store.read(APPLE, MARCH)[0].close)
        return
    assert [(bar.stamp_ms, bar.close, bar.volume) for bar in done] == [(third, 50.0, 20.0)]
    answer = manager.get_ohlcv("AAPL", "1d", "2024-03-04", "2024-03-08", offline=True)
    assert answer["close"].tolist() == [50.0] * 5, "read as before, and without a jump"
    assert answer.attrs["onetape"]["vendors"] == ["yahoo"]


def test_a_rejected_row_that_looks_like_a_bar_is_not_restored(
    tmp_path: Path, clock: ManualClock, services: Services
) -> None:
    store = DataManager(tmp_path / "cache", clock=clock).cache.store
    rows = (
        BadRow(Bar(MARCH.start, 1000.0, 1010.0, 990.0, 1000.0, 5.0), RESCALED),
        BadRow(Bar(MARCH.start + DAY_MS, 10.0, 10.0, 10.0, 10.0, 5.0), AHEAD),
    )
    store.commit(KEY, Commit(suspects=rows))
    done, left = restore(services, KEY)
    assert (done, [reason for _, reason in left]) == ([], [RESCALED, AHEAD])


def test_a_bar_restored_to_an_empty_series_has_an_unknown_adjustment(
    tmp_path: Path, clock: ManualClock, services: Services
) -> None:
    store = DataManager(tmp_path / "cache", clock=clock).cache.store
    row = BadRow(Bar(MARCH.start, 10.0, 10.0, 10.0, 10.0, 5.0), "withdrawn by yahoo")
    store.commit(APPLE, Commit(suspects=(row,)))
    assert len(restore(services, APPLE)[0]) == 1
    (part,) = store.read(APPLE, Span(MARCH.start, MARCH.start + DAY_MS))[1]
    assert (part.vendor, part.basis) == ("yahoo", Basis("unknown"))


def test_quarantined_rows_are_deleted_only_by_a_purge(filled: DataManager) -> None:
    upkeep = filled.cache.maintenance
    (would,), _ = upkeep.purge_quarantine([KEY], dry_run=True)
    assert (would.files, len(quarantine_report(filled.client, KEY).rows)) == (1, 2)
    (gone,), problems = upkeep.purge_quarantine([KEY])
    assert (gone, problems) == (would, [])
    assert quarantine_report(filled.client, KEY).rows == ()
    assert len(filled.cache.store.read(KEY, Span(START, START + 10 * HOUR_MS))[0]) == 8
    assert upkeep.purge_quarantine([KEY])[0][0].files == 0


def test_cache_quarantine_lists_shows_restores_and_purges(filled: DataManager, bare: Run) -> None:
    def run(*words: str) -> tuple[int, str]:
        ran = bare("cache", "quarantine", *words, "--cache-dir", str(filled.cache.cache_dir))
        return ran.code, ran.out

    assert run("list")[1].splitlines()[2].split()[:3] == ["BTCUSDT", "1h", "2"]
    assert "withdrawn by binance" in run("show", "BTCUSDT", "1h")[1]
    assert run("restore", "BTCUSDT", "1h")[1].splitlines()[2].split() == ["BTCUSDT", "1h", "1", "1"]
    assert run("purge")[0] == 2
    assert "would be deleted: 1 file" in run("purge", "--all", "--dry-run")[1]
    assert run("purge", "BTCUSDT", "--json")[0] == 0
    assert run("list") == (0, "no rows or files of bars are quarantined\n")
