"""Year files from older tools, which belong to a series until its first commit imports them."""

from __future__ import annotations

import logging
import os
from collections.abc import Container
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ...disk.atomic import link_or_copy
from ...disk.files import Disk
from ...errors import CorruptEntryError
from ...model.bars import BarTable, concat
from ...model.coverage import Coverage
from ...model.series import SeriesKey
from ...model.span import Span, uncovered
from ..format.gzip_member import is_ours
from ..format.json_document import DamagedError
from ..lane_files import LaneFiles
from ..layout import Layout, encode_symbol
from ..read.document_cache import DocumentCache
from ..values import CommitPiece
from .reader import describe_legacy, legacy_coverage, legacy_files, read_legacy

log = logging.getLogger(__name__)

# File that one older tool wrote for all years of a series.
_ALL_YEARS = "metadata.json"


@dataclass(frozen=True)
class OldYear:
    """A year file from another tool.

    Attributes:
        path: Path of the file.
        table: Bars within the coverage; other bars in the file are ignored.
        coverage: Coverage of the file.
        damage: Reason why the file cannot be read, or an empty string.
    """

    path: Path
    table: BarTable = BarTable.empty()
    coverage: Coverage = Coverage()
    damage: str = ""

    def pieces(self) -> tuple[CommitPiece, ...]:
        """Return the file's bars as pieces of a commit, split at gaps, which remain missing."""
        if not len(self.table):
            return ()
        one = self.coverage[0]
        whole = Span(one.span.start, self.coverage[-1].span.end)
        holes = tuple(uncovered(whole, [entry.span for entry in self.coverage]))
        return (
            CommitPiece(
                self.table, whole, one.vendor, one.fetched_at, one.kind, one.basis, "final", holes
            ),
        )


class OldYears:
    """Finds and reads the files that older tools left for a series. Thread-safe.

    Locations outside the lane folder are searched once per series and process: older tools do not
    run alongside this one, and searching costs more than answering from the cache.
    """

    def __init__(self, layout: Layout, disk: Disk, document_cache: DocumentCache) -> None:
        self._layout = layout
        self._disk = disk
        self._document_cache = document_cache
        # A separate cache, because the other one records for the same paths who owns the files.
        self._read_files = document_cache.named("older")
        self._elsewhere: dict[SeriesKey, dict[int, Path]] = {}

    def of(self, lane: LaneFiles, present: list[int], ours: Container[int] = ()) -> dict[int, Path]:
        """Return other tools' files, keyed by year; a file in the lane folder takes precedence.

        Args:
            lane: Series to look up.
            present: Years that have data or metadata in the lane folder.
            ours: Years among them that are known to be this library's.
        """
        if lane.key.lane:
            return {}
        unknown = [year for year in present if year not in ours]
        here = {year: lane.paths.data(year) for year in unknown if self._is_foreign(lane, year)}
        paths = self._elsewhere.get(lane.key)
        if paths is None:
            paths = self._elsewhere[lane.key] = self._look_elsewhere(lane)
        if not paths:
            return here
        present = [year for year in present if year in ours or self._is_taken(lane, year)]
        return {year: path for year, path in paths.items() if year not in present} | here

    def _is_foreign(self, lane: LaneFiles, year: int) -> bool:
        """Return whether the data in the lane folder is from another tool."""
        if self._was_committed(lane, year):
            return False
        path = lane.paths.data(year)
        return self._document_cache.load(path, lambda data: not is_ours(data), times=0) or False

    def _is_taken(self, lane: LaneFiles, year: int) -> bool:
        """Return whether a year has this library's bars, not just the remains of a crashed write."""
        if self._was_committed(lane, year):
            return True
        return self._disk.stat(lane.paths.data(year)) is not None

    def _was_committed(self, lane: LaneFiles, year: int) -> bool:
        try:
            meta = lane.meta(year)
        except DamagedError:
            return False  # metadata of older tools has no digest; the data shows the owner
        return meta is not None and meta.state.generation > 0

    def _look_elsewhere(self, lane: LaneFiles) -> dict[int, Path]:
        root, key, encoded = self._layout.root, lane.key, encode_symbol(lane.key.symbol)
        if key.timeframe.folder == key.timeframe.label and not _are_others(root, key, encoded):
            return {}
        files: dict[int, Path] = {}
        for year, path in self.elsewhere(lane):
            files.setdefault(year, path)
        return files

    def elsewhere(self, lane: LaneFiles) -> list[tuple[int, Path]]:
        """Return all files outside the lane folder, each with its year, even if others hide them."""
        encoded = encode_symbol(lane.key.symbol)
        return legacy_files(self._layout.root, lane.key, encoded, left_out=lane.paths.text)

    def forget(self, key: SeriesKey) -> None:
        """Forget the files found for a series, so that the next call searches for them again."""
        self._elsewhere.pop(key, None)

    def read(self, key: SeriesKey, path: Path) -> OldYear:
        """Read one file; the result is empty if the file is damaged or contains synthetic bars."""
        return self._read_files.load(path, lambda _: self._read(key, path)) or OldYear(path)

    def _read(self, key: SeriesKey, path: Path) -> OldYear:
        described = describe_legacy(self._disk, path)
        try:
            table = read_legacy(self._disk, path, key.timeframe)
        except CorruptEntryError as exc:
            log.warning("%s: %s", key, exc)
            return OldYear(path, damage=str(exc))
        coverage = legacy_coverage(table, key.timeframe, described)
        return OldYear(path, concat(table.within(entry.span) for entry in coverage), coverage)


def _are_others(root: Path, key: SeriesKey, encoded: str) -> bool:
    """Return whether a folder exists under another spelling of the symbol, or outside ``ohlcv``."""
    symbol, top = key.symbol, f"{root}{os.sep}"
    ours, low = f"{top}ohlcv{os.sep}", symbol.lower()
    paths = {ours + symbol, ours + low, top + encoded, top + symbol, top + low} - {ours + encoded}
    return any(os.access(path, os.F_OK) for path in paths)


def set_aside(lane: LaneFiles, year: int, path: Path, *, make_room: bool) -> None:
    """Link or copy another tool's file, and its metadata, into ``_legacy``.

    This is done before the first commit replaces the files in the lane folder.

    Args:
        lane, year: Series and year of the file.
        path: Path of the file.
        make_room: Whether to remove the file from the lane folder now, because no new file will
            replace it.
    """
    lane.disk.make_folders(lane.paths.legacy)
    here = path.parent == lane.paths.folder
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
        if here and make_room and source.name != _ALL_YEARS:
            lane.disk.remove(source)


def remove_elsewhere(lane: LaneFiles, year: int, path: Path) -> None:
    """Remove an imported file from its old location, if that is not the lane folder."""
    if path.parent != lane.paths.folder:
        for source in (path, path.with_name(f"{year:04d}.metadata.json")):
            lane.disk.remove(source)
