"""Answers kept as they were sent: one gzip file per answer, whose header has the answer's time."""

from __future__ import annotations

import gzip
import logging
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from ...errors import CacheError
from ..cache.format.gzip_member import inflated
from ..disk.atomic import write_atomically
from ..disk.files import Disk
from ..model.time.instant import HOUR_MS, SECOND_MS

log = logging.getLogger(__name__)

_TIME = struct.Struct("<4xI")
_LOCK_S = 30.0


class Kept(NamedTuple):
    """A kept answer: its bytes as they were sent, and its time (UTC milliseconds, whole seconds)."""

    body: bytes
    fetched_ms: int


class KeptAnswers:
    """A folder of answers. Safe across threads and processes; files may be deleted at any time.

    Args:
        disk: File system.
        folder: Folder of the files.
    """

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk, self._folder = disk, folder

    def read(self, name: str, now_ms: int) -> Kept | None:
        """Return an answer; None if there is none, it is damaged, or it is from the future."""
        try:
            packed = self._disk.read_if_exists(self._path(name))
            if packed is None:
                return None
            fetched_ms = _TIME.unpack_from(packed)[0] * SECOND_MS
            if fetched_ms > now_ms + HOUR_MS:  # a clock was ahead
                raise ValueError("it was fetched in the future")
            return Kept(inflated(packed), fetched_ms)
        except (CacheError, ValueError, zlib.error, struct.error) as error:
            log.warning("the kept answer %s is not read: %s", name, error)
            return None

    def write(self, name: str, body: bytes, now_ms: int) -> None:
        """Keep an answer; if it cannot be kept, the reason is logged."""
        packed = gzip.compress(body, 6, mtime=now_ms // SECOND_MS)
        try:
            self._disk.make_folders(self._folder, durable=False)
            with self._disk.lock(self._folder / ".lock", _LOCK_S):
                write_atomically(self._disk, self._path(name), packed)
        except CacheError as error:
            log.warning("the answer %s is used, but cannot be kept: %s", name, error)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.gz"
