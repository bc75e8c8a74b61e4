"""Documents kept in memory for as long as their files are the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...disk.files import Disk, FileState
from .frequency_cache import FrequencyCache

T = TypeVar("T")

# File times move in steps of up to 10 ms: two changes within one step look like none.
_YOUNG_NS = 20_000_000
_MOST_ENTRIES = 16_384
# What was written is kept beside what it says: so much of both, about so many times the first.
_MOST_WRITTEN, _TIMES = 32 << 20, 6


class _Read(NamedTuple):
    state: FileState
    value: Any


class _Written(NamedTuple):
    content: bytes
    value: Any


class DocumentCache:
    """Parsed files by path, keyed by inode, size and time of change, or by all their bytes.

    Thread-safe: entries are replaced whole, and two threads that read the same file at once
    merely read it twice.
    """

    def __init__(self, disk: Disk, most: int = _MOST_ENTRIES) -> None:
        self._disk = disk
        self._held: FrequencyCache[str, _Read] = FrequencyCache(most)
        self._written: FrequencyCache[str, _Written] = FrequencyCache(_MOST_WRITTEN)

    def load(self, path: Path, parse: Callable[[bytes], T]) -> T | None:
        """Return what ``parse`` makes of the file, or None where it does not exist.

        Whatever ``parse`` raises is raised, and nothing is kept then.
        """
        held = self._held.find(os.fspath(path))
        if held is not None and held.state == self._disk.stat(path):
            value: T = held.value
            return value
        return self._read(path, parse)

    def known(self, path: str) -> Any:
        """Return what a file says that has not changed; None: that is not known without parsing."""
        held = self._held.peek(path)
        if held is not None and held.state == self._disk.stat(path):
            return held.value
        return self._read(path, _nothing) if self._written.peek(path) is not None else None

    def _read(self, path: Path | str, parse: Callable[[bytes], T]) -> T | None:
        # Taken before the file is opened: what changes behind our back must look younger.
        key, now_ns = os.fspath(path), self._disk.now_ns()
        found = self._disk.read_with_state(path)
        if found is None:
            self._held.drop(key)
            return None
        content, state = found
        written = self._written.find(key) if len(self._written) else None
        # Whenever and by whomever: the same bytes say the same.
        is_known = written is not None and written.content == content
        value = written.value if written is not None and is_known else parse(content)
        if now_ns - state.mtime_ns < _YOUNG_NS or value is None:
            self._held.drop(key)
        else:
            self._held.hold(key, _Read(state, value), 1)
        return value

    def wrote(self, path: Path, content: bytes, value: Any) -> None:
        """Know what a file says that has just been written: what parsing these bytes would give."""
        key = os.fspath(path)
        self._held.drop(key)
        self._written.hold(key, _Written(content, value), _TIMES * len(content))

    def list(self, folder: Path) -> tuple[str, ...]:
        """Return the names in ``folder``, for as long as the folder has not changed."""
        state = self.settled_state(folder)
        held = self._held.find(os.fspath(folder))
        if held is not None and held.state == state:
            known: tuple[str, ...] = held.value
            return known
        names = tuple(self._disk.list(folder))
        if state is not None:
            self._held.hold(os.fspath(folder), _Read(state, names), 1)
        return names

    def settled_state(self, path: Path | str) -> FileState | None:
        """Return the state of ``path`` if a later change is sure to show in it, else None."""
        state = self._disk.stat(path)
        if state is None or self._disk.now_ns() - state.mtime_ns < _YOUNG_NS:
            return None
        return state

    def forget(self, path: Path) -> None:
        """Read the file anew next time."""
        self._held.drop(os.fspath(path))


def _nothing(_: bytes) -> None:
    """Make nothing of it."""
