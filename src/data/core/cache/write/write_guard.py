"""Detects folders that reject writes: read-only ones, and disks that are nearly full.

A read-only folder is detected by the first write, reported once, and not tried again for a while.
On a disk that is nearly full, no write is started that would fill it.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import CacheError, ReadOnlyCacheWarning, StorageError
from ...clock import Clock
from ...disk.files import Disk, Space, errno_of
from ...model.time.span import years_of
from ...model.words.caller import warn_user
from ..lane_files import LaneFiles
from ..values import Commit

if TYPE_CHECKING:
    from types import TracebackType

log = logging.getLogger(__name__)

_WRITE_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# Errors when creating the cache folder itself: its parent is missing or is a file.
_PARENT_UNUSABLE = (errno.ENOTDIR, errno.ENOENT, errno.EEXIST)
# Time before another attempt, so that not every request tries again: folders seldom change.
_AGAIN_AFTER_S = 60.0
_warned_read_only: set[Path] = set()


class ReadOnlyError(StorageError):
    """Nothing was stored because the folder is read-only; the only effect on answers is a note."""


class WriteGuard:
    """Remembers read-only folders. Thread-safe: entries are replaced as a whole.

    Args:
        root: Cache folder.
        clock: Clock that determines when the next attempt is made.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._refused: dict[Path, float] = {}

    def writing(self, folder: Path) -> AbstractContextManager[None]:
        """Return a context manager for writing to ``folder``.

        It raises :class:`ReadOnlyError` if the folder is, or was a moment ago, read-only; a warning
        is issued once per process.
        """
        return _Writing(self, folder)

    def check(self, folder: Path) -> None:
        """Raise an error if a write would fail anyway.

        Raises:
            ReadOnlyError: The folder was read-only a moment ago.
        """
        now = self._clock.monotonic()
        if any(self._refused.get(path, now) > now for path in (folder, self._root)):
            raise self._read_only_error()

    def note(self, folder: Path, refusal: StorageError) -> None:
        """Remember that a folder is read-only, if the error ``refusal`` shows this.

        Raises:
            ReadOnlyError: The folder is read-only.
        """
        number, exists = errno_of(refusal), self._root.is_dir()
        if number not in _WRITE_REFUSED and (exists or number not in _PARENT_UNUSABLE):
            return
        # A read-only file system affects all folders; missing permissions may affect only this one.
        path = self._root if number == errno.EROFS or not exists else folder
        self._refused[path] = self._clock.monotonic() + _AGAIN_AFTER_S
        self._say_once(refusal)
        raise self._read_only_error() from refusal.__cause__

    def _read_only_error(self) -> ReadOnlyError:
        return ReadOnlyError(
            f"the cache folder {self._root} is read-only",
            hint="check the permissions of the folder, or name another with DATA_CACHE_DIR",
        )

    def _say_once(self, refusal: StorageError) -> None:
        if self._root in _warned_read_only:
            return
        _warned_read_only.add(self._root)
        text = (
            f"the cache folder {self._root} is read-only ({refusal.args[0]}): bars are "
            "returned but not cached; name another folder with DATA_CACHE_DIR"
        )
        log.warning("%s", text)
        warn_user(text, ReadOnlyCacheWarning)


class _Writing(AbstractContextManager[None]):
    """Context manager that :meth:`WriteGuard.writing` returns.

    This is a class rather than a generator, so that the warning points to the caller's line.
    """

    def __init__(self, guard: WriteGuard, folder: Path) -> None:
        self._guard = guard
        self._folder = folder

    def __enter__(self) -> None:
        self._guard.check(self._folder)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if isinstance(error, StorageError):
            self._guard.note(self._folder, error)


# --- free space --------------------------------------------------------------------------


MIB = 1 << 20
_LEAST, _MOST, _SHARE = 64 * MIB, 1024 * MIB, 0.01
# Maximum bytes for a bar, as text before compression, and for the metadata next to it.
_A_BAR, _A_COMMIT = 80, 16_384
_BARE_FOR_S = 60.0
# Folders on a full disk; a warning is issued for each once per process.
warned_full: set[Path] = set()

Makes = Callable[[int], int]  # frees about this many bytes; returns the number freed


class NoRoomError(StorageError):
    """Nothing was stored, because some disk space must stay free; a warning is issued once."""


class FreeSpaceGuard:
    """Keeps some space free on the disk of one cache folder. Thread-safe.

    Args:
        root: Cache folder.
        disk: File system.
        min_free_mb: MiB that must stay free; None means 1% of the disk, but at least 64 MiB and at
            most 1 GiB. 0 means no reserve.
        make_room: Function that drops columnar files and replaced year files.
        clock: Clock that measures how long to wait before searching again after a search found no
            such files.
    """

    def __init__(
        self, root: Path, disk: Disk, min_free_mb: float | None, make_room: Makes, clock: Clock
    ) -> None:
        self._root = root
        self._disk = disk
        self._clock = clock
        self._bare_until_s = -math.inf
        self._min_free = None if min_free_mb is None else round(min_free_mb * MIB)
        self._make_room = make_room

    def claim(self, need: int) -> None:
        """Make sure that ``need`` bytes can be written while the reserve stays free.

        Raises:
            NoRoomError: The space is not sufficient, and no derived files are left to drop.
        """
        shortfall = self._shortfall(need)
        # A memory-mapped file frees no space until the map is closed.
        while shortfall > 0 and self._has_made_room(shortfall):
            shortfall = self._shortfall(need)
        if shortfall > 0:
            # The error number is for callers that detect a full disk by it.
            raise self._no_room_error() from OSError(errno.ENOSPC, "the reserve must be kept free")

    def _has_made_room(self, shortfall: int) -> bool:
        now = self._clock.monotonic()
        if now < self._bare_until_s:
            return False
        if self._make_room(shortfall) > 0:
            return True
        self._bare_until_s = now + _BARE_FOR_S
        return False

    def has(self, need: int) -> bool:
        """Return whether ``need`` bytes can be written while the reserve stays free."""
        return self._shortfall(need) <= 0

    def _shortfall(self, need: int) -> int:
        space = self._space()
        return 0 if space is None else need + self._reserve(space) - space.free

    def _space(self) -> Space | None:
        """Return the space on the disk; None if it is unknown or does not matter."""
        if self._min_free == 0:
            return None
        try:
            return self._disk.space(self._root)
        except CacheError as exc:
            log.debug("free space is unknown: %s", exc)
            return None

    def _reserve(self, space: Space) -> int:
        if self._min_free is not None:
            return self._min_free
        return min(max(_LEAST, round(space.total * _SHARE)), _MOST)

    def _no_room_error(self) -> NoRoomError:
        space = self._space()
        free = space.free / MIB if space else 0.0
        text = f"only {free:,.0f} MiB are free on the disk of the cache"
        if self._root not in warned_full:
            warned_full.add(self._root)
            log.warning("%s %s: bars are returned but not cached", text, self._root)
        return NoRoomError(
            f"{text}, and cache.min_free_mb keeps a reserve",
            hint="free some space on that disk, or name another folder with DATA_CACHE_DIR",
        )


def need_of(lane: LaneFiles, commit: Commit) -> int:
    """Return an upper limit for the bytes that a commit writes; it may have to rewrite whole years."""
    years = {year for p in commit.pieces if len(p.table) for year in years_of(p.span)}
    sizes = (lane.disk.stat(lane.paths.data_text(year)) for year in years)
    rows = sum(len(piece.table) for piece in commit.pieces) + len(commit.suspects)
    return _A_COMMIT + rows * _A_BAR + sum(size.size for size in sizes if size)
