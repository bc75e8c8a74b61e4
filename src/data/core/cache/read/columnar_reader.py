"""Reads an open columnar file, which is verified once and then sliced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from mmap import mmap
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from ....errors import CorruptEntryError, StorageError
from ...disk.files import Disk, Handle
from ...model.market.bars import BarTable, concat
from ...model.time.span import Span, year_span
from ..format.columnar import (
    ADJ_CLOSE,
    BLOCK,
    INDEX,
    NS_IN_MS,
    STAMPS,
    START,
    Head,
    read_head,
)
from ..format.gzip_member import summing

# A file of up to this size is read as a whole, because mapping it would take longer.
MOST_READ = 1 << 20
# Frames copy slices of up to this size; for larger ones, a separate map is faster than a copy.
MOST_COPIED = 1 << 19
# A map occupies a file descriptor for as long as a frame needs it: at most a quarter of the
# process's limit is used for that. Beyond it, frames are copied.
_SHARE_OF_OPEN_FILES = 4
# The maps in use by frames in this process.
open_maps: WeakSet[mmap] = WeakSet()
Column = NDArray[Any]
# Types of the columns that are not prices.
_TYPES: dict[str, type[np.generic]] = {STAMPS: np.int64, INDEX: np.int64}
# A function that reads bytes, given an offset and a number.
Read = Callable[[int, int], bytes]


class DamagedColumnsError(CorruptEntryError):
    """A block of a columnar file does not match its checksum; this error never leaves the store."""


class ColumnarFile:
    """The rows that one header of a columnar file describes. Thread-safe.

    A short span is returned as a read-only view, from which frames are copied. For a long span, the
    file is mapped once more for the caller, so that writes by the caller do not affect others.

    Attributes:
        path: Path of the file when it was opened.
        head: Header of the file.
        inode: Inode of the file.
        bytes: Memory used by the object itself; 0 if the file is mapped.
    """

    def __init__(
        self, disk: Disk, handle: Handle, read: Read, head: Head, inode: int, *, may_map: bool
    ) -> None:
        self._disk = disk
        self.path, self.head, self.inode = handle.path, head, inode
        self._map: mmap | None = None
        if may_map and head.size > MOST_READ:
            self._map = disk.map(handle, head.size, private=False)
        # For a copy the index is recomputed, so for a small file it is not even read.
        names = head.columns if not may_map else tuple(n for n in head.columns if n != INDEX)
        self._columns = _columns(self._map, head) if self._map else _read(read, head, names)
        self.bytes = 0 if self._map else sum(c.nbytes for c in self._columns.values())
        # The full blocks verified so far, and whether the last, partial block is verified. Two
        # threads may set the same flag without harm.
        self._sound = np.zeros(head.rows // BLOCK, dtype=bool)
        self._sound_tail = head.rows % BLOCK == 0
        self._is_sound = False
        self._checksums = _checksums(read, head)

    def serves(self, sources: Mapping[int, tuple[int, int, str]]) -> bool:
        """Return whether the file contains all of these years in their current state.

        The state of a year consists of its number of rows, its size and its head, which is the
        start of a digest.
        """
        return all(
            (kept := self.head.years.get(year)) is not None and kept[:3] == source
            for year, source in sources.items()
        )

    def table(self, span: Span, years: list[int]) -> BarTable:
        """Return the bars of ``years``, ascending, in ``span``.

        Raises:
            DamagedColumnsError: The bars differ from what was written.
        """
        stored = list(self.head.years)
        runs: list[list[int]] = []
        for year in years:
            index = stored.index(year)
            if runs and stored[index - 1] == runs[-1][-1]:
                runs[-1].append(year)
            else:
                runs.append([year])
        return concat(self._run(span, run) for run in runs)

    def _run(self, span: Span, years: list[int]) -> BarTable:
        """Return the bars of years that are adjacent in the file."""
        begins = self.head.begins()
        begin = first = begins[years[0]]
        end = last = begins[years[-1]] + self.head.years[years[-1]].rows
        stamps = self._columns[STAMPS]
        if span.end < year_span(years[-1]).end:
            last = first + int(np.searchsorted(stamps[first:last], span.end))
        if span.start > year_span(years[0]).start:
            first += int(np.searchsorted(stamps[first:last], span.start))
        # Including the adjacent rows: a damaged stamp may have misled the search, and only valid
        # neighbours prove that the stretch ends where it should.
        self._verify(max(begin, first - 1), min(end, last + 1))
        has_adj_close = any(self.head.years[year].has_adj_close for year in years)
        return self._table(first, last, has_adj_close=has_adj_close)

    def all_of(self, year: int) -> BarTable:
        """Return all bars of a year; raises the same errors as :meth:`table`."""
        return self.table(year_span(year), [year])

    def column(self, name: str) -> Column:
        """Return all committed values of a column, which must not be modified or passed to users."""
        if name == INDEX and name not in self._columns:
            return self._columns[STAMPS] * NS_IN_MS
        return self._columns[name]

    def _table(self, first: int, last: int, *, has_adj_close: bool) -> BarTable:
        size = (last - first) * 8 * len(self._columns)
        is_own = self._map is not None and size > MOST_COPIED
        copied = self._private() if is_own else None
        columns = self._columns if copied is None else copied
        arrays = {name: values[first:last] for name, values in columns.items()}
        if is_own and copied is None:
            arrays = {name: values.copy() for name, values in arrays.items()}
        return BarTable(
            arrays[STAMPS],
            arrays["open"],
            arrays["high"],
            arrays["low"],
            arrays["close"],
            arrays["volume"],
            arrays[ADJ_CLOSE] if has_adj_close else None,
            index=arrays[INDEX] if is_own else None,
        )

    def _private(self) -> dict[str, Column] | None:
        """Map the file into memory again, for one caller; None if that is impossible."""
        if len(open_maps) >= self._disk.most_open() // _SHARE_OF_OPEN_FILES:
            return None
        try:
            handle = self._disk.open_read(self.path)
            if handle is None:
                return None
            try:
                if self._disk.fstat(handle).inode != self.inode:
                    return None
                mapped = self._disk.map(handle, self.head.size, private=True)
                open_maps.add(mapped)
                return _columns(mapped, self.head)
            finally:
                self._disk.close(handle)
        except (StorageError, ValueError):
            return None  # no file descriptor or address space left, so it is copied

    # --- verification --------------------------------------------------------------------------

    def _verify(self, first: int, last: int) -> None:
        """Check the blocks that contain these rows; each block is checked once per process."""
        if self._is_sound:
            return
        tail_at = self.head.rows // BLOCK * BLOCK
        if first < tail_at:
            self._verify_blocks(first // BLOCK, (last - 1) // BLOCK + 1)
        if last > tail_at and not self._sound_tail:
            self.verify_tail(tail_at)
        self._is_sound = self._sound_tail and bool(self._sound.all())

    def _verify_blocks(self, begin: int, end: int) -> None:
        """Check the full blocks in the range, ignoring the partial block after the last full one."""
        unknown = (~self._sound[begin:end]).nonzero()[0] + begin
        crc32 = summing(8 * BLOCK * len(unknown) * len(self._columns))
        for name, values in self._columns.items():
            column = self.head.columns.index(name)
            for block in unknown.tolist():
                checksum = crc32(values[block * BLOCK : (block + 1) * BLOCK].data)
                if checksum != self._checksums[column, block]:
                    raise DamagedColumnsError(f"wrong checksum for block {block} of {name}")
        self._sound[unknown] = True

    def verify_tail(self, first: int) -> None:
        """Verify the checksum of each column's rows, starting at ``first``.

        Raises:
            DamagedColumnsError: A checksum does not match.
        """
        crc32 = summing(8 * (self.head.rows - first) * len(self._columns))
        for name, values in self._columns.items():
            if crc32(values[first:].data) != self.head.tails.get(name):
                raise DamagedColumnsError(f"checksum mismatch at the end of {name}")
        self._sound_tail = True


def open_columns(
    disk: Disk, path: Path | str, identity: str, *, may_map: bool
) -> ColumnarFile | None:
    """Open a columnar file; return None if it does not exist or cannot be read."""
    try:
        handle = disk.open_read(path)
        if handle is None:
            return None
        try:
            inode, size, _ = disk.fstat(handle)
            # The file is read as a whole; only copies of the columns are kept, without the spare
            # room between them.
            whole = disk.read_at(handle, 0, size) if size <= MOST_READ else None

            def _read(at: int, count: int) -> bytes:
                return disk.read_at(handle, at, count) if whole is None else whole[at : at + count]

            start = _read(0, START)
            head = read_head(start, identity) if len(start) == START else None
            if head is None or size < head.size:
                return None
            return ColumnarFile(disk, handle, _read, head, inode, may_map=may_map)
        finally:
            disk.close(handle)
    except (StorageError, ValueError):  # ValueError: the file is shorter than its map
        return None


def _columns(memory: mmap, head: Head) -> dict[str, Column]:
    return {
        name: np.frombuffer(
            memory, dtype=_TYPES.get(name, np.float64), count=head.rows, offset=head.at(name, 0)
        )
        for name in head.columns
    }


def _read(read: Read, head: Head, names: tuple[str, ...]) -> dict[str, Column]:
    """Read the columns ``names``, skipping the unused space between columns."""
    size = head.at(STAMPS, head.rows) - head.at(STAMPS, 0)
    return {
        name: np.frombuffer(read(head.at(name, 0), size), _TYPES.get(name, np.float64), head.rows)
        for name in names
    }


def _checksums(read: Read, head: Head) -> Column:
    """Return the checksums of the full blocks, one row per column."""
    first = head.checksum_at(head.columns[0], 0)
    # If no block is full, no checksums exist.
    size = head.size - first if head.rows >= BLOCK else 0
    return np.frombuffer(read(first, size), np.uint32).reshape(len(head.columns), -1)
