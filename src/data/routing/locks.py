"""One lock a series: threads that miss the same bars wait, plan again, and find them stored."""

from __future__ import annotations

import threading

from ..model.series import SeriesKey
from ..net.forks import renew_after_fork


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
