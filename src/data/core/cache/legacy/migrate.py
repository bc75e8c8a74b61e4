"""Converts all files from older tools on request, and deletes originals whose bars are all stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import CorruptEntryError
from ...model.identity.series import SeriesKey
from ...model.market.bars import BarTable, among
from ...model.stored.coverage import WITH_BARS, Coverage
from ...model.time.instant import iso
from ...model.time.span import Span
from ..format.json_document import DamagedError
from ..lane_files import LaneFiles
from ..read.year_file import MismatchError, open_year
from ..recovery.recover import sound_meta
from ..store_parts import StoreParts
from .adopt import OldYear, merged, read_older, remove_original, set_aside
from .reader import (
    describe_legacy,
    files_elsewhere,
    look_elsewhere,
    older_path,
    read_legacy,
    unread_rows,
)


@dataclass(frozen=True)
class OldFile:
    """One file from an older tool.

    Attributes:
        key: Series of the bars.
        year: Year of the bars.
        path: Path relative to the cache folder.
        rows: Number of bars in the file.
        taken: Number of bars imported; the last bar is excluded, because it may not have closed.
        said: Description of the outcome.
        problem: Reason why the bars cannot be imported; empty if they can.
    """

    key: SeriesKey
    year: int
    path: str
    rows: int = 0
    taken: int = 0
    said: str = ""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        names = ("year", "path", "rows", "taken", "said", "problem")
        entry = {"symbol": self.key.symbol, "timeframe": self.key.timeframe.label}
        return entry | {name: getattr(self, name) for name in names}


def migrate_series(store: StoreParts, key: SeriesKey, *, dry_run: bool) -> list[OldFile]:
    """Convert all files from older tools of a series; return them with actual or planned outcomes.

    Files that other files or the series' own bars hide are only set aside.

    Raises:
        CorruptEntryError: The bars read back differ from the originals; the file was not moved.
        LockTimeoutError: Another writer held the series for too long.
        StorageError: A file cannot be written or moved; no bars are lost.
    """
    lane = store.lane(key)
    look_elsewhere(lane)
    paths = {year: path for year in lane.years() if (path := older_path(lane, year)) is not None}
    hidden = [file for file in files_elsewhere(lane) if file[1] not in paths.values()]
    read: dict[int, list[OldYear]] = {year: [] for year in paths}
    files = [
        _describe(store, lane, year, path, read.get(year))
        for year, path in (*paths.items(), *hidden)
    ]
    if dry_run or not files:
        return files
    store.disk.make_folders(lane.paths.folder)
    with store.disk.lock(lane.paths.lock, store.lock_timeout_s):
        for year in paths:
            sound_meta(lane, year)
        for year, path in hidden:
            if store.disk.stat(path) is not None:
                set_aside(lane, year, path)
                remove_original(lane, year, path)
    look_elsewhere(lane)
    return files


def _describe(
    store: StoreParts, lane: LaneFiles, year: int, path: Path, better: list[OldYear] | None
) -> OldFile:
    """Describe a file, and add it to the ``better`` ones for its year; None if own bars hide them."""
    file = OldFile(lane.key, year, path.relative_to(store.layout.root).as_posix())
    older = read_older(lane, path)
    rows, known, taken = older.rows, 0, 0
    if better is not None:
        known = len(merged(better, lane.key.timeframe)[0])
        better.append(older)
        taken = len(merged(better, lane.key.timeframe)[0]) - known
    file = replace(file, rows=rows, taken=taken, problem=older.damage)
    if taken:
        return replace(file, said="taken over")
    if better is None or known:
        return replace(file, said="set aside: other bars for that year are already stored")
    if older.is_sample:
        return replace(file, rows=0, said="sample data: set aside, and never part of an answer")
    if older.damage:
        return replace(file, said="set aside, and a copy kept in quarantine")
    none = "none of its bars is known to have closed" if rows else f"it has no valid bars in {year}"
    return replace(file, said=f"set aside: {none}")


# --- deletion of originals ---------------------------------------------------------------

_DATA_NAME = re.compile(r"(?:[0-9a-f]{16}\.)?([12][0-9]{3})\.csv\.gz")
_METADATA_NAME = re.compile(
    r"(?:[0-9a-f]{16}\.)?([12][0-9]{3})(?:\.shared)?\.metadata\.json|metadata\.json"
)


@dataclass(frozen=True)
class PrunedFile:
    """An imported file from an older tool, and whether it may be deleted.

    Attributes:
        key: Series of the bars.
        path: Path relative to the cache folder.
        bytes: Size of the file.
        rows: Number of bars in the file.
        held: Number of the file's bars that the series also contains, bit for bit.
        superseded: Maps each vendor to the number of bars that it has since corrected or withdrawn.
        lacking: Timestamps of the file's other bars, which are not stored anywhere else.
        problem: Reason for keeping the file; empty if it is deleted.
    """

    key: SeriesKey
    path: str
    bytes: int = 0
    rows: int = 0
    held: int = 0
    superseded: dict[str, int] = field(default_factory=dict)
    lacking: tuple[int, ...] = ()
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary; ``deleted`` shows whether the file is deleted."""
        names = ("path", "bytes", "rows", "held", "superseded", "problem")
        entry = {"symbol": self.key.symbol, "timeframe": self.key.timeframe.label}
        entry |= {name: getattr(self, name) for name in names}
        return entry | {"lacking": [iso(s) for s in self.lacking], "deleted": not self.problem}


