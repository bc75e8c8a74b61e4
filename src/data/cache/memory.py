"""Documents kept in memory for as long as their files are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..disk.files import Disk, FileState
from .holding import Held

T = TypeVar("T")

# File times move in steps of up to 10 ms: two changes within one step look like none.
_YOUNG_NS = 20_000_000
_MOST_ENTRIES = 16_384


class _Read(NamedTuple):
    state: FileState
    value: Any


class Memory:
    """Parsed files by path, keyed by inode, size and time of change.

    Thread-safe: entries are replaced whole, and two threads that read the same file at once
    merely read it twice.
    """

    def __init__(self, disk: Disk, most: int = _MOST_ENTRIES) -> None:
        self._disk = disk
        self._held: Held[Path, _Read] = Held(most)

    def load(self, path: Path, parse: Callable[[bytes], T]) -> T | None:
        """Return what ``parse`` makes of the file, or None where it does not exist.

        Whatever ``parse`` raises is raised, and nothing is kept then.
        """
        state = self._disk.stat(path)
        if state is None:
            self._held.drop(path)
            return None
        held = self._held.find(path)
        if held is not None and held.state == state:
            value: T = held.value
            return value
        return self._read(path, parse)

    def _read(self, path: Path, parse: Callable[[bytes], T]) -> T | None:
        # Taken before the file is opened: what changes behind our back must look younger.
        now_ns = self._disk.now_ns()
        found = self._disk.read_with_state(path)
        if found is None:
            return None
        content, state = found
        value = parse(content)
        if now_ns - state.mtime_ns < _YOUNG_NS:
            self._held.drop(path)
        else:
            self._held.hold(path, _Read(state, value), 1)
        return value

    def list(self, folder: Path) -> tuple[str, ...]:
        """Return the names in ``folder``, for as long as the folder has not changed."""
        state = self.settled_state(folder)
        held = self._held.find(folder)
        if held is not None and held.state == state:
            known: tuple[str, ...] = held.value
            return known
        names = tuple(self._disk.list(folder))
        if state is not None:
            self._held.hold(folder, _Read(state, names), 1)
        return names

    def settled_state(self, path: Path | str) -> FileState | None:
        """Return the state of ``path`` if a later change is sure to show in it, else None."""
        state = self._disk.stat(path)
        if state is None or self._disk.now_ns() - state.mtime_ns < _YOUNG_NS:
            return None
        return state

    def forget(self, path: Path) -> None:
        """Read the file anew next time."""
        self._held.drop(path)
