"""A store of Polars frames: Parquet files in one folder, up to a total size.

A frame is one Parquet file that also contains the facts about it and a digest of the file. Frames
that can be made again are views: a damaged one is removed, and the least recently used ones are
dropped. A frame of a custom source whose values exist nowhere else is an only copy: it is never
dropped, and a damaged one is set aside.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...core.disk.atomic import or_discarded, stage
from ...core.disk.calls import MOST_BYTES
from ...core.disk.files import Disk, FileState
from ...core.runtime.lru_cache import LruCache
from ...errors import CorruptEntryError, QueryError, StorageError
from ..frames.frames import pl  # its error names the missing extra
from ..frames.seal import BLANK, MARK, check_seal, sealed

__all__ = ["FrameStore", "StoredFrame"]

# Number of digits of a key in the name of a file.
SHORT = 16
_KEY = re.compile(rf"[0-9a-f]{{{SHORT}}}(?:[0-9a-f]{{48}})?")
_VIEW = re.compile(rf"cache_([0-9a-f]{{{SHORT}}})\.parquet")
_ONLY = ".only"
# The facts are one text in the metadata of the file: JSON, and its seal.
_FACTS = "onetape"
# Above the limit, frames are dropped until this share of it is left. The folder is listed again
# after this share of the limit was written, and once an hour.
_NEARLY_FULL, _LISTED_AFTER = 0.9, 0.05
_HOUR_NS = 3600 * 10**9
# Number of files that this process remembers as checked.
REMEMBERED = 100_000
# The frame to drop first has the highest value, by its size and the time since its last use.
POLICIES: Mapping[str, Callable[[int, int], float]] = {
    "lru": lambda size, idle_ns: idle_ns,
    "size": lambda size, idle_ns: size,
    "hybrid": lambda size, idle_ns: size * idle_ns,
}
_log = logging.getLogger(__name__)


class StoredFrame(NamedTuple):
    """A frame from the store.

    Attributes:
        frame: Frame as it was passed to :meth:`FrameStore.put`.
        facts: Facts as they were passed, and those that the store adds.
        state: State of its file; None if there is no file.
    """

    frame: pl.DataFrame
    facts: dict[str, Any]
    state: FileState | None


class FrameStore:
    """Frames in a folder, limited by their total size. Thread-safe, and can be shared by processes.

    A frame is written under a temporary name and renamed, so readers see all of it or none. The
    digest of a file is checked once in each process, and again if the file changes. The access time
    of a file is the time at which its frame was last used.

    Args:
        folder: Folder of the frames; the first ``put`` creates it.
        max_bytes: Maximum total size; if it is exceeded, views other than the latest are dropped
            until the size is 90% of the maximum.
        disk: File access; None means ordinary files, with permissions according to the umask.
        policy: Which views are dropped first: ``lru`` (the least recently used), ``size`` (the
            largest), or ``hybrid`` (by size times the time since the last use).
    """

    def __init__(
        self, folder: Path, max_bytes: int, disk: Disk | None = None, *, policy: str = "lru"
    ) -> None:
        self.folder, self._max_bytes, self._rank = folder, max_bytes, POLICIES[policy]
        self._disk, self._checked = disk or Disk(root=folder), LruCache(REMEMBERED)
        self._room, self._listed_ns = -1.0, self._disk.now_ns()

    def path(self, key: str, *, is_only_copy: bool = False) -> Path:
        """Return the path of the file for a key (or for its first 16 digits).

        Raises:
            QueryError: The string is not a key.
        """
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise QueryError(
                f"invalid cache key {key!r:.80}",
                hint="use the 16 or 64 digits from generate_cache_key",
            )
        return self.folder / f"cache_{key[:SHORT]}{_ONLY if is_only_copy else ''}.parquet"

    def get(self, key: str) -> StoredFrame | None:
        """Return the frame for a key, or None; it becomes the most recently used one.

        A damaged view is reported in the log, removed, and counts as missing.

        Raises:
            QueryError: The string is not a key.
            CorruptEntryError: An only copy is damaged; it has been set aside, and later calls return
                None.
            StorageError: The frame cannot be read.
        """
        for is_only_copy in (False, True):
            path = self.path(key, is_only_copy=is_only_copy)
            content = self._disk.read_with_state(path)
            if content is None:
                continue
            data, state = content
            try:
                if self._checked.get(path.name) != state:
                    check_seal(data)
                facts = _facts_of(io.BytesIO(data))
                frame = pl.read_parquet(io.BytesIO(data))
            except (ValueError, KeyError, pl.exceptions.PolarsError) as error:
                self._reject(path, state, error, is_only_copy=is_only_copy)
                continue
            self._checked.put(path.name, state, 1)
            if facts["cache_key"].startswith(key):
                stored = StoredFrame(frame, facts | _place(path, state.size), state)
                self.note_use(stored)
                self._list_if_due(path.name)
                return stored
        return None

    def facts(self, key: str) -> dict[str, Any] | None:
        """Return the facts about the frame for a key, without reading the frame; None if missing.

        Returns:
            The facts passed to :meth:`put`, with ``cache_key``, ``row_count``, ``sha256``,
            ``bundle_name``, ``bundle_path``, ``size_bytes`` and ``last_accessed`` (UTC seconds).

        Raises:
            QueryError: The string is not a key.
            StorageError: The folder cannot be read.
        """
        for is_only_copy in (False, True):
            path = self.path(key, is_only_copy=is_only_copy)
            state = self._disk.stat(path)
            if state is None:
                continue
            try:
                facts = _facts_of(path)
            except (ValueError, KeyError, OSError, pl.exceptions.PolarsError) as error:
                _log.warning("%s is damaged: %s", path.name, error)
                continue
            if facts["cache_key"].startswith(key):
                return facts | _place(path, state.size)
        return None

    def put(
        self, key: str, frame: pl.DataFrame, facts: Mapping[str, Any], *, is_only_copy: bool = False
    ) -> StoredFrame:
        """Store a frame, replacing an earlier one with its key; then drop views if necessary.

        Args:
            key: Cache key, 64 or 16 hex digits; the first 16 are part of the file's name.
            frame: Any frame that Parquet can hold.
            facts: Facts to record, as JSON.
            is_only_copy: Whether the values exist nowhere else: the frame is never dropped, and is
                safe from a power loss.

        Raises:
            QueryError: The string is not a key.
            StorageError: The frame cannot be stored; the earlier one is unchanged.
        """
        path = self.path(key, is_only_copy=is_only_copy)
        facts = {**facts, "cache_key": key, "row_count": frame.height}
        data, digest = _packed(frame, facts)
        self._disk.make_folders(self.folder, durable=is_only_copy)
        temp = stage(self._disk, path, data, durable=is_only_copy)
        with or_discarded(self._disk, temp):
            now = self._disk.now_ns()
            self._disk.set_times(temp, now, now)  # no other version has the same ones
            state = self._disk.stat(temp)
            self._disk.replace(temp, path)
        if is_only_copy:
            self._disk.sync_folder(self.folder)
        self._disk.remove(self.path(key, is_only_copy=not is_only_copy))
        self._room -= len(data)
        self._list_if_due(path.name)
        facts |= {"sha256": digest, **_place(path, len(data))}
        return StoredFrame(frame, facts, state)

    def remove(self, key: str) -> None:
        """Remove the view for a key or its first 16 digits; does nothing if it does not exist.

        Raises:
            QueryError: The string is not a key.
            StorageError: The frame cannot be removed.
        """
        self._disk.remove(self.path(key))

    def _reject(
        self, path: Path, state: FileState, error: Exception, *, is_only_copy: bool
    ) -> None:
        """Remove a damaged view, or set a damaged only copy aside.

        Raises:
            CorruptEntryError: The damaged file is an only copy.
        """
        if not is_only_copy:
            _log.warning("%s is damaged: the frame is made again: %s", path.name, error)
            try:
                self._disk.remove(path)
            except StorageError as refusal:
                _log.warning("%s cannot be removed: %s", path.name, refusal)
            return
        aside = path.with_name(f"{path.name}.{self._disk.now_ns()}.damaged")
        if self._disk.stat(path) == state:  # otherwise it was replaced meanwhile
            self._disk.replace(path, aside)
        raise CorruptEntryError(
            f"the only copy of a frame is damaged: {error}",
            hint=f"it was moved to {aside}; the next call requests the bars from the source",
        )

    # --- use and size ----------------------------------------------------------------------

    def note_use(self, stored: StoredFrame) -> None:
        """Make a frame the most recently used one."""
        if stored.state is not None:
            path, now = stored.facts["bundle_path"], self._disk.now_ns()
            with suppress(StorageError):  # read-only, or dropped meanwhile
                self._disk.set_times(path, now, stored.state.mtime_ns)

    def sizes(self) -> dict[str, int]:
        """Return the size of each frame's file in bytes, by name; other files are ignored.

        Raises:
            StorageError: The folder cannot be read.
        """
        names = self._disk.list(self.folder)
        ours = [name for name in names if _VIEW.fullmatch(name.replace(_ONLY, ""))]
        states = {name: self._disk.stat(self.folder / name) for name in ours}
        return {name: state.size for name, state in states.items() if state is not None}

    def keys(self) -> list[str]:
        """Return the first 16 digits of the key of each view.

        Raises:
            StorageError: The folder cannot be read.
        """
        return [
            found[1] for name in self._disk.list(self.folder) if (found := _VIEW.fullmatch(name))
        ]

    def _list_if_due(self, latest: str) -> None:
        """List the folder if much was written or an hour has passed, and drop views above the limit."""
        if self._room >= 0 and 0 <= self._disk.now_ns() - self._listed_ns < _HOUR_NS:
            return
        try:
            self._drop_above_limit(latest)
        except StorageError as error:
            _log.debug("%s was not listed: %s", self.folder, error)

    def _drop_above_limit(self, latest: str) -> None:
        sizes, now = self.sizes(), self._disk.now_ns()
        total = sum(sizes.values())
        self._listed_ns = now
        if total > self._max_bytes:
            views = [name for name in sizes if _VIEW.fullmatch(name) and name != latest]
            uses = {name: _used_ns(self.folder / name) for name in views}
            ranks = {name: self._rank(sizes[name], max(0, now - uses[name])) for name in views}
            for name in sorted(views, key=ranks.__getitem__, reverse=True):
                if total <= _NEARLY_FULL * self._max_bytes:
                    break
                try:
                    self._disk.remove(self.folder / name)
                    total -= sizes[name]
                except StorageError as error:
                    _log.warning("%s cannot be dropped: %s", name, error)
        self._room = min(self._max_bytes - total, _LISTED_AFTER * self._max_bytes)
        self._discard_leftovers(now)

    def _discard_leftovers(self, now: int) -> None:
        """Remove temporary files of writers that died."""
        for name in self._disk.list(self.folder):
            if name.startswith(".cache_") and name.endswith(".tmp"):
                state = self._disk.stat(self.folder / name)
                if state is not None and now - state.mtime_ns > _HOUR_NS:
                    self._disk.remove(self.folder / name)


def _packed(frame: pl.DataFrame, facts: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return a frame and its facts as a Parquet file, and the digest in it.

    Raises:
        StorageError: The frame cannot be stored as Parquet, or is too large.
    """
    text, buffer = json.dumps(facts) + MARK + BLANK, io.BytesIO()
    try:
        frame.write_parquet(buffer, compression="lz4", metadata={_FACTS: text})
    except pl.exceptions.PolarsError as error:
        raise StorageError(f"the frame cannot be stored as Parquet: {error}") from error
    data = buffer.getvalue()
    if len(data) > MOST_BYTES:
        raise StorageError(
            f"the frame takes {len(data):,} bytes as Parquet, more than {MOST_BYTES:,}",
            hint="store fewer symbols or a shorter range in one frame",
        )
    return sealed(data)


def _place(path: Path, size: int) -> dict[str, Any]:
    """Return the facts about a frame's file, which may have been dropped meanwhile."""
    return {
        "bundle_name": path.name.split(".")[0],
        "bundle_path": str(path),
        "size_bytes": size,
        "last_accessed": _used_ns(path) // 10**9,
    }


def _used_ns(path: Path) -> int:
    """Return the time at which a file was last used, or 0 if it does not exist."""
    try:
        return os.stat(path).st_atime_ns
    except OSError:
        return 0


def _facts_of(file: Path | io.BytesIO) -> dict[str, Any]:
    """Return the facts in a Parquet file."""
    text, _, digest = pl.read_parquet_metadata(file)[_FACTS].rpartition(MARK)
    return {**json.loads(text), "sha256": digest}
