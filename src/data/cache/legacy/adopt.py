"""Converts year files from older tools to this library's format.

The first access to a year converts it (:func:`..recovery.recover.recover`, under the lane's lock). The
original is kept in ``_legacy``. If the folder cannot be written, the converted file exists in memory
only.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ...disk.atomic import link_or_copy
from ...errors import CorruptEntryError
from ...model.bars import BarTable, concat
from ...model.coverage import Coverage
from ...model.span import Span, uncovered
from ..format.documents import YearState
from ..format.gzip_member import file_id
from ..lane_files import LaneFiles
from ..read.year_file import YearFile, same_bits
from ..values import Commit, CommitPiece
from ..write.coverage_update import by_year
from ..write.segments import with_pieces
from ..write.year_writer import Target, columns_for, compose, state_of
from .reader import describe_legacy, legacy_coverage, read_legacy

# File that one older tool wrote for all years of a series.
_ALL_YEARS = "metadata.json"


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
    """

    path: Path
    is_sample: bool = False
    rows: int = 0
    table: BarTable = BarTable.empty()
    coverage: Coverage = Coverage()
    damage: str = ""


def read_older(lane: LaneFiles, path: Path) -> OldYear:
    """Read an older tool's file; a damaged one has no bars."""
    described = describe_legacy(lane.disk, path)
    try:
        table = read_legacy(lane.disk, path, lane.key.timeframe)
    except CorruptEntryError as exc:
        return OldYear(path, described.is_sample, damage=str(exc))
    coverage = legacy_coverage(table, lane.key.timeframe, described)
    bars = concat(table.within(entry.span) for entry in coverage)
    return OldYear(path, described.is_sample, len(table), bars, coverage)


def converted(lane: LaneFiles, year: int, older: OldYear, generation: int) -> YearFile | None:
    """Return a year file with the bars of an older tool's file; None if it has no bars to import.

    Raises:
        CorruptEntryError: The bars read back differ from the originals in at least one bit.
    """
    if not len(older.table):
        return None
    one, end = older.coverage[0], older.coverage[-1].span.end
    whole = Span(one.span.start, end)
    holes = tuple(uncovered(whole, [entry.span for entry in older.coverage]))
    piece = CommitPiece(
        older.table, whole, one.vendor, one.fetched_at, one.kind, one.basis, "final", holes
    )
    pieces = by_year(Commit(pieces=(piece,)))[year].pieces
    segments, _ = with_pieces([], pieces, file_id(lane.key, year), generation)
    target = Target(lane.key, year, columns_for(segments), generation)
    members = compose(segments, [], target)
    state = state_of(members, 0, YearState(), target, older.coverage)
    file = YearFile(state, tuple(members))
    if not same_bits(older.table, file.table()):
        raise CorruptEntryError(
            f"the bars of {lane.key} {year} are not the same as those of the other tool after being "
            f"written and read back; {older.path} was not moved",
            symbol=lane.key.symbol,
        )
    return file


def set_aside(lane: LaneFiles, year: int, path: Path) -> None:
    """Durably link or copy another tool's file, and its metadata, into ``_legacy``."""
    lane.disk.make_folders(lane.paths.legacy)
    for source in (path, path.with_name(f"{year:04d}.metadata.json"), path.with_name(_ALL_YEARS)):
        content = lane.disk.read_if_exists(source)
        if content is None:
            continue
        target = lane.paths.legacy / source.name
        earlier = lane.disk.read_if_exists(target)
        if earlier is not None and earlier != content:
            target = target.with_name(f"{sha256(content).hexdigest()[:16]}.{source.name}")
        if earlier != content:
            link_or_copy(lane.disk, source, target)
    lane.disk.sync_folder(lane.paths.legacy)


def remove_original(lane: LaneFiles, year: int, path: Path) -> None:
    """Remove another tool's file, which was set aside, and its metadata from their old place.

    The metadata comes last, because bars without it would not be recognized as sample data.
    """
    for source in (path, path.with_name(f"{year:04d}.metadata.json")):
        lane.disk.remove(source)
