"""Tests the summaries for other programs: their contents, and when they are written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.facade import summaries as derived
from src.data.core.cache.facade.summaries import YearInfo, summaries, write_summaries
from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.time.instant import to_ms
from src.data.errors import StorageError

from .frames import bars

NOW = to_ms(datetime(2025, 6, 2, 12))
FILES = ["cache_stats.json", "providers.json", "quality_scores.json", "symbols.json"]


@pytest.fixture
def cache(tmp_path: Path) -> UnifiedCache:
    """Return an empty cache with a limit of 10 GB, at 2025-06-02 12:00 UTC."""
    return UnifiedCache(tmp_path / "cache", 10.0, clock=ManualClock(NOW))


def read(cache: UnifiedCache, name: str) -> Any:
    return json.loads((cache.metadata_dir / name).read_text())


def names(cache: UnifiedCache) -> list[str]:
    return sorted(p.name for p in cache.metadata_dir.glob("*") if not p.name.startswith("."))


def test_the_summaries_hold_sources_quality_and_symbols(cache: UnifiedCache) -> None:
    cache.put(bars("2024-12-31 20:00", 8), "BTC/USDT", "1h", None, None, provider="binance")
    cache.put(bars("2025-01-06", 3, "1D"), "AAPL", "1d", None, None, provider="yahoo")
    stats = cache.get_stats()
    assert names(cache) == FILES
    hour = {
        "provider": "binance", "last_updated": "2025-06-02T12:00:00", "quality_score": 1.0,
        "rows": 4,
    }  # fmt: skip
    day = hour | {"provider": "yahoo", "rows": 3}
    assert read(cache, "symbols.json") == {
        "BTC/USDT": {"1h": {"2024": hour, "2025": hour}},
        "AAPL": {"1d": {"2025": day}},
    }
    assert read(cache, "cache_stats.json") == {
        name: stats[name] for name in ("total_size_gb", "files_count", "last_updated")
    }
    providers = read(cache, "providers.json")
    assert providers["binance"]["symbols"] == ["BTC/USDT"]
    assert (providers["binance"]["files"], providers["binance"]["rows"]) == (2, 8)
    score = read(cache, "quality_scores.json")["AAPL"]["1d"]["2025"]
    assert (score["score"], score["gaps"], score["duplicates"]) == (1.0, 0, 0)


def test_the_summaries_are_rewritten_only_if_a_lane_has_changed(cache: UnifiedCache) -> None:
    cache.put(bars("2025-01-06", 3, "1D"), "AAPL", "1d", None, None, provider="yahoo")
    lane = cache.ohlcv_dir / "AAPL" / "1d"
    os.utime(lane, (1e9, 1e9))
    cache.get_stats()
    place = cache.metadata_dir / "symbols.json"
    place.write_text("{}")
    cache.get_stats()
    assert place.read_text() == "{}"
    place.unlink()
    cache.get_stats()
    assert read(cache, "symbols.json")["AAPL"]["1d"]["2025"]["rows"] == 3
    cache.put(bars("2025-01-09", 3, "1D"), "AAPL", "1d", None, None, provider="yahoo")
    cache.get_stats()
    assert read(cache, "symbols.json")["AAPL"]["1d"]["2025"]["rows"] == 6


def test_a_summary_of_metadata_without_facts_is_not_an_error() -> None:
    contents = summaries([YearInfo("A", "1d", 2020, {})], {})
    assert contents["symbols.json"]["A"]["1d"]["2020"]["rows"] == 0
    assert list(contents["providers.json"]) == ["unknown"]


def test_a_put_does_not_write_the_summaries(cache: UnifiedCache) -> None:
    cache.put(bars("2025-01-06", 3), "AAPL", "1h", None, None)
    assert not cache.metadata_dir.exists()


@pytest.mark.parametrize("content", ["", "{", '{"AAPL": {"1d": {}}}'])
def test_the_summaries_are_never_read(cache: UnifiedCache, content: str) -> None:
    cache.put(bars("2025-01-06", 3), "BTCUSDT", "1h", None, None)
    cache.get_stats()
    for name in FILES:
        (cache.metadata_dir / name).write_text(content)
    assert cache.list_symbols() == ["BTCUSDT"]
    assert cache.get_stats()["bars_count"] == 3
    assert list(read(cache, "symbols.json")) == ["BTCUSDT"]


def test_a_read_only_cache_has_statistics(
    cache: UnifiedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put(bars("2025-01-06", 3), "BTCUSDT", "1h", None, None)

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("read-only")

    monkeypatch.setattr(derived, "write_atomically", refuse)
    assert cache.get_stats()["bars_count"] == 3
    assert cache.write_summaries() is False


def test_a_writer_that_does_not_get_the_lock_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived, "LOCK_TIMEOUT_S", 0.02)
    disk, folder = Disk(), tmp_path / derived.FOLDER
    folder.mkdir()
    with disk.lock(folder / ".lock", 1.0):
        outcome: list[bool] = []
        other = threading.Thread(
            target=lambda: outcome.append(write_summaries(Disk(), tmp_path, {"a.json": 1}))
        )
        other.start()
        other.join()
    assert outcome == [False]
    assert not (folder / "a.json").exists()
    assert write_summaries(disk, tmp_path, {"a.json": 1})


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_summaries(Disk(), tmp_path, {"a.json": 1})

    class Full(Disk):
        def perform(self, step: Any, call: Any) -> Any:
            if step.name == "write":
                raise OSError(28, "No space left on device")
            return super().perform(step, call)

    assert not write_summaries(Full(), tmp_path, {"a.json": 2})
    folder = tmp_path / derived.FOLDER
    assert (folder / "a.json").read_text() == "1\n"
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp"))


_PROGRAM = """
import sys
from src.data.core.cache.store import Commit
from src.data.core.cache.facade.unified_cache import UnifiedCache
from tests.core.cache.bars import DAILY, piece
changed, unused = (UnifiedCache(folder, 10.0) for folder in sys.argv[1:])
changed.store.commit(DAILY, Commit((piece(0, 3),)))
"""


def test_the_summaries_are_written_when_the_process_ends(tmp_path: Path) -> None:
    root, folders = Path(__file__).resolve().parents[3], [tmp_path / "changed", tmp_path / "unused"]
    subprocess.run([sys.executable, "-c", _PROGRAM, *folders], cwd=root, check=True, timeout=300)
    written = [
        sorted(p.name for p in (one / "ohlcv" / "_metadata").glob("*.json")) for one in folders
    ]
    assert written == [FILES, []]


def test_writing_summaries_does_not_create_a_deleted_cache_again(cache: UnifiedCache) -> None:
    assert cache.write_summaries() is False
    assert not cache.ohlcv_dir.exists()
