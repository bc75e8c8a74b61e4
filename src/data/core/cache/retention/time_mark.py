"""Records the latest proven time next to the bars, so that a slow clock does not make bars look young."""

from __future__ import annotations

from pathlib import Path

from ....errors import CorruptEntryError, FormatVersionError, StorageError
from ...disk.atomic import write_atomically
from ...disk.files import Disk
from ..format import json_document

NAME = ".time"
# The latest time that any answer has proved or, after a loss of the file, that the stored answers
# prove.
_LATEST, _SINCE = "latest_ms", "lost_since_ms"


class TimeMark:
    """The file that records the latest time that, according to a cache's answers, must have passed.

    The answer that proves the time may have been deleted since. If the file is missing or damaged,
    the time is unknown until an answer arrives that is newer than all stored ones.

    Args:
        disk: Writer of the file.
        folder: Folder of all bars.
    """

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk, self._path = disk, folder / NAME

    def read(self) -> int | None:
        """Return the time in UTC milliseconds; None if it is unknown."""
        return (self._load() or {}).get(_LATEST)

    def begin(self) -> None:
        """Create the file for a cache in which nothing was ever stored.

        Raises:
            StorageError: The file cannot be written.
        """
        if self._load() is None:
            self._keep({_LATEST: 0})

    def note(self, vouched_ms: int) -> None:
        """Record the latest time that stored answers prove, unless a later time is recorded.

        The caller holds the eviction lock.

        Raises:
            StorageError: The file cannot be written.
        """
        mark = self._load()
        if mark is None:
            self._keep({_SINCE: vouched_ms})
        elif vouched_ms > max(mark.values()):
            self._keep({_LATEST: vouched_ms})

    def _load(self) -> dict[str, int] | None:
        """Return the file's content, which maps a name to a time; None if it cannot be read."""
        try:
            content = self._disk.read_if_exists(self._path)
            stored = {} if content is None else json_document.load(content)
        except (CorruptEntryError, FormatVersionError, StorageError):
            return None
        mark = {name: stored[name] for name in (_LATEST, _SINCE) if type(stored.get(name)) is int}
        return mark or None

    def _keep(self, mark: dict[str, int]) -> None:
        write_atomically(self._disk, self._path, json_document.dump(mark))
