"""A writer in another process, and a reader whose memory tier must never be behind it."""

from __future__ import annotations

import asyncio
import os
from datetime import date
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import redis

from src.data.core.cache.values import Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.research.loading.data_cache import DataCache
from tests.conftest import WEDNESDAY
from tests.core.cache.counts import FULL

# ONETAPE_READS=100000 takes minutes; made by hand after changes.
READS = int(os.environ.get("ONETAPE_READS", "300" if FULL else "100"))
_EACH = max(READS // 500, 10)
_DAYS = Span(parse_iso("2024-05-01"), parse_iso("2024-05-03"))
_KIND = Kind("24h", "clock", "binance", "USDT", "base")


def _write(manager: DataManager, number: int) -> None:
    """Commit two days whose closes are a number."""
    stamps = np.arange(_DAYS.start, _DAYS.end, DAY_MS, dtype=np.int64)
    table = BarTable.of_columns(stamps, [np.full(2, float(number))] * 5)
    piece = CommitPiece(table, _DAYS, "binance", WEDNESDAY, _KIND, Basis("raw"), "final")
    series = SeriesKey("BTCUSDT", Timeframe.parse("1d"))
    manager.cache.store.commit(series, Commit((piece,), kind=_KIND))


def _keep_writing(folder: Path, written: Any, is_due: Any, has_begun: Any, is_over: Any) -> None:
    """Commit one number after the other, and show each once its commit has returned."""
    manager = DataManager(folder, clock=ManualClock(WEDNESDAY))
    while not is_over.is_set():
        is_due.wait()
        is_due.clear()
        _write(manager, written.value + 1)
        written.value += 1
        has_begun.set()


def test_no_answer_is_older_than_the_last_commit_before_the_question(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    manager = DataManager(folder, clock=ManualClock(WEDNESDAY))
    _write(manager, 1)
    cache = DataCache(redis.Redis(port=9), manager=manager)  # nothing listens there
    # A fork need not import the library.
    processes = get_context("spawn" if FULL else "fork")
    written = processes.Value("q", 1)
    is_due, has_begun, is_over = (processes.Event() for _ in range(3))
    writer = processes.Process(
        target=_keep_writing, args=(folder, written, is_due, has_begun, is_over), daemon=True
    )
    writer.start()
    is_due.set()
    assert has_begun.wait(120)  # it imports

    async def main() -> tuple[int, int, int, int]:
        stale = held = 0
        closes, last = [0.0], None
        for number in count():
            if number >= READS and (closes[0] > 5 or not writer.is_alive()):
                break
            if number % _EACH == 0:
                is_due.set()
            before = written.value
            frame = await cache.get_prices("BTCUSDT", "1d", date(2024, 5, 1), date(2024, 5, 2))
            closes = frame["close"].to_list()
            stale += closes[0] < before or closes[0] != closes[1]
            held += closes == last
            last = closes
        return stale, held, number, int(closes[0])

    try:
        stale, held, reads, newest = asyncio.run(main())
    finally:
        is_over.set()
        is_due.set()
        writer.join()
    assert not stale and newest > 5 and held > reads // 3 and cache.memory_cache_size
    print(f"{reads} reads, {newest} commits, {held} answers as before, {stale} stale")
