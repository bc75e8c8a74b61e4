"""A disk that is nearly full: nothing is begun on it that would fill it up."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from ...clock import Clock
from ...disk.files import Disk, Space
from ...errors import CacheError, StorageError
from ...model.span import Span
from ..values import Commit
from ..write.coverage_update import years_of
from ..write.series import SeriesFiles

log = logging.getLogger(__name__)

MIB = 1 << 20
_LEAST, _MOST, _SHARE = 64 * MIB, 1024 * MIB, 0.01
# What a bar takes at most, as text before it is packed, and metadata beside it.
_A_BAR, _A_COMMIT = 80, 16_384
_BARE_FOR_S = 60.0

Makes = Callable[[int], int]  # frees so many bytes, or fewer, and returns how many
_said: set[Path] = set()


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
        # What somebody has mapped into memory frees nothing before he lets go of it.
        while lack > 0 and self._dropped(lack):
            lack = self._lack(need)
        if lack > 0:
            # The number is for whoever asks by it whether a disk is full.
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
            log.debug("how much is free is not known: %s", exc)
            return None

    def _reserve(self, space: Space) -> int:
        if self._min_free is not None:
            return self._min_free
        return min(max(_LEAST, round(space.total * _SHARE)), _MOST)

    def _refusal(self) -> NoRoomError:
        space = self._space()
        free = space.free / MIB if space else 0.0
        said = f"only {free:,.0f} MiB are free on the disk of the cache"
        if self._root not in _said:
            _said.add(self._root)
            log.warning("%s %s: bars are returned, and not stored", said, self._root)
        return NoRoomError(
            f"{said}, and cache.min_free_mb keeps a reserve",
            hint="free some space on that disk, or name another with DATA_CACHE_DIR",
        )


def need_of(lane: SeriesFiles, commit: Commit) -> int:
    """Return how many bytes a commit may write at most: a year that changes is written anew."""
    years = {year for span in _spans(commit) for year in years_of(span)}
    sizes = (lane.disk.stat(lane.paths.data_text(year)) for year in years)
    rows = sum(len(piece.table) for piece in commit.pieces) + len(commit.suspects)
    return _A_COMMIT + rows * _A_BAR + sum(size.size for size in sizes if size)


def _spans(commit: Commit) -> Iterable[Span]:
    return (part.span for part in commit.pieces if len(part.table))
