"""Disk usage of a cache folder: sizes, compression, quarantined files."""

from __future__ import annotations

import logging
import math
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from ....errors import CacheError
from ...clock import Clock
from ...disk.calls import open_file
from ..format.gzip_member import PEEK_BYTES, is_ours
from ..layout import DATA

if TYPE_CHECKING:
    from ..format.lane_entry import YearEntry
    from .inventory import Holdings

log = logging.getLogger(__name__)

# A measurement visits all lane folders, so it is made at most once a minute.
_MEASURED_EVERY_S = 60.0
# Maximum number of files opened for the first time in one measurement; the rest wait for the next.
_MOST_NEW_FILES = 500
_SIZE_AT = 16  # offset of a member's size in its header


@dataclass(frozen=True)
class Fill:
    """The contents of a cache folder.

    Attributes:
        bytes, files: Totals for everything in the folder; hard links count once.
        data_files: Number of files with bars or tables.
        quarantined: Number of damaged files, and of files with rejected rows.
        without_metadata: Number of files with bars but without metadata; such files are from other
            tools, or must be repaired.
        packed_bytes, plain_bytes: Compressed and uncompressed size of the year files measured so
            far.
        bars: Number of bars stored, in all lanes.
    """

    bytes: int = 0
    files: int = 0
    data_files: int = 0
    quarantined: int = 0
    without_metadata: int = 0
    packed_bytes: int = 0
    plain_bytes: int = 0
    bars: int = 0

    @property
    def compression_ratio(self) -> float | None:
        """Uncompressed bytes per byte on disk; None if nothing has been measured yet."""
        return round(self.plain_bytes / self.packed_bytes, 3) if self.packed_bytes else None

    def to_json(self) -> dict[str, Any]:
        """Return the values as a JSON-compatible dictionary, with ``compression_ratio``."""
        return asdict(self) | {"compression_ratio": self.compression_ratio}


@dataclass
class MeasuredFile:
    """A year file measured up to the end of a gzip member, and its index entry at that time."""

    entry: YearEntry
    inode: int
    packed: int = 0
    unpacked: int = 0


class Gauge:
    """Measures a cache folder from time to time. Thread-safe.

    Args:
        holdings: Function that returns the folder's contents, from its index.
        clock: Source of the time at which a measurement expires.
        every_s: Number of seconds for which a measurement is valid.
        most_new: Maximum number of files opened for the first time in one measurement.
    """

    def __init__(
        self,
        holdings: Callable[[], Holdings],
        clock: Clock,
        *,
        every_s: float = _MEASURED_EVERY_S,
        most_new: int = _MOST_NEW_FILES,
    ) -> None:
        self._holdings = holdings
        self._clock = clock
        self._every_s = every_s
        self._most_new = most_new
        # Guards the measured files against threads that measure at the same time.
        self._lock = threading.Lock()
        self._measured: dict[str, MeasuredFile] = {}
        self._fill, self._looked_s = Fill(), -math.inf

    def read(self) -> Fill:
        """Return the last measurement, or a new one if it has expired.

        If the folder cannot be listed, the last measurement is returned.
        """
        with self._lock:
            now = self._clock.monotonic()
            if now - self._looked_s >= self._every_s:
                self._looked_s = now
                try:
                    self._fill = self._measure_all()
                except CacheError as exc:
                    log.debug("the cache folder was not measured: %s", exc)
            return self._fill

    def after_fork(self) -> None:
        """Replace the lock after a fork."""
        self._lock = threading.Lock()

    def _measure_all(self) -> Fill:
        holdings = self._holdings()
        old, new_files = self._measured, self._most_new
        self._measured = {}
        for lane in holdings.lanes:
            for year in lane.entry.years:
                path = f"{lane.path}{os.sep}{year.year:04d}{DATA}"
                before = old.get(path)
                if year.bytes and (before is not None or new_files > 0):
                    new_files -= before is None
                    measured = _measured(path, year, before)
                    if measured is not None:
                        self._measured[path] = measured
        size = holdings.size
        return Fill(
            size.bytes,
            size.files,
            size.data_files,
            size.quarantined,
            size.without_metadata,
            sum(sample.packed for sample in self._measured.values()),
            sum(sample.unpacked for sample in self._measured.values()),
            sum(lane.entry.rows for lane in holdings.lanes),
        )


def _measured(path: str, entry: YearEntry, before: MeasuredFile | None) -> MeasuredFile | None:
    """Return the compressed and uncompressed size of a file, continuing a previous measurement.

    Return None if the file no longer exists.
    """
    # A file from another tool has no generation and may change in place.
    if before is not None and before.entry == entry and entry.generation:
        return before
    try:
        with open(open_file(path, os.O_RDONLY), "rb") as file:
            state = os.fstat(file.fileno())
            is_same = before is not None and before.inode == state.st_ino
            if before is None or not is_same or state.st_size < before.packed:
                measured = MeasuredFile(entry, state.st_ino)
            else:
                measured = replace(before, entry=entry)
            try:
                hop(file, state.st_size, measured)
            except struct.error:
                pass  # the end of the file is torn
            return measured
    except OSError:
        return None


def hop(file: IO[bytes], size: int, measured: MeasuredFile) -> None:
    """Extend ``measured`` by the sizes of later members, without decompressing them."""
    while measured.packed < size:
        file.seek(measured.packed)
        start = file.read(PEEK_BYTES)
        # A file from another tool is treated as one member.
        length = size - measured.packed
        if is_ours(start):
            (length,) = struct.unpack_from("<I", start, _SIZE_AT)
        if length <= _SIZE_AT:
            return  # shorter than any member
        file.seek(measured.packed + length - 4)
        (length_unpacked,) = struct.unpack("<I", file.read(4))
        measured.packed += length
        measured.unpacked += length_unpacked
