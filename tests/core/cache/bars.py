"""Builders for bars, commit pieces and stores, for the tests of the cache."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from src.data.core.cache.format.documents import StretchDocument, coverage_of
from src.data.core.cache.read.series_reader import RangeReader, SeriesIndex
from src.data.core.cache.recovery.recover import recover
from src.data.core.cache.store import BarStore, CommitPiece, SeriesView
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, year_start
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe

START = year_start(2024)
NOW = year_start(2025)
# Sizes from which files of columns are mapped, and copied, in tests that lower them; and enough minute bars.
MAP_BYTES, OWN_BYTES, MAPPED = 300_000, 50_000, 6_000
DAILY = SeriesKey("AAPL", Timeframe(1, "d"))
MINUTES = SeriesKey("BTCUSDT", Timeframe(1, "m"))
KIND = Kind(venue="consolidated", unit="USD")
BASIS = Basis("split")
EVER = Span(year_start(2000), year_start(2040))
OLDER_CSV = "timestamp,open,high,low,close,volume\n" + "".join(
    f"2024-01-{n + 1:02d} 00:00:00,{100 + n / 10},{101 + n / 10},{99 + n / 10},{100 + n / 10},{n * 10}.0\n"
    for n in range(6)
)
OLDER_DESCRIPTION = {"symbol": "AAPL", "timeframe": "1d", "year": 2024, "data_source": "tool",
         "last_updated": "2024-06-01T00:00:00"}  # fmt: skip


def stored(coverage: Coverage) -> Coverage:
    """Return a coverage as it is read again."""
    return decoded(coverage.text)


def decoded(text: str) -> Coverage:
    """Return the coverage in a document, given its JSON text."""
    return coverage_of(msgspec.json.decode(text, type=list[StretchDocument]))


def at(step: int, size: int = DAY_MS) -> int:
    """Return the stamp of the bar number ``step`` of 2024."""
    return START + step * size


def days(first: int, end: int) -> Span:
    """Return the span of the daily bars ``first`` to ``end`` - 1."""
    return Span(at(first), at(end))


def table(
    steps: Iterable[int], shift: float = 0.0, *, size: int = DAY_MS, adj: bool = False
) -> BarTable:
    """Return bars whose values follow from their number and ``shift``."""
    numbers = np.array(list(steps), dtype=np.int64)
    price = numbers * 0.1 + 100.0 + shift
    return BarTable(
        START + numbers * size, price, price + 1, price - 1, price, numbers * 10.0,
        price / 2 if adj else None,
    )  # fmt: skip


def piece(first: int, end: int, steps: Iterable[int] | None = None, **other: Any) -> CommitPiece:
    """Return a piece over the bars ``first`` to ``end`` - 1, with all of them or only ``steps``."""
    size, shift = other.pop("size", DAY_MS), other.pop("shift", 0.0)
    rows = table(range(first, end) if steps is None else steps, shift, size=size,
                 adj=other.pop("adj", False))  # fmt: skip
    facts = {"vendor": "acme", "fetched_at": at(end, size), "kind": KIND, "basis": BASIS,
             "state": "final", "holes": ()}  # fmt: skip
    return CommitPiece(table=rows, span=Span(at(first, size), at(end, size)), **facts | other)


def minutes(first: int, end: int, **other: Any) -> CommitPiece:
    """Return a piece of minute bars."""
    return piece(first, end, size=MINUTE_MS, **other)


def mark(first: int, end: int, state: Any, size: int = DAY_MS, **other: Any) -> Covered:
    """Return a mark over the bars ``first`` to ``end`` - 1."""
    facts = {"vendor": "acme", "kind": KIND, "basis": BASIS, "fetched_at": at(end, size)}
    return Covered(Span(at(first, size), at(end, size)), state, **facts | other)


def store_in(root: Path, disk: Disk | None = None, **other: Any) -> BarStore:
    """Return a store whose clock is fixed."""
    return BarStore(root, disk, ManualClock(NOW), **other)


def index_of(store: BarStore) -> SeriesIndex:
    """Return an index of the series of a store, which shares its memory."""
    return SeriesIndex(store.memory, store.parts.lock_timeout_s)


def repaired(store: BarStore, key: SeriesKey) -> SeriesView:
    """Check and repair each year of a series under its lock; return the view of it."""
    parts, lane = store.parts, store.parts.lane(key)
    if parts.disk.stat(lane.paths.folder) is not None:
        with parts.disk.lock(lane.paths.lock, parts.lock_timeout_s):
            for year in lane.years():
                recover(lane, year)
    return store.view(key)


def reader_of(store: BarStore) -> RangeReader:
    """Return a reader of the bars of a store, which shares its memory and its columns."""
    parts = store.parts
    return RangeReader(
        parts.disk, index_of(store), parts.sidecars, store.memory, parts.lock_timeout_s
    )


def lane_folder(root: Path, key: SeriesKey = DAILY) -> Path:
    """Return the folder of the default lane of a plain symbol."""
    return root / "ohlcv" / key.symbol / key.timeframe.folder


def make_older(folder: Path) -> None:
    """Let a folder and what is in it be as it is for some time."""
    for path in (*folder.iterdir(), folder):
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10))


def write_older_year(
    folder: Path, text: str = OLDER_CSV, about: dict[str, object] = OLDER_DESCRIPTION
) -> None:
    """Write the year file and the metadata of an older tool, by default with bars 0 to 5."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "2024.csv.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "2024.metadata.json").write_text(json.dumps(about))


def numbers(rows: BarTable, size: int = DAY_MS) -> list[int]:
    """Return which bars a table holds."""
    return [int(n) for n in (rows.stamps - START) // size]


def states(store: BarStore, key: SeriesKey = DAILY) -> list[tuple[int, int, str]]:
    """Return the coverage as bar numbers and state."""
    size = key.timeframe.step_ms or DAY_MS
    return [
        ((c.span.start - START) // size, (c.span.end - START) // size, c.state)
        for c in store.view(key).coverage
    ]


def same(one: BarTable, other: BarTable) -> bool:
    """Return whether two tables are equal bit for bit (NaN equals NaN)."""
    if one.columns != other.columns or not np.array_equal(one.stamps, other.stamps):
        return False
    pairs = zip(one.values(), other.values(), strict=True)
    return all(np.array_equal(a.view(np.int64), b.view(np.int64)) for a, b in pairs)


def no_temps(root: Path) -> bool:
    """Return whether no temporary file is left anywhere."""
    return not list(root.rglob("*.tmp"))
