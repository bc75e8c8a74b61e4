"""A cache folder that can only be read: found out by the first write, said once, left in peace."""

from __future__ import annotations

import errno
import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ...clock import Clock
from ...disk.files import errno_of
from ...errors import ReadOnlyCacheWarning, StorageError

if TYPE_CHECKING:
    from types import TracebackType

log = logging.getLogger(__name__)

_REFUSALS = (errno.EROFS, errno.EACCES, errno.EPERM)
# So long nothing is tried again: folders seldom change, and every request would try.
_AGAIN_AFTER_S = 60.0
_said: set[Path] = set()


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
        number = errno_of(refusal)
        if number not in _REFUSALS:
            return
        # A whole file system refuses everywhere, an owner perhaps only here.
        place = self._root if number == errno.EROFS else folder
        self._refused[place] = self._clock.monotonic() + _AGAIN_AFTER_S
        self._say_once(refusal)
        raise self._error() from refusal.__cause__

    def _error(self) -> ReadOnlyError:
        return ReadOnlyError(
            f"the cache folder {self._root} can only be read",
            hint="check the permissions of the folder, or name another with DATA_CACHE_DIR",
        )

    def _say_once(self, refusal: StorageError) -> None:
        from ...model.frame import warn_user

        if self._root in _said:
            return
        _said.add(self._root)
        said = (
            f"the cache folder {self._root} can only be read ({refusal.args[0]}): bars are "
            "returned, and asked for again the next time"
        )
        log.warning("%s", said)
        warn_user(said, ReadOnlyCacheWarning)


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
