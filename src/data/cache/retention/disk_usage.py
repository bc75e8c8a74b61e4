"""How full a cache folder is and how well: sizes, compression, what lies in quarantine."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from ...clock import Clock
from ...disk.calls import open_file
from ..format.gzip_member import PEEK_BYTES, is_ours

_DATA, _METADATA, _QUARANTINE = ".csv.gz", ".metadata.json", "_quarantine"
# A look walks through the whole folder: once a minute is often enough for a number.
_EVERY_S = 60.0
# Files whose inside is looked at for the first time, in one look; the rest waits for the next.
_MOST_NEW = 500
_SIZE_AT = 16  # of a member's own size, in its header


@dataclass(frozen=True)
class Fill:
    """What a cache folder holds.

    Attributes:
        bytes, files: of everything in it; hard links count once.
        data_files: files of bars and tables.
        quarantined: files and rows that could not be believed, by files.
        without_metadata: files of bars whose metadata are missing: other tools', or to be repaired.
        packed_bytes, plain_bytes: of the data files whose inside was measured so far.
    """

    bytes: int = 0
    files: int = 0
    data_files: int = 0
    quarantined: int = 0
    without_metadata: int = 0
    packed_bytes: int = 0
    plain_bytes: int = 0

    @property
    def compression_ratio(self) -> float | None:
        """Bytes of text for one byte on disk; None while nothing is measured."""
        return round(self.plain_bytes / self.packed_bytes, 3) if self.packed_bytes else None

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping, with ``compression_ratio``."""
        return asdict(self) | {"compression_ratio": self.compression_ratio}


@dataclass
class _Measured:
    """A data file up to a byte at which a member ended."""

    inode: int
    packed: int
    plain: int


@dataclass
class _Count:
    bytes: int = 0
    files: int = 0
    data_files: int = 0
    quarantined: int = 0
    without_metadata: int = 0
    seen: set[tuple[int, int]] = field(default_factory=set)


class Gauge:
    """Measures a cache folder now and then. Thread-safe; it reads, and makes nothing.

    Args:
        root: the cache folder; it need not exist.
        clock: tells when a look is old.
        every_s: for how many seconds a look is good.
        most_new: how many files are opened in one look.
    """

    def __init__(
        self, root: Path, clock: Clock, *, every_s: float = _EVERY_S, most_new: int = _MOST_NEW
    ) -> None:
        self._root = root
        self._clock = clock
        self._every_s = every_s
        self._most_new = most_new
        # Guards what is remembered against threads that look at the same time.
        self._lock = threading.Lock()
        self._inside: dict[str, _Measured] = {}
        self._last: tuple[float, Fill] | None = None

    def read(self) -> Fill:
        """Return what the folder holds, as of the last look or of a new one."""
        with self._lock:
            now = self._clock.monotonic()
            if self._last is None or now - self._last[0] >= self._every_s:
                self._last = now, self._look()
            return self._last[1]

    def after_fork(self) -> None:
        """Start with a lock of our own."""
        self._lock = threading.Lock()

    def _look(self) -> Fill:
        count, inside, fresh = _Count(), self._inside, self._most_new
        self._inside = {}
        for folder, names in _folders(self._root):
            for name in names:
                path = os.path.join(folder, name)
                facts = _count(count, folder, names, path)
                if facts is None:
                    continue
                known = inside.get(path)
                if known is None and fresh <= 0:
                    continue
                fresh -= known is None
                self._inside[path] = _measured(path, facts, known)
        packed = sum(one.packed for one in self._inside.values())
        plain = sum(one.plain for one in self._inside.values())
        return Fill(
            count.bytes,
            count.files,
            count.data_files,
            count.quarantined,
            count.without_metadata,
            packed,
            plain,
        )


def _folders(root: Path) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield every folder below ``root`` with its files; what cannot be listed is passed over."""
    for folder, _, names in os.walk(root):
        yield folder, frozenset(names)


def _count(count: _Count, folder: str, names: frozenset[str], path: str) -> os.stat_result | None:
    """Count one file; return its facts where it is a file of data."""
    try:
        facts = os.stat(path, follow_symlinks=False)
    except OSError:
        return None  # it vanished meanwhile
    place = os.path.basename(folder)
    name = os.path.basename(path)
    # Beside each file lies a document with the reason, which is named after it.
    is_reason = name.endswith(".json") and name.removesuffix(".json") in names
    count.quarantined += place == _QUARANTINE and not is_reason
    if facts.st_nlink > 1:
        if (facts.st_dev, facts.st_ino) in count.seen:
            return None
        count.seen.add((facts.st_dev, facts.st_ino))
    count.bytes += facts.st_size
    count.files += 1
    if not path.endswith(_DATA) or place.startswith("_"):
        return None
    count.data_files += 1
    stem = os.path.basename(path).removesuffix(_DATA)
    count.without_metadata += f"{stem}{_METADATA}" not in names
    return facts


def _measured(path: str, facts: os.stat_result, known: _Measured | None) -> _Measured:
    """Return the sizes of a file inside and out, going on where it was measured before."""
    found = known
    if found is None or found.inode != facts.st_ino or facts.st_size < found.packed:
        found = _Measured(facts.st_ino, 0, 0)
    if facts.st_size > found.packed:
        try:
            with open(open_file(path, os.O_RDONLY), "rb") as file:
                _hop(file, facts.st_size, found)
        except (OSError, struct.error):
            pass  # gone, or its end is torn: the next look will tell
    return found


def _hop(file: IO[bytes], size: int, found: _Measured) -> None:
    """Hop from member to member; each one's last four bytes tell what it inflates to."""
    while found.packed < size:
        file.seek(found.packed)
        start = file.read(PEEK_BYTES)
        # A file of another tool is taken for one member.
        length = size - found.packed
        if is_ours(start):
            (length,) = struct.unpack_from("<I", start, _SIZE_AT)
        if length <= _SIZE_AT:
            return  # no member is so short
        file.seek(found.packed + length - 4)
        (plain,) = struct.unpack("<I", file.read(4))
        found.packed += length
        found.plain += plain
