"""Columnar copies of the year files, which are read while valid and otherwise rebuilt.

A columnar file is trusted for a year if it was built from exactly the state that the year's
metadata names, and the data file is the one that was verified then. Otherwise the year is read and
verified as usual, and the result is stored here for the next time.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from ....errors import LockTimeoutError, StorageError
from ...disk.atomic import sweep
from ...disk.files import Disk, FileState
from ...disk.mounts import network_file_system
from ...model.identity.series import SeriesKey
from ...model.market.bars import BarTable, concat
from ...model.time.span import Span
from ...runtime.lru_cache import LruCache
from ..format.columnar import ColumnSource, Part
from ..format.documents import YearState
from ..format.gzip_member import file_id
from ..lane_files import LaneFiles
from ..layout import decode_lane, decode_symbol, encode_lane, encode_symbol
from .columnar_reader import ColumnarFile, DamagedColumnsError, open_columns
from .year_file import rows_behind

log = logging.getLogger(__name__)

Columnar = Literal["map", "read", "off"]
# Memory accounting for files kept open. A small file costs its own memory and that of the objects
# around it; a map costs a file descriptor. The number of open maps is limited, so each counts as a
# fraction of the memory limit.
MOST_MAPS = 64
EACH_BYTES = 8 << 10
# One in this many of a process's file descriptors may be used for cached maps.
_SHARE_OF_OPEN_FILES = 8
# Bytes for a row, and at most for the header with its table of years.
_A_ROW, _HEAD = 56, 16_384
States = Mapping[int, YearState]


class WholeYear(NamedTuple):
    """All bars of a year, read and verified.

    Attributes:
        state: State of the year according to its metadata.
        table: Bars of the year.
        file: State of the data file before it was read.
    """

    state: YearState
    table: BarTable
    file: FileState

    @property
    def part(self) -> Part:
        """The year's bars in the form to write to a columnar file, with the state of their year file."""
        return Part(_source(self.state, self.file), self.table)


