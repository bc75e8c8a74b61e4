"""Keeps the documents of a store in memory while their files are unchanged."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...disk.files import Disk, FileState
from ...lru_cache import LruCache

__all__ = ["DocumentCache", "LruCache"]

T = TypeVar("T")

# File times move in steps of up to 10 ms: two changes within one step look like none.
_YOUNG_NS = 20_000_000
# What a document takes in memory: so many bytes each, and so many times its own.
EACH_BYTES, TIMES_ITS_BYTES = 1 << 10, 6
_NAME_BYTES = 80


class _Parsed(NamedTuple):
    """A parsed file: as it is known by its state, or by all its bytes, or both."""

    state: FileState | None
    content: bytes | None
    value: Any


class DocumentCache:
    """Parsed files by path, keyed by inode, size and time of change, or by all their bytes.

    Thread-safe: entries are replaced whole, and two threads that read the same file at once
    merely read it twice.

    Args:
        disk: the file system.
        memory: where they are kept.
        name: tells apart what different users make of the same files.
    """

    def __init__(self, disk: Disk, memory: LruCache, name: str = "document") -> None:
        self._disk = disk
        self._memory = memory
        self._name = name

    def named(self, name: str) -> DocumentCache:
        """Return one of the same files and memory for another user."""
        return DocumentCache(self._disk, self._memory, name)

    def load(
        self, path: Path | str, parse: Callable[[bytes], T], times: int = TIMES_ITS_BYTES
    ) -> T | None:
        """Return what ``parse`` makes of the file, or None where it does not exist.

        Whatever ``parse`` raises is raised, and nothing is kept then. ``times``: how many times
        the bytes of the file its value takes.
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
        """Return the same of several files in one folder; ``parse`` also takes the name."""
        start, values = folder + os.sep, dict[str, T | None]()
        old: dict[str, _Parsed | None] = {}
        for name in names:
            path = start + name
            entry: _Parsed | None = self._memory.get((self._name, path))
            if entry is not None and entry.state and entry.state == self._disk.stat(path):
                values[name] = entry.value
            else:
                old[name] = entry
        if old:
            # Taken before a file is opened: what changes behind our back must look younger.
            now_ns = self._disk.now_ns()
            contents = self._disk.read_all(folder, old)
            for (name, entry), read in zip(old.items(), contents, strict=True):
                key = self._name, start + name
                if read is None:
                    self._memory.drop(key)
                    values[name] = None
                    continue
                content, state = read
                # Whenever and by whomever: the same bytes say the same.
                is_known = entry is not None and entry.content == content
                value = entry.value if entry is not None and is_known else parse(name, content)
                values[name] = value
                is_settled = now_ns - state.mtime_ns >= _YOUNG_NS
                if value is None or not (is_settled or is_known):
                    self._memory.drop(key)
                    continue
                kept = _Parsed(state if is_settled else None, content if is_known else None, value)
                self._memory.put(key, kept, EACH_BYTES + times * len(content))
        return [values[name] for name in names]

    def wrote(self, path: Path, content: bytes, value: Any) -> None:
        """Keep what a file says that has just been written: what parsing these bytes would give."""
        entry = _Parsed(None, content, value)
        self._memory.put(
            (self._name, os.fspath(path)), entry, EACH_BYTES + TIMES_ITS_BYTES * len(content)
        )

    def list(self, folder: Path | str) -> tuple[str, ...]:
        """Return the names in ``folder``, for as long as the folder has not changed."""
        key = "names", os.fspath(folder)
        state = self.settled_state(folder)
        entry: _Parsed | None = self._memory.get(key)
        if entry is not None and entry.state == state:
            kept: tuple[str, ...] = entry.value
            return kept
        names = tuple(self._disk.list(folder))
        if state is not None:
            size = EACH_BYTES + _NAME_BYTES * len(names)
            self._memory.put(key, _Parsed(state, None, names), size)
        return names

    def settled_state(self, path: Path | str) -> FileState | None:
        """Return the state of ``path`` if a later change is sure to show in it, else None."""
        state = self._disk.stat(path)
        if state is None or self._disk.now_ns() - state.mtime_ns < _YOUNG_NS:
            return None
        return state

    def forget(self, path: Path) -> None:
        """Read the file anew next time."""
        self._memory.drop((self._name, os.fspath(path)))
