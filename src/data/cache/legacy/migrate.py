"""Imports files from older tools on request; every bar is verified before old names are removed.

The originals are kept under ``_legacy`` in the folder of their series. A process that dies midway
leaves each of them under its old name or the new one, and the next run continues.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CorruptEntryError
from ...model.bars import BarTable, among
from ...model.coverage import WITH_BARS, Coverage
from ...model.instant import iso
from ...model.series import SeriesKey
from ...model.span import Span
from ..format.documents import YearState
from ..format.gzip_member import file_id
from ..format.json_document import DamagedError
from ..lane_files import LaneFiles
from ..layout import encode_symbol
from ..read.year_file import MismatchError, YearFile, open_year
from ..recovery import quarantine
from ..recovery.check import same_bits
from ..recovery.recover import sound_meta
from ..store import StoreParts
from ..values import Commit, CommitPiece
from ..write.commit import CommitRun
from ..write.coverage_update import by_year
from ..write.segments import with_pieces
from ..write.year_writer import Target, columns_for, compose
from .adopt import OldYear, remove_elsewhere, set_aside
from .reader import describe_legacy, legacy_files, read_legacy, unread_rows


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
    """Import a series' files from older tools; return the files with actual or planned outcomes.

    Raises:
        CorruptEntryError: The bars read back differ from the originals; nothing was moved.
        LockTimeoutError: Another writer held the series for too long.
        StorageError: A file cannot be written or moved; no bars are lost.
    """
    store.old.forget(key)
    lane = store.lane(key)
    old_files = dict(store.old.of(lane, lane.years()))
    hidden_files = _hidden_files(store, lane, old_files)
    files = [_describe(store, key, year, path) for year, path in sorted(old_files.items())]
    files += [_as_hidden(_describe(store, key, year, path)) for year, path in hidden_files]
    if dry_run or not files:
        return files
    years = {year: store.old.read(key, path) for year, path in old_files.items()}
    for year, old in years.items():
        _prove(key, year, old)
    store.disk.make_folders(lane.paths.folder)
    with store.disk.lock(lane.paths.lock, store.lock_timeout_s):
        for year in years:
            sound_meta(lane, year)  # a writer may have died while writing it
    CommitRun(lane, Commit(), store.old).run(store.lock_timeout_s)
    with store.disk.lock(lane.paths.lock, store.lock_timeout_s):
        for year, old in years.items():
            if old.pieces():
                _check_stored(lane, year, old)
            else:
                _put_aside(lane, year, old.path, old.damage)
        for year, path in hidden_files:
            _put_aside(lane, year, path, "")
    store.old.forget(key)
    return files


def _describe(store: StoreParts, key: SeriesKey, year: int, path: Path) -> OldFile:
    file = OldFile(key, year, path.relative_to(store.layout.root).as_posix())
    if describe_legacy(store.disk, path).is_sample:
        return replace(file, said="sample data: set aside, and never part of an answer")
    old = store.old.read(key, path)
    if old.damage:
        return replace(file, said="set aside, and a copy kept in quarantine", problem=old.damage)
    rows = len(read_legacy(store.disk, path, key.timeframe))
    none = "none of its bars is known to have closed" if rows else f"it has no valid bars in {year}"
    outcome = "taken over" if len(old.table) else f"set aside: {none}"
    return replace(file, rows=rows, taken=len(old.table), said=outcome)


def _hidden_files(
    store: StoreParts, lane: LaneFiles, old_files: Mapping[int, Path]
) -> list[tuple[int, Path]]:
    """Return the older files that are hidden by the series' own bars or by a preferred layout."""
    encoded = encode_symbol(lane.key.symbol)
    return [
        (year, path)
        for year, path in legacy_files(store.layout.root, lane.key, encoded)
        if path not in old_files.values() and path.parent != lane.paths.folder
    ]


def _as_hidden(file: OldFile) -> OldFile:
    return replace(file, taken=0, said="set aside: other bars for that year are already stored")


# --- proof ---------------------------------------------------------------------------------


def _prove(key: SeriesKey, year: int, old: OldYear) -> None:
    """Check that bars survive encoding and decoding in memory, before anything on disk changes.

    Raises:
        CorruptEntryError: The decoded bars differ from the originals in at least one bit.
    """
    parts = by_year(Commit(pieces=old.pieces()))
    pieces: list[CommitPiece] = parts[year].pieces if year in parts else []
    segments, _ = with_pieces([], pieces, file_id(key, year), 1)
    columns = columns_for(segments)
    members = compose(segments, [], Target(key, year, columns, 1))
    state = YearState(columns=columns)
    if not same_bits(old.table, YearFile(state, tuple(members)).table()):
        raise _clash(key, year, "they differ after being written and read back; nothing was moved")


def _check_stored(lane: LaneFiles, year: int, old: OldYear) -> None:
    """Check that the series now contains every bar of an imported file, or a vendor's newer bar."""
    file = open_year(lane, year, lane.meta(year))
    now = file.table() if file is not None else BarTable.empty()
    coverage = file.state.coverage if file is not None else Coverage()
    if compared(PrunedFile(lane.key, old.path.name), old.table, now, coverage).lacking:
        raise _clash(lane.key, year, "the originals are in its folder _legacy")


def _clash(key: SeriesKey, year: int, differences: str) -> CorruptEntryError:
    return CorruptEntryError(
        f"the bars for {key} {year} are not the same as those of the other tool: {differences}",
        symbol=key.symbol,
    )


def _put_aside(lane: LaneFiles, year: int, path: Path, damage: str) -> None:
    content = lane.disk.read_if_exists(path)
    if content is None:
        return
    if damage:
        quarantine.keep_file(lane, path, content, damage)
    set_aside(lane, year, path, make_room=True)
    remove_elsewhere(lane, year, path)


# --- deletion of originals ---------------------------------------------------------------

_DATA_NAME = re.compile(r"(?:[0-9a-f]{16}\.)?([12][0-9]{3})\.csv\.gz")
_METADATA_NAME = re.compile(r"(?:[0-9a-f]{16}\.)?([12][0-9]{3})\.metadata\.json|metadata\.json")


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
    is_doubted = entry.state == "suspect" and not among(np.array([stamp]), now.stamps).any()
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
