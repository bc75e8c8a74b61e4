"""What is held in memory to be had again: so many bytes of it, of what is asked for most often."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Uses are counted up to here, so that what was asked for all day gives way within a while.
_MOST_USES = 7
# Counts are halved after so many uses a thing counted, and where so many are counted for each one held.
_AGE, _COUNTED = 4, 16
_LEAST = 512
# By so much a newcomer must be ahead. Of things that go round, one is always ahead by one.
_AHEAD = 2


class _Held(NamedTuple, Generic[V]):
    value: V
    size: int


class FrequencyCache(Generic[K, V]):
    """Things by key, up to a sum of sizes. Thread-safe.

    Whoever comes when there is no room must have been asked for more often lately than the one
    that would have to go. So things that are asked for one after the other, round and round, and
    are too many to be held, do not push each other out before their turn: as many as there is
    room for stay.

    Args:
        most: what the sizes of all of them may come to, in whatever unit they are given.
        on_gone: told of each thing that is held no longer; it must not ask this for anything.
    """

    def __init__(self, most: int, on_gone: Callable[[K, V], None] | None = None) -> None:
        self._most = most
        self._on_gone = on_gone
        self._sum = 0
        # Guards the order and the sum. Nobody waits for it: a thing may as well not be held, and
        # what a forked child inherits taken is made anew.
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._held: OrderedDict[K, _Held[V]] = OrderedDict()
        # Of what is held and of what is not. A use that two threads count as one does no harm.
        self._uses: dict[K, int] = {}
        self._since = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """What the sizes of all that is held come to."""
        return self._sum

    def find(self, key: K) -> V | None:
        """Return what is held, or None; either way it was asked for once more."""
        self._since += 1
        uses = self._uses.get(key, 0)
        if uses < _MOST_USES:
            self._uses[key] = uses + 1
        held = self._held.get(key)
        return held.value if held is not None else None

    def peek(self, key: K) -> V | None:
        """Return what is held, or None, without counting it as a use."""
        held = self._held.get(key)
        return held.value if held is not None else None

    def uses(self, key: K) -> int:
        """Return how often a thing was asked for lately, held or not."""
        return self._uses.get(key, 0)

    def hold(self, key: K, value: V, size: int) -> bool:
        """Hold a thing if there is room, or can be made; tell whether it is held now.

        What was held under its key is not held any more.
        """
        lock = self._own_lock()
        if lock.locked():
            return False
        with lock:  # taken by hand it could stay so where an interrupt comes in between
            self._let_go(key)
            self._age()
            if not self._has_room(size, self._uses.get(key, 0)):
                return False
            self._held[key] = _Held(value, size)
            self._sum += size
            return True

    def drop(self, key: K) -> None:
        """Hold a thing no longer."""
        with self._own_lock():
            self._let_go(key)

    def clear(self) -> None:
        """Hold nothing."""
        with self._own_lock():
            for key in list(self._held):
                self._let_go(key)
            self._uses.clear()

    def _has_room(self, size: int, uses: int) -> bool:
        """Make room of what was asked for less often than ``uses``; tell whether there is enough."""
        while size <= self._most and self._sum + size > self._most:
            oldest = next(iter(self._held))
            if self._uses.get(oldest, 0) + _AHEAD > uses:
                self._held.move_to_end(oldest)  # the next one to come is compared with another
                return False
            self._let_go(oldest)
        return size <= self._most

    def _age(self) -> None:
        """Forget half of the uses where that is due."""
        counted = len(self._uses)
        most = max(_LEAST, _COUNTED * len(self._held))
        if counted <= most and self._since <= max(_LEAST, _AGE * counted):
            return
        self._since = 0
        self._uses = {key: uses // 2 for key, uses in list(self._uses.items()) if uses > 1}

    def _let_go(self, key: K) -> None:
        try:
            gone = self._held.pop(key, None)
            if gone is None:
                return
            self._sum -= gone.size
        except KeyboardInterrupt:
            self._sum = sum(held.size for held in self._held.values())
            raise
        if self._on_gone is not None:
            self._on_gone(key, gone.value)

    def _own_lock(self) -> threading.Lock:
        if os.getpid() != self._pid:  # a thread of the parent may have held it at the fork
            self._pid, self._lock = os.getpid(), threading.Lock()
        return self._lock
