"""``catalog.jsonl``: a line for each fact about a lineage; never evicted or rewritten.

A line is a JSON object with ``type`` (its subject), ``format`` (format number of that type, from
1) and ``time`` (UTC). Lines of other types and from other programs are left as they are. A line
that a crash or a full disk left incomplete is ignored; the next one starts on a new line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..clock import Clock, SystemClock
from ..disk.atomic import append_line
from ..disk.files import Disk, FileState
from ..errors import FormatVersionError
from ..model.instant import iso

CATALOG = "catalog.jsonl"
_LOCK = ".catalog.lock"
_LOCK_TIMEOUT_S = 30.0
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class CatalogLog:
    """The log ``catalog.jsonl`` in one bundles folder.

    Thread-safe; several processes may use the same log.

    Args:
        folder: Bundles folder; it is created when the first line is written.
        disk: File access; None is the file system, with permissions according to the umask.
        clock: Source of the times in lines; None is the system clock.

    Attributes:
        path: Path of the log file.
    """

    def __init__(self, folder: Path, disk: Disk | None = None, clock: Clock | None = None) -> None:
        self.path = folder / CATALOG
        self._disk, self._clock = disk or Disk(), clock or SystemClock()

    def append(self, type_: str, entry: Mapping[str, Any], format_: int = 1) -> None:
        """Add a line; it is durable when this returns.

        Raises:
            StorageError: The line could not be written; any part of it that was written is ignored.
            LockTimeoutError: Another writer kept the file locked for 30 s.
            ValueError: The entry contains a value that JSON cannot represent.
        """
        self.append_all(type_, [entry], format_)

    def append_all(
        self,
        type_: str,
        entries: Iterable[Mapping[str, Any]],
        format_: int = 1,
        check: Callable[[], object] | None = None,
    ) -> None:
        """Add several lines with one write and one sync; raises the errors of :meth:`append`.

        After a crash, or if the disk is full, only the first lines may have been written. ``check``
        is called first, while no other writer can add a line; if it raises, nothing is added.
        """
        head = {"type": type_, "format": format_, "time": iso(self._clock.now_ms())}
        lines = b"".join(_encode({**head, **entry}).encode("ascii") + b"\n" for entry in entries)
        if not lines:
            return
        self._disk.make_folders(self.path.parent)
        with self._disk.lock(self.path.with_name(_LOCK), _LOCK_TIMEOUT_S):
            if check is not None:
                check()
            append_line(self._disk, self.path, lines, durable=True)

    def entries(self, type_: str, format_: int = 1, holding: str = "") -> Iterator[dict[str, Any]]:
        """Yield the entries of a type, oldest first; nothing if the file does not exist.

        Args:
            type_: Type of the entries.
            format_: Latest format of this type that the caller can read.
            holding: Text to search for; lines without this text in a key or a value are skipped.

        Raises:
            FormatVersionError: A newer version of this library wrote one of the entries.
            StorageError: The file cannot be read.
        """
        # In the form in which lines are written: ASCII, with quotes and backslashes escaped.
        mark, needle = _encode(type_).encode("ascii"), _encode(holding).encode("ascii")[1:-1]
        for line in (self._disk.read_if_exists(self.path) or b"").split(b"\n"):
            if mark not in line or needle not in line:
                continue
            entry = entry_of(line)
            if entry.get("type") == type_:
                self.check(entry, format_)
                yield entry

    def check(self, entry: Mapping[str, Any], format_: int) -> None:
        """Raise ``FormatVersionError`` if an entry has a newer format than ``format_``."""
        written = entry.get("format")
        if not isinstance(written, int) or written > format_:
            raise FormatVersionError(
                (
                    f"{self.path} has a line of type {entry.get('type')} in format {written!r}; this "
                    f"version reads up to {format_}"
                ),
                hint="update onetape",
            )

    def read_from(self, offset: int) -> tuple[bytes, FileState] | None:
        """Return the bytes from ``offset`` to the end, or all if there are fewer, and the file's state.

        Return None if the file does not exist.
        """
        handle = self._disk.open_read(self.path)
        if handle is None:
            return None
        try:
            state = self._disk.fstat(handle)
            start = offset if offset <= state.size else 0
            return self._disk.read_at(handle, start, state.size - start), state
        finally:
            self._disk.close(handle)


def entry_of(line: bytes) -> dict[str, Any]:
    """Return the entry of a line, or an empty one if the line is incomplete or not an entry."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}
