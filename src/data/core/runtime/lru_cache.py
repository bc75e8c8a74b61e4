"""An in-memory cache with a limit in bytes, which drops the least recently used values first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from .forks import renew_after_fork
from .resources import all_memory

# The default size is this fraction of the machine's memory, but not more than the first number.
_MOST_BYTES, _SHARE = 256 << 20, 16


class LruCache:
    """A cache of values by key, limited by their total size in bytes. Thread-safe.

    Several parts of a program can share a cache, if each key is a tuple that begins with the name
    of the part that owns it.

    Args:
        most_bytes: Limit for the total size of the values; by default, a fraction of this machine's
            memory.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        default = min(_MOST_BYTES, all_memory() // _SHARE)
        self.most_bytes = default if most_bytes is None else most_bytes
        self._sum = 0
        # Guards the order and the sum. A put does not wait for the lock: storing a value is
        # optional.
        self._lock = threading.Lock()
        renew_after_fork(self)
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Total size of all values in bytes, as declared by the callers."""
        return self._sum

    def get(self, key: Hashable) -> Any:
        """Return the value for a key, or None."""
        value = self._entries.get(key)
        if value is None:
            return None
        try:
            self._entries.move_to_end(key)
        except KeyError:
            pass  # another thread dropped it just now
        return value

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Store a value of ``size`` bytes, replacing the key's older value and dropping others for room.

        The value is not stored if it is larger than the whole cache, or if another thread is
        changing the cache at that moment.
        """
        if self._lock.locked():
            return
        with self._lock:  # not acquire(): an interrupt after it would leave the lock held
            try:
                self._remove(key)
                if size > self.most_bytes:
                    return
                while self._entries and self._sum + size > self.most_bytes:
                    oldest, _ = self._entries.popitem(last=False)
                    self._sum -= self._sizes.pop(oldest)
                self._sizes[key], self._entries[key] = size, value
                self._sum += size
            except KeyboardInterrupt:
                self._add_up()
                raise

    def drop(self, key: Hashable) -> None:
        """Remove a value."""
        with self._lock:
            try:
                self._remove(key)
            except KeyboardInterrupt:
                self._add_up()
                raise

    def drop_where(self, is_old: Callable[[Any, Any], bool]) -> None:
        """Remove all values for which ``is_old(key, value)`` is true."""
        for key, value in list(self._entries.items()):
            if is_old(key, value):
                self.drop(key)

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held at the fork."""
        self._lock = threading.Lock()

    def _remove(self, key: Hashable) -> None:
        self._entries.pop(key, None)
        self._sum -= self._sizes.pop(key, 0)

    def _add_up(self) -> None:
        self._sizes = {key: self._sizes.get(key, 0) for key in self._entries}
        self._sum = sum(self._sizes.values())
