"""Detects folders that refuse writes: read-only ones, and disks that are nearly full.

A folder that can only be read is found out by the first write, warned about once, and not tried
again for a while. On a disk that is nearly full nothing is begun that would fill it up.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ...clock import Clock
from ...disk.files import Disk, Space, errno_of
from ...errors import CacheError, ReadOnlyCacheWarning, StorageError
from ...model.caller import warn_user
from ..values import Commit
from .coverage_update import years_of
from .series import SeriesFiles

if TYPE_CHECKING:
    from types import TracebackType

log = logging.getLogger(__name__)

_REFUSALS = (errno.EROFS, errno.EACCES, errno.EPERM)
# Where the cache folder itself is to be made: a file, or nothing, is in its parent's place.
_NO_PARENT = (errno.ENOTDIR, errno.ENOENT, errno.EEXIST)
# So long nothing is tried again: folders seldom change, and every request would try.
_AGAIN_AFTER_S = 60.0
_warned_read_only: set[Path] = set()


class ReadOnlyError(StorageError):
    """Nothing was stored, and nothing is to be made of it but a note in the answer."""


class WriteGuard:
    """Remembers which folders refuse to be written to. Thread-safe: entries are replaced whole.

    Args:
        root: the cache folder.
        clock: tells when to try again.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._refused: dict[Path, float] = {}

    def writing(self, folder: Path) -> AbstractContextManager[None]:
        """Return a block that writes to ``folder``; it is refused if that was so a moment ago.

        It raises :class:`ReadOnlyError` where the folder can only be read; it is warned about
        once a process.
        """
        return _Writing(self, folder)

    def check(self, folder: Path) -> None:
        """Refuse what would be refused anyway.

        Raises:
            ReadOnlyError: the folder could only be read a moment ago.
        """
        now = self._clock.monotonic()
        if any(self._refused.get(place, now) > now for place in (folder, self._root)):
            raise self._error()

    def note(self, folder: Path, refusal: StorageError) -> None:
        """Remember that a folder can only be read, if that is what an error means.

        Raises:
            ReadOnlyError: it is.
        """
        number, exists = errno_of(refusal), self._root.is_dir()
        if number not in _REFUSALS and (exists or number not in _NO_PARENT):
            return
        # A whole file system refuses everywhere, an owner perhaps only here.
        place = self._root if number == errno.EROFS or not exists else folder
        self._refused[place] = self._clock.monotonic() + _AGAIN_AFTER_S
        self._say_once(refusal)
        raise self._error() from refusal.__cause__

    def _error(self) -> ReadOnlyError:
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
    """A class, and no generator: the warning is to point at the caller's line."""

    def __init__(self, guard: WriteGuard, folder: Path) -> None:
        self._guard = guard
        self._folder = folder

    def __enter__(self) -> None:
        self._guard.check(self._folder)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if isinstance(error, StorageError):
            self._guard.note(self._folder, error)


# --- free space --------------------------------------------------------------------------


MIB = 1 << 20
_LEAST, _MOST, _SHARE = 64 * MIB, 1024 * MIB, 0.01
# What a bar takes at most, as text before it is packed, and metadata beside it.
_A_BAR, _A_COMMIT = 80, 16_384
_BARE_FOR_S = 60.0
# The folders on a full disk; each is warned of once a process.
warned_full: set[Path] = set()

Makes = Callable[[int], int]  # frees so many bytes, or fewer, and returns how many


class NoRoomError(StorageError):
    """Nothing was stored, to keep a reserve free; it was warned about once."""


class FreeSpaceGuard:
    """Keeps a reserve free on the disk of one cache folder. Thread-safe.

    Args:
        root: the cache folder.
        disk: the file system.
        min_free_mb: MiB that stay free; None: one hundredth of the disk, at least 64 MiB and at
            most 1 GiB; 0: no reserve.
        make_room: drops what can be made again from the bars.
        clock: tells when to look for such things again after there were none.
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
        """Make sure that ``need`` bytes can be written and the reserve is still free.

        Raises:
            NoRoomError: they cannot, and nothing derived is left to be dropped.
        """
        lack = self._lack(need)
        # A file that is mapped into memory frees nothing before the map is closed.
        while lack > 0 and self._dropped(lack):
            lack = self._lack(need)
        if lack > 0:
            # The number is for callers that ask by it whether a disk is full.
            raise self._refusal() from OSError(errno.ENOSPC, "the reserve is kept free")

    def _dropped(self, lack: int) -> bool:
        now = self._clock.monotonic()
        if now < self._bare_until_s:
            return False
        if self._make_room(lack) > 0:
            return True
        self._bare_until_s = now + _BARE_FOR_S
        return False

    def has(self, need: int) -> bool:
        """Tell whether ``need`` bytes can be written and the reserve is still free."""
        return self._lack(need) <= 0

    def _lack(self, need: int) -> int:
        space = self._space()
        return 0 if space is None else need + self._reserve(space) - space.free

    def _space(self) -> Space | None:
        """Return what the disk has; None where that is not told, or does not matter."""
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

    def _refusal(self) -> NoRoomError:
        space = self._space()
        free = space.free / MIB if space else 0.0
        text = f"only {free:,.0f} MiB are free on the disk of the cache"
        if self._root not in warned_full:
            warned_full.add(self._root)
            log.warning("%s %s: bars are returned but not cached", text, self._root)
        return NoRoomError(
            f"{text}, and cache.min_free_mb keeps a reserve",
            hint="free some space on that disk, or name another with DATA_CACHE_DIR",
        )


def need_of(lane: SeriesFiles, commit: Commit) -> int:
    """Return how many bytes a commit may write at most: a year that changes is written anew."""
    years = {year for p in commit.pieces if len(p.table) for year in years_of(p.span)}
    sizes = (lane.disk.stat(lane.paths.data_text(year)) for year in years)
    rows = sum(len(piece.table) for piece in commit.pieces) + len(commit.suspects)
    return _A_COMMIT + rows * _A_BAR + sum(size.size for size in sizes if size)
