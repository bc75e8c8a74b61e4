"""Converts year files from older tools to this library's format.

The first access to a year converts it (:func:`..recovery.recover.recover`, under the lane's lock). The
original is kept in ``_legacy``. If the folder cannot be written, the converted file exists in memory
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from ....errors import CorruptEntryError
from ...calendars.buckets import doubted
from ...disk.atomic import link_or_copy
from ...disk.files import FileState
from ...model.market.bars import BarTable, among, concat, inside
from ...model.stored.coverage import Coverage, Covered
from ...model.time.span import Span, uncovered
from ...model.time.timeframe import Timeframe
from ...prices.quality import unique_rows
from ..format.documents import YearState
from ..format.gzip_member import file_id
from ..lane_files import LaneFiles
from ..layout import DATA, METADATA
from ..read.year_file import YearFile, same_bits
from ..values import Commit, CommitPiece
from ..write.coverage_update import by_year
from ..write.segments import with_pieces
from ..write.year_writer import Target, columns_for, compose, state_of
from .reader import CONTRADICTED, SHARED, describe_legacy, legacy_coverage, legacy_rows


@dataclass(frozen=True)
class OldYear:
    """A year file from another tool.

    Attributes:
        path: Path of the file.
        is_sample: Whether the bars are sample data, which are never imported.
        rows: Number of valid bars in the file.
        table: Bars within the coverage; other bars in the file are not imported.
        coverage: Coverage of the file.
        damage: Reason why the file cannot be read, or an empty string.
        state: State of the file just before it was read.
    """

    path: Path
    is_sample: bool = False
    rows: int = 0
    table: BarTable = BarTable.empty()
    coverage: Coverage = Coverage()
    damage: str = ""
    state: FileState | None = None


def read_older(lane: LaneFiles, path: Path) -> OldYear:
    """Read an older tool's file; a damaged one has no bars."""
    state, described = lane.disk.stat(path), describe_legacy(lane.disk, path)
    try:
        table, contradicted = legacy_rows(lane.disk, path, lane.key.timeframe)
    except CorruptEntryError as exc:
        return OldYear(path, described.is_sample, damage=str(exc), state=state)
    if len(table) > lane.most_rows():
        damage = f"{len(table):,} bars of {lane.key.timeframe} in a year are not possible"
        return OldYear(path, described.is_sample, damage=damage, state=state)
    written_ms = state.mtime_ns // 1_000_000 if state else 0
    coverage = legacy_coverage(table, lane.key.timeframe, described, written_ms)
    coverage = doubted(coverage, contradicted, lane.key.timeframe, **CONTRADICTED)
    bars = concat(table.within(entry.span) for entry in coverage)
    return OldYear(path, described.is_sample, len(table), bars, coverage, state=state)


def merged(files: Sequence[OldYear], timeframe: Timeframe) -> tuple[BarTable, Coverage]:
    """Return the bars and the coverage of older tools' files for one year, the best file first.

    A file adds the bars that the better ones lack. A bar that differs between two files is suspect.
    """
    table, coverage = BarTable.empty(), Coverage()
    for older in files:
        both = concat([older.table, table])
        rows, _, differing = unique_rows(both, np.ones(len(both), dtype=bool))
        is_added = ~inside(rows.stamps, [entry.span for entry in coverage])
        table = rows.take(is_added | among(rows.stamps, table.stamps))
        coverage = older.coverage.overlaid(coverage)
        coverage = doubted(coverage, differing, timeframe, **CONTRADICTED)
    return table, coverage


def converted(
    lane: LaneFiles, year: int, files: Sequence[OldYear], generation: int
) -> YearFile | None:
    """Return a year file with the bars of older tools' files; None if they have no bars to import.

    Raises:
        CorruptEntryError: The bars read back differ from the originals in at least one bit.
    """
    table, coverage = merged(files, lane.key.timeframe)
    if not len(table):
        return None
    runs = groupby(coverage, lambda entry: (entry.vendor, entry.fetched_at, entry.state))
    answers = tuple(_piece(table, list(entries)) for _, entries in runs)
    pieces = by_year(Commit(pieces=answers))[year].pieces
    segments, _ = with_pieces([], pieces, file_id(lane.key, year), generation)
    target = Target(lane.key, year, columns_for(segments), generation)
    members = compose(segments, [], target)
    state = state_of(members, 0, YearState(), target, coverage)
    file = YearFile(state, tuple(members))
    if not same_bits(table, file.table()):
        raise CorruptEntryError(
            f"the bars of {lane.key} {year} are not the same as those of the other tool after being "
            f"written and read back; {files[0].path} was not moved",
            symbol=lane.key.symbol,
        )
    return file


def _piece(table: BarTable, entries: Sequence[Covered]) -> CommitPiece:
    """Return the piece of consecutive entries from one source.

    As in a piece of a vendor's answer, only bars that are trusted are final.
    """
    one, whole = entries[0], Span(entries[0].span.start, entries[-1].span.end)
    state: Literal["final", "provisional"] = "final" if one.state == "final" else "provisional"
    holes = tuple(uncovered(whole, [entry.span for entry in entries]))
    source = one.vendor, one.fetched_at, one.kind, one.basis
    return CommitPiece(table.within(whole), whole, *source, state, holes)


def set_aside(lane: LaneFiles, year: int, path: Path) -> None:
    """Durably link or copy another tool's file, and its metadata, into ``_legacy``.

    The metadata that the file shares with other years gets the file's name there, because files of
    another folder, with other metadata, may be put beside it.
    """
    lane.disk.make_folders(lane.paths.legacy)
    stem = _put_aside(lane, path, path.name).removesuffix(DATA)
    _put_aside(lane, path.with_name(f"{year:04d}{METADATA}"), f"{stem}{METADATA}")
    _put_aside(lane, path.with_name(SHARED), f"{stem}.shared.{SHARED}")
    lane.disk.sync_folder(lane.paths.legacy)


def _put_aside(lane: LaneFiles, source: Path, name: str) -> str:
    """Link or copy a file to ``name`` in ``_legacy``, or to a longer name; return the one used."""
    content = lane.disk.read_if_exists(source)
    if content is None:
        return name
    earlier = lane.disk.read_if_exists(lane.paths.legacy / name)
    if earlier is not None and earlier != content:
        name = f"{sha256(content).hexdigest()[:16]}.{name}"
        earlier = lane.disk.read_if_exists(lane.paths.legacy / name)
    if earlier != content:
        link_or_copy(lane.disk, source, lane.paths.legacy / name)
    return name


def remove_original(lane: LaneFiles, year: int, path: Path) -> None:
    """Remove another tool's file, which was set aside, and its metadata from their old place.

    The metadata comes last, even in a power failure, because bars without it would not be
    recognized as sample data.
    """
    lane.disk.remove(path)
    metadata = path.with_name(f"{year:04d}{METADATA}")
    if lane.disk.stat(metadata) is not None:
        lane.disk.sync_folder(path.parent)
        lane.disk.remove(metadata)