def prune_series(store: StoreParts, key: SeriesKey, *, dry_run: bool) -> list[PrunedFile]:
    """Delete imported older files whose bars are all stored in the series or replaced by a vendor's.

    Raises:
        LockTimeoutError: Another writer held the series for too long.
        StorageError: A file cannot be deleted; the files that are not deleted yet are intact.
    """
    lane = store.lane(key)
    if store.disk.stat(lane.paths.legacy) is None:
        return []
    if dry_run:
        return _files_of(store, lane)
    with store.disk.lock(lane.paths.lock, store.lock_timeout_s):
        originals = _files_of(store, lane)
        for file in originals:
            if not file.problem:
                store.disk.remove(store.layout.root / file.path)
        _drop_documents(lane)
        store.disk.sync_folder(lane.paths.legacy)
    return originals


def _files_of(store: StoreParts, lane: LaneFiles) -> list[PrunedFile]:
    return [
        _weigh(store, lane, int(match[1]), lane.paths.legacy / name)
        for name in store.disk.list(lane.paths.legacy)
        if (match := _DATA_NAME.fullmatch(name)) is not None
    ]


def _weigh(store: StoreParts, lane: LaneFiles, year: int, path: Path) -> PrunedFile:
    """Compare every bar in an imported older file with the stored bars, and return the result."""
    state = store.disk.stat(path)
    name, size = path.relative_to(store.layout.root).as_posix(), state.size if state else 0
    if describe_legacy(store.disk, path).is_sample:
        return PrunedFile(lane.key, name, size, problem="sample data, which exist nowhere else")
    try:
        table = read_legacy(store.disk, path, lane.key.timeframe, year)
    except CorruptEntryError:
        return PrunedFile(lane.key, name, size, problem="it cannot be read")
    if unread := unread_rows(store.disk, path, table):
        rows = "one of its rows is" if unread == 1 else f"{unread:,} of its rows are"
        problem = f"{rows} not cached: not valid bars in {year}, or at uncertain times"
        return PrunedFile(lane.key, name, size, len(table), problem=problem)
    try:
        file = open_year(lane, year, lane.meta(year))
    except (MismatchError, DamagedError):
        problem = "the cached bars are damaged: run `onetape cache repair` first"
        return PrunedFile(lane.key, name, size, len(table), problem=problem)
    now = file.table() if file is not None else BarTable.empty()
    coverage = file.state.coverage if file is not None else Coverage()
    return compared(PrunedFile(lane.key, name, size, len(table)), table, now, coverage)


def compared(pruned: PrunedFile, table: BarTable, now: BarTable, coverage: Coverage) -> PrunedFile:
    """Return ``pruned``, with counts of the bars in ``table`` that are stored, replaced or lost.

    Args:
        pruned: Older tool's file that was imported.
        table: Bars in that file.
        now, coverage: Bars stored for the same year, and their origin.
    """
    is_kept = _is_stored(table, now)
    superseded: dict[str, int] = {}
    lacking: list[int] = []
    for stamp in table.stamps[~is_kept].tolist():
        vendor = _replaced_by(stamp, now, coverage)
        if vendor:
            superseded[vendor] = superseded.get(vendor, 0) + 1
        else:
            lacking.append(stamp)
    problem = ""
    if lacking:
        bars = "one of its bars is" if len(lacking) == 1 else f"{len(lacking):,} of its bars are"
        problem = f"{bars} cached nowhere else, first {iso(lacking[0])}: fetch that span first"
    return PrunedFile(
        pruned.key,
        pruned.path,
        pruned.bytes,
        pruned.rows,
        int(is_kept.sum()),
        superseded,
        tuple(lacking),
        problem,
    )


def _replaced_by(stamp: int, now: BarTable, coverage: Coverage) -> str:
    """Return the vendor whose trusted answer now covers ``stamp``; empty if there is none."""
    entry = next(iter(coverage.touching(Span(stamp, stamp + 1))), None)
    if entry is None or (entry.state in WITH_BARS and entry.basis.adjustment == "unknown"):
        return ""
    is_doubted = (
        entry.state == "suspect" and not among(np.array([stamp], np.int64), now.stamps).any()
    )
    return "" if is_doubted else entry.vendor


def _is_stored(table: BarTable, now: BarTable) -> NDArray[np.bool_]:
    """Return a mask of the rows of ``table`` that the stored bars ``now`` contain bit for bit."""
    if not len(now):
        return np.zeros(len(table), dtype=bool)
    positions = np.minimum(np.searchsorted(now.stamps, table.stamps), len(now) - 1)
    same = now.stamps[positions] == table.stamps
    for left, right in zip(_columns(table), _columns(now), strict=True):
        other = right[positions]
        same &= (left.view(np.int64) == other.view(np.int64)) | (np.isnan(left) & np.isnan(other))
    return np.asarray(same, dtype=bool)


def _columns(table: BarTable) -> Sequence[NDArray[np.float64]]:
    adj = table.adj_close if table.adj_close is not None else np.full(len(table), np.nan)
    return [*table.values()[:5], adj]


def _drop_documents(lane: LaneFiles) -> None:
    """Remove the metadata of older tools' files that have been deleted."""
    names = lane.disk.list(lane.paths.legacy)
    years = {match[1] for match in map(_DATA_NAME.fullmatch, names) if match is not None}
    for name in names:
        match = _METADATA_NAME.fullmatch(name)
        if match is not None and (match[1] not in years if match[1] else not years):
            lane.disk.remove(lane.paths.legacy / name)
