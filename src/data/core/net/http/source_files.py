"""Digests of the content of files, which are read again only if their sizes or times have changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from ...clock import Clock, SystemClock

# Two changes within the resolution of a file system's times (2 s on FAT) result in the same time.
_GRAIN_NS = 2 * 10**9
_NS_IN_MS = 10**6
FileStamp = tuple[int, ...]


def stamp_of(status: os.stat_result) -> FileStamp:
    """Return values that change if a file's content changes, with the file's times at the end.

    The second time cannot be set by programs, so it reveals a file that was edited and then given
    its old time.
    """
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def has_rested(stamp: FileStamp, now_ms: int) -> bool:
    """Return whether a file is old enough for any later change to alter its times."""
    return now_ms * _NS_IN_MS - max(stamp[-2:]) >= _GRAIN_NS


class FolderDigest:
    """The digest of the content of several files. Thread-safe.

    Args:
        clock: Clock that measures the time since the last change; None for the system clock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._known: tuple[Sequence[tuple[Path, FileStamp]], str] = ((), "")

    def of(self, paths: Sequence[Path]) -> str:
        """Return the digest of the names and content of files; empty if there are none.

        Args:
            paths: Paths in a fixed order; missing files are left out.
        """
        now_ms, there = self._clock.now_ms(), list[tuple[Path, FileStamp]]()
        for path in paths:
            try:
                there.append((path, stamp_of(os.stat(path))))
            except OSError:
                continue
        known, digest = self._known
        if there == known:
            return digest
        whole = sha256()
        for path, _ in there:
            try:
                content = sha256(path.read_bytes()).hexdigest()
            except OSError:
                content = ""
            whole.update(f"{path.name}|{content}|".encode("utf-8", "surrogateescape"))
        digest = whole.hexdigest() if there else ""
        if all(has_rested(stamp, now_ms) for _, stamp in there):
            self._known = there, digest
        return digest
