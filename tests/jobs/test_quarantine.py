"""What is kept aside is listed, shown, put back where it can be a bar, and deleted on request alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.data.cache.store import Commit, CommitPiece
from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.jobs.quarantine import quarantine_report, restore
from src.data.model.instant import HOUR_MS, parse_iso
from src.data.model.kind import Basis, Kind
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe
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


def test_it_is_told_by_reason(filled: DataManager) -> None:
    kept = quarantine_report(filled._services.client, KEY)
    assert kept.reasons == {"high below low": 1, "withdrawn by binance": 1}
    assert kept.to_json()["rows"] == 2
    assert [row["timestamp"] for row in kept.to_json(details=True)["rows_kept"]] == [
        "2024-03-01T03:00:00Z",
        "2024-03-01T07:00:00Z",
    ]


def test_a_withdrawn_bar_comes_back_and_what_is_no_bar_stays(filled: DataManager) -> None:
    done, left = restore(filled._services, KEY)
    assert [bar.stamp_ms for bar in done] == [START + 7 * HOUR_MS]
    assert [reason for _, reason in left] == ["high below low"]
    table, coverage = filled.cache.store.read(KEY, Span(START, START + 10 * HOUR_MS))
    assert table.close[table.stamps == START + 7 * HOUR_MS].tolist() == [107.0]
    assert len(table) == 9
    assert all(part.state in ("final", "provisional", "suspect") for part in coverage)
    again, stay = restore(filled._services, KEY)
    assert again == []
    assert sorted(reason for _, reason in stay) == ["a bar is stored there", "high below low"]
    # Nothing leaves the quarantine by it.
    assert len(quarantine_report(filled._services.client, KEY).rows) == 2


def test_nothing_is_deleted_but_by_a_purge(filled: DataManager) -> None:
    upkeep = filled.cache.maintenance
    (would,), _ = upkeep.purge_quarantine([KEY], dry_run=True)
    assert (would.files, len(quarantine_report(filled._services.client, KEY).rows)) == (1, 2)
    (gone,), problems = upkeep.purge_quarantine([KEY])
    assert (gone, problems) == (would, [])
    assert quarantine_report(filled._services.client, KEY).rows == ()
    assert len(filled.cache.store.read(KEY, Span(START, START + 10 * HOUR_MS))[0]) == 8
    assert upkeep.purge_quarantine([KEY])[0][0].files == 0


def test_the_command(filled: DataManager, bare: Run) -> None:
    def run(*words: str) -> tuple[int, str]:
        ran = bare("cache", "quarantine", *words, "--cache-dir", str(filled.cache.cache_dir))
        return ran.code, ran.out

    assert "BTCUSDT 1h" in run("list")[1]
    assert "withdrawn by binance" in run("show", "BTCUSDT", "1h")[1]
    assert "restored: 1 bar; still aside: 1 row" in run("restore", "BTCUSDT", "1h")[1]
    assert run("purge")[0] == 2
    assert "would be deleted: 1 file" in run("purge", "--all", "--dry-run")[1]
    assert run("purge", "BTCUSDT", "--json")[0] == 0
    assert run("list") == (0, "nothing is kept aside\n")