class Sidecars:
    """The columnar files (rebuildable copies of year files) of one cache.

    Thread-safe, and safe across processes. A failure never loses bars; the year file is simply read
    instead.

    Args:
        root: Cache folder.
        disk: File system.
        memory: Cache for open files.
        mode: ``map`` (files are mapped into memory), ``read`` (they are read, if memory maps are
            unreliable, as over a network), or ``off``.
        has_room: Function that returns whether there is room for a number of bytes of derived
            files.

    Attributes:
        mode: Mode in use.
        are_kept: Whether columnar files are used at all.
    """

    def __init__(
        self,
        root: Path,
        disk: Disk,
        memory: LruCache,
        mode: Columnar = "map",
        has_room: Callable[[int], bool] = lambda need: True,
    ) -> None:
        self._root = os.fspath(root)
        self._disk = disk
        self.mode = mode
        self.are_kept = mode != "off"
        self._has_room = has_room
        self._memory = memory
        most_maps = max(1, min(MOST_MAPS, disk.most_open() // _SHARE_OF_OPEN_FILES))
        self._map_size = memory.most_bytes // most_maps

    # --- reading ---------------------------------------------------------------------------

    def read(self, lane: LaneFiles, span: Span, states: States) -> BarTable | None:
        """Return the bars in ``span`` for the years in ``states``, or None if columns are unavailable.

        ``states`` are the committed states of the years that overlap the span, ascending.
        """
        wanted = {year: state for year, state in states.items() if state.rows}
        if not wanted:
            return BarTable.empty()
        file = self._current_file(lane, wanted)
        if file is None or not self._are_untouched(lane, file, wanted):
            return None
        try:
            return file.table(span, list(wanted))
        except DamagedColumnsError as damage:
            if lane.previews is None:
                text = "%s: the columnar file is damaged (%s); it will be rebuilt"
                log.warning(text, lane.key, damage)
                self.drop(lane.key)
            return None

    def lacking(self, lane: LaneFiles, states: States) -> list[int]:
        """Return the years that are not in their current state in the columnar file.

        The file is the one that :meth:`read` has just opened.
        """
        file: ColumnarFile | None = self._memory.get(("columns", lane.key))
        return [
            year
            for year, state in states.items()
            if state.rows
            and (
                file is None
                or not file.serves(_identities({year: state}))
                or not self._are_untouched(lane, file, {year: state})
            )
        ]

    def _current_file(self, lane: LaneFiles, wanted: States) -> ColumnarFile | None:
        """Return the file from memory or disk if its ``wanted`` years are current, else None."""
        identities = _identities(wanted)
        file = self.opened(lane.key)
        if file is None or file.serves(identities):
            return file
        file = self.on_disk(lane.key)  # the file may have been replaced by now
        if file is not None and not file.serves(identities):
            file = self._extend(lane, file, wanted) or file
        if file is not None:
            self.hold(lane.key, file)
        return file if file is not None and file.serves(identities) else None

    def _are_untouched(self, lane: LaneFiles, file: ColumnarFile, years: States) -> bool:
        data_text, sources = lane.paths.data_text, file.head.years
        return all(self.is_untouched(data_text(year), sources[year]) for year in years)

    def is_untouched(self, path: str, source: ColumnSource) -> bool:
        """Return whether a data file is unchanged since it was verified, or has only grown."""
        now = self._disk.stat(path)
        if now is None or now.inode != source.inode or now.size < source.size:
            return False
        return now.size != source.size or now.mtime_ns == source.mtime_ns

    def sources(self, lane: LaneFiles, states: States) -> list[tuple[str, ColumnSource]] | None:
        """Return the years' data files and their verified states; None if a year is not in the columns."""
        wanted = {year: state for year, state in states.items() if state.rows}
        file = self.opened(lane.key)
        if file is None or not file.serves(_identities(wanted)):
            return None
        return [(lane.paths.data_text(year), file.head.years[year]) for year in wanted]

    def opened(self, key: SeriesKey) -> ColumnarFile | None:
        """Return the columnar file, from memory or else from disk; None if there is none."""
        file: ColumnarFile | None = self._memory.get(("columns", key))
        if file is None:
            file = self.on_disk(key)
            if file is not None:
                self.hold(key, file)
        return file

    def on_disk(self, key: SeriesKey) -> ColumnarFile | None:
        """Return the file currently on disk; None if there is none that can be read."""
        may_map = self.mode == "map"
        return open_columns(self._disk, path_of(self._root, key), file_id(key, 0), may_map=may_map)

    def hold(self, key: SeriesKey, file: ColumnarFile) -> None:
        """Keep a columnar file in memory; other files are evicted to make room."""
        size = EACH_BYTES + file.bytes if file.bytes else self._map_size
        self._memory.put(("columns", key), file, size)

    # --- writing ---------------------------------------------------------------------------

    def keep(self, lane: LaneFiles, years: Mapping[int, WholeYear]) -> None:
        """Store whole years that were read and verified.

        No error is raised; years that cannot be stored are read again next time. A preview does not
        store years.
        """
        if lane.previews is not None:
            return
        parts = {
            year: whole.part
            for year, whole in sorted(years.items())
            if whole.state.rows and whole.state.rows == len(whole.table)
        }
        if parts:
            self.write(lane.key, parts)

    def _extend(self, lane: LaneFiles, file: ColumnarFile, wanted: States) -> ColumnarFile | None:
        """Append the last year's new rows and return the file; None if it also lacks other rows."""
        last = max(file.head.years)
        lacking = [y for y, s in wanted.items() if not file.serves(_identities({y: s}))]
        if lacking != [last] or lane.previews is not None:
            return None
        source, state = file.head.years[last], wanted[last]
        before = self._disk.stat(lane.paths.data(last))
        rows = rows_behind(lane, last, state, size=source.size, head=source.head)
        if before is None or rows is None:
            return None
        self.write(lane.key, {last: Part(_source(state, before), rows)}, file)
        return self.on_disk(lane.key)

    def write(
        self, key: SeriesKey, parts: Mapping[int, Part], target: ColumnarFile | None = None
    ) -> None:
        """Write whole years or, given ``target``, append rows to that file, under the lock.

        Rows are appended only if the file is unchanged.
        """
        path = self.path(key)
        if not self._has_room(self._bytes_needed(path, parts)):
            return
        try:
            with writing(self._disk, path.parent):
                now = self.on_disk(key)
                if target is None:
                    self._put(key, now, parts)
                elif now is not None and (now.inode, now.head) == (target.inode, target.head):
                    self._append(key, now, parts)
        except LockTimeoutError:
            log.debug("%s: another process is writing the columnar file", key)
        except DamagedColumnsError as damage:  # in years that were to be copied
            log.warning("%s: the columnar file is damaged (%s); it will be rebuilt", key, damage)
            self.drop(key)
        except (StorageError, ValueError) as exc:
            log.debug("%s: the columnar file was not written: %s", key, exc)

    def _bytes_needed(self, path: Path, parts: Mapping[int, Part]) -> int:
        """Return the most bytes that a write can need: those of the existing content plus the new rows."""
        rows = sum(len(part.table) for part in parts.values())
        try:
            before = self._disk.stat(path)
        except StorageError:
            before = None
        return _HEAD + rows * _A_ROW + (before.size if before else 0)

    def _put(self, key: SeriesKey, now: ColumnarFile | None, parts: Mapping[int, Part]) -> None:
        """Add whole years: rewrite only the header if possible, or else append, or write a new file."""
        from .columnar_writer import restamp, write_new  # not needed if the file is cached

        lacking = dict(parts)
        if now is not None:
            lacking = {y: p for y, p in parts.items() if not now.serves({y: p.source[:3]})}
            if not lacking:
                restamp(self._disk, now, {year: part.source for year, part in parts.items()})
                self._memory.drop(("columns", key))  # its header is outdated
                return
            if min(lacking) > max(now.head.years) and len(lacking) == 1:
                self._append(key, now, lacking)
                return
        write_new(self._disk, self.path(key), file_id(key, 0), now, lacking)

    def _append(self, key: SeriesKey, now: ColumnarFile, parts: Mapping[int, Part]) -> None:
        from .columnar_writer import append_rows, write_new

        ((year, part),) = parts.items()
        if append_rows(self._disk, now, year, part):
            return
        if year in now.head.years:  # the part has only the new rows
            part = Part(part.source, concat([now.all_of(year), part.table]))
        write_new(self._disk, self.path(key), file_id(key, 0), now, {year: part})

    def drop(self, key: SeriesKey) -> None:
        """Remove the columnar file of a series; frames mapped from it are not affected."""
        self._memory.drop(("columns", key))
        try:
            self._disk.remove(self.path(key))
        except StorageError as exc:
            log.debug("%s: the columnar file was not removed: %s", key, exc)

    def path(self, key: SeriesKey) -> Path:
        """Return the path of a series' columnar file, whether or not it exists."""
        return Path(path_of(self._root, key))


def _identities(states: States) -> dict[int, tuple[int, int, str]]:
    return {year: (s.rows, s.size, str(s.head or "")[:16]) for year, s in states.items()}


def _source(state: YearState, file: FileState) -> ColumnSource:
    return ColumnSource(
        state.rows,
        state.size,
        str(state.head or "")[:16],
        file.inode,
        file.mtime_ns,
        "adj_close" in state.columns,
    )


# --- network file systems ----------------------------------------------------------------


# Whether the warning was issued; once per process is enough.
warned = threading.Event()


def fitting(mode: Columnar, folder: Path) -> Columnar:
    """Return ``mode``, with ``map`` replaced by ``read`` on a network drive, after one warning.

    If another machine changes or removes a mapped file, the process is killed by a signal. If a
    file is read instead, the worst outcome is wrong data, which the checksums reveal.
    """
    if mode != "map" or not (kind := network_file_system(folder)):
        return mode
    if not warned.is_set():
        warned.set()
        log.warning(
            "%s is on a network file system (%s): columns are read, not mapped into memory; "
            "set cache.columnar: read in the rules to turn this warning off",
            folder,
            kind,
        )
    return "read"


# --- paths of derived files --------------------------------------------------------------

FOLDER = "_columnar"
_ENDING = ".bars"


def path_of(root: str, key: SeriesKey) -> str:
    """Return the path of a series' columnar file below the cache folder ``root``."""
    # As a string, because every first access to a series comes through here and path objects are
    # slower.
    return os.sep.join((root, FOLDER, encode_symbol(key.symbol), encode_lane(key) + _ENDING))


@contextmanager
def writing(disk: Disk, folder: Path) -> Iterator[None]:
    """Hold the lock of a folder for derived files; create the folder if necessary.

    Raises:
        LockTimeoutError: Another writer holds the lock; the call does not wait, because derived
            files can be rebuilt.
        StorageError: The folder or its lock file cannot be created.
    """
    disk.make_folders(folder, durable=False)
    with disk.lock(folder / ".lock", 0.0):
        sweep(disk, folder)
        yield


def series_of(root: Path, path: Path) -> SeriesKey | None:
    """Return the series whose columnar file is at ``path``; None if it is not a columnar file."""
    if path.parent.parent != root / FOLDER or path.suffix != _ENDING:
        return None
    symbol = decode_symbol(path.parent.name)
    return decode_lane(symbol, path.stem) if symbol else None
