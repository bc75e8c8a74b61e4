"""Keeps the documents of a store in memory while their files are unchanged."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..disk.files import Disk, FileState
from ..runtime.lru_cache import LruCache

T = TypeVar("T")

# State of a file or folder that does not exist.
NO_FILE = FileState(0, 0, 0)
# File times advance in steps of up to 10 ms: two changes within one step cannot be distinguished.
_YOUNG_NS = 20_000_000
# Memory for a document: this many bytes each, plus this multiple of its size.
EACH_BYTES, TIMES_ITS_BYTES = 1 << 10, 6
_NAME_BYTES = 80


class _Parsed(NamedTuple):
    """A value parsed from a file, with the file's state or bytes (or both), to notice changes."""

    state: FileState | None
    content: bytes | None
    value: Any


class DocumentCache:
    """Caches parsed files, by path, for as long as the files are unchanged.

    A file is unchanged if its inode, size and modification time, or all of its bytes, are the same.
    Thread-safe: entries are replaced as a whole, and if two threads read the same file at the same
    time, it is merely read twice.

    Args:
        disk: File system.
        memory: Cache for the parsed files.
    """

    def __init__(self, disk: Disk, memory: LruCache) -> None:
        self._disk = disk
        self._memory = memory

    def load(
        self, path: Path | str, parse: Callable[[bytes], T], times: int = TIMES_ITS_BYTES
    ) -> T | None:
        """Return the parsed file, or None if it does not exist.

        If ``parse`` raises an error, it is passed on and nothing is cached. ``times`` is the
        memory that the value takes, as a multiple of the file size.
        """
        folder, _, name = os.fspath(path).rpartition(os.sep)
        return self.load_all(folder, (name,), lambda _, content: parse(content), times)[0]

    def load_all(
        self,
        folder: str,
        names: Sequence[str],
        parse: Callable[[str, bytes], T],
        times: int = TIMES_ITS_BYTES,
    ) -> list[T | None]:
        """Return the parsed values of several files in one folder.

        ``parse`` is given the name and the content of a file.
        """
        start, values = folder + os.sep, dict[str, T | None]()
        old: dict[str, _Parsed | None] = {}
        for name in names:
            path = start + name
            entry: _Parsed | None = self._memory.get(("document", path))
            if entry is not None and entry.state and entry.state == self._disk.stat(path):
                values[name] = entry.value
            else:
                old[name] = entry
        if old:
            # Taken before a file is opened, so that a concurrent change looks younger.
            now_ns = self._disk.now_ns()
            contents = self._disk.read_all(folder, old)
            for (name, entry), read in zip(old.items(), contents, strict=True):
                key = "document", start + name
                if read is None:
                    self._memory.drop(key)
                    values[name] = None
                    continue
                content, state = read
                # The same bytes have the same meaning, whoever wrote them.
                is_known = entry is not None and entry.content == content
                value = entry.value if entry is not None and is_known else parse(name, content)
                values[name] = value
                is_settled = now_ns - state.mtime_ns >= _YOUNG_NS
                if value is None or not (is_settled or is_known):
                    self._memory.drop(key)
                    continue
                fresh = _Parsed(state if is_settled else None, content if is_known else None, value)
                self._memory.put(key, fresh, EACH_BYTES + times * len(content))
        return [values[name] for name in names]

    def wrote(self, path: Path, content: bytes, value: Any, times: int = TIMES_ITS_BYTES) -> None:
        """Cache the value of a file that was just written, as if ``content`` had been parsed."""
        entry = _Parsed(None, content, value)
        size = EACH_BYTES + times * len(content)
        self._memory.put(("document", os.fspath(path)), entry, size)

    def list(self, folder: Path | str) -> tuple[str, ...]:
        """Return the names in ``folder``, cached while the folder is unchanged."""
        key = "names", os.fspath(folder)
        state = self.settled_state(folder)
        entry: _Parsed | None = self._memory.get(key)
        if entry is not None and entry.state == state:
            cached: tuple[str, ...] = entry.value
            return cached
        names = tuple(self._disk.list(folder))
        if state is not None:
            size = EACH_BYTES + _NAME_BYTES * len(names)
            self._memory.put(key, _Parsed(state, None, names), size)
        return names

    def settled_state(self, path: Path | str) -> FileState | None:
        """Return the state of ``path`` if any later change is certain to alter the state, else None.

        The state of a missing file is ``NO_FILE``.
        """
        state = self._disk.stat(path)
        if state is None:
            return NO_FILE
        return state if self._disk.now_ns() - state.mtime_ns >= _YOUNG_NS else None

    def forget(self, path: Path) -> None:
        """Drop a file from the cache, so that it is read again next time."""
        self._memory.drop(("document", os.fspath(path)))
