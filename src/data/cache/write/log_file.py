"""Logs of what was written, removed or set aside: one JSON line each, never synced."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...clock import Clock
from ...disk.atomic import write_atomically
from ...disk.files import Disk, errno_of
from ...errors import StorageError
from ...model.instant import iso
from ..retention.trim import LATEST_ENTRIES, MOST_LOG_BYTES

log = logging.getLogger(__name__)
_compact = json.JSONEncoder(separators=(",", ":")).encode


def line_of(clock: Clock, entry: Mapping[str, Any]) -> bytes:
    """Return an entry as a line, with the time before it."""
    return _compact({"time": iso(clock.now_ms()), **entry}).encode("ascii") + b"\n"


def append_line(disk: Disk, path: Path, line: bytes) -> int:
    """Append a line and return the size of the log; only under the lock of its folder."""
    try:
        handle = disk.open_write(path)
    except StorageError as exc:
        if errno_of(exc) != errno.ENOENT:
            raise
        handle = disk.create(path)
    try:
        size = disk.fstat(handle).size
        if size and disk.read_at(handle, size - 1, 1) != b"\n":
            line = b"\n" + line  # the line before was torn; do not join it
        disk.write(handle, line, size)
        return size + len(line)
    finally:
        disk.close(handle)


def append_entry(disk: Disk, path: Path, clock: Clock, entry: Mapping[str, Any]) -> None:
    """Add an entry to a log that no version depends on; only under the lock of its folder.

    A log that grew too long keeps its newest entries. A failure is reported, not raised: what the
    entry is about is safe already.
    """
    try:
        size = append_line(disk, path, line_of(clock, entry))
        if size > MOST_LOG_BYTES:
            lines = (disk.read_if_exists(path) or b"").splitlines(keepends=True)
            write_atomically(disk, path, b"".join(lines[-LATEST_ENTRIES:]), durable=False)
    except StorageError as exc:
        log.warning("%s: not logged: %s", path, exc)


def entries_of_log(disk: Disk, path: Path) -> list[dict[str, Any]]:
    """Return the entries of such a log, oldest first; lines that cannot be read are left out."""
    found = []
    for line in (disk.read_if_exists(path) or b"").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def logged_years(names: Iterable[str]) -> list[int]:
    """Return the years whose logs have these names, ascending."""
    stems = (name.removesuffix(".log") for name in names if name.endswith(".log"))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())
