"""One fetch at a time for a series: who misses the same bars waits, plans again, and finds them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ..model.series import SeriesKey
from ..net.forks import renew_after_fork

if TYPE_CHECKING:
    from ..net.leases import Leases

FindLeases = Callable[[], "Leases | None"]


class SeriesLocks:
    """Hands out one lock for each series. Thread-safe and fork-aware."""

    def __init__(self) -> None:
        # Guards the table: two threads must not make two locks for one series.
        self._guard = threading.Lock()
        self._locks: dict[SeriesKey, threading.RLock] = {}
        renew_after_fork(self)

    def of(self, key: SeriesKey) -> threading.RLock:
        """Return the lock of a series."""
        with self._guard:
            return self._locks.setdefault(key, threading.RLock())

    def after_fork(self) -> None:
        """Forget the parent's locks: threads that the child does not have may hold them."""
        self._guard = threading.Lock()
        self._locks = {}


class Turns:
    """Lets the processes that share a cache fetch a series one after another. Thread-safe.

    It is advice: who has waited for too long fetches all the same, and at worst something is
    asked twice.

    Args:
        root: the cache folder.
        leases: gives where the processes find each other, when it is needed; None lets everybody
            go on at once.
    """

    def __init__(self, root: Path, leases: FindLeases | None) -> None:
        self._root = root.absolute()
        self._leases = leases or (lambda: None)

    @contextmanager
    def take(self, key: SeriesKey) -> Iterator[tuple[bool, Callable[[], object]]]:
        """Wait for our turn; tell whether we waited, and what says that we are still at it."""
        leases = self._leases()
        if leases is None:
            yield False, lambda: None
            return
        name = sha256(f"{self._root}|{key.symbol}|{key.folder}".encode()).hexdigest()[:32]
        with leases.hold(f"bars {name}") as lease:
            yield lease.has_waited, lambda: lease.is_held and leases.renew(lease)
