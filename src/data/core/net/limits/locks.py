"""Locks that let only one thread of a process fetch a series at a time."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from ...clock import Clock
from ...runtime.compute_slots import waiting
from ...runtime.forks import renew_after_fork
from ..calls.deadline import Deadline, MustWait, current_deadline

# Seconds between a waiting thread's checks whether the holder has received a page.
POLL_S = 0.5


class SeriesLock:
    """The lock for one series, held by the call in this process that fetches it."""

    def __init__(self) -> None:
        self.freed = threading.Condition()
        self.token: object | None = None
        self.thread = 0
        self.deadline: Deadline | None = None

    def acquire(self, token: object, deadline: Deadline) -> None:
        """Take the lock; if the call's time runs out first, return without it.

        A page that the holder receives counts as progress of the waiting call.
        """
        with self.freed:
            if self.token is None:
                self._grant(token, deadline)
                return
        with waiting(), self.freed:
            while self.token is not None:
                holder, pages = self.deadline, self._pages
                if deadline.is_over:
                    deadline.waited_for = "another thread is fetching the series"
                    return
                self.freed.wait(min(POLL_S, deadline.left_s()))
                if self.deadline is holder is not deadline and self._pages > pages:
                    deadline.progress()
            self._grant(token, deadline)

    def _grant(self, token: object, deadline: Deadline) -> None:
        self.token, self.thread, self.deadline = token, threading.get_ident(), deadline

    def leave(self, token: object) -> None:
        """Release the lock if it is held by the call that ``token`` identifies."""
        with self.freed:
            if self.token is token:
                self.token, self.thread, self.deadline = None, 0, None
                self.freed.notify()

    @property
    def _pages(self) -> int:
        return self.deadline.pages if self.deadline is not None else 0


class SeriesLocks:
    """One lock per series, shared by the threads of a process. Thread-safe and fork-safe.

    Attributes:
        locks: Maps each requested series to its lock; none is ever removed, because a call may be
            waiting for it.
    """

    def __init__(self) -> None:
        # Guards the table: two threads must not create two locks for one series.
        self._guard = threading.Lock()
        self.locks: dict[Hashable, SeriesLock] = {}
        renew_after_fork(self)

    @contextmanager
    def hold(self, key: Hashable, clock: Clock) -> Iterator[None]:
        """Hold the lock for ``key`` while the block runs, after waiting for it as long as the call may.

        If the call's time runs out first, the block runs without the lock: it can no longer query a
        vendor, but it can still read stored data. A thread that already holds the lock continues
        immediately.

        Raises:
            MustWait: The call is not allowed to wait, and therefore must not query a vendor either.
        """
        deadline = current_deadline(clock)
        if not deadline.may_wait:
            raise MustWait
        with self._guard:
            lock = self.locks.setdefault(key, SeriesLock())
        if lock.thread == threading.get_ident():
            yield
            return
        token = object()
        try:
            lock.acquire(token, deadline)
            yield
        finally:
            try:
                lock.leave(token)
            except KeyboardInterrupt:
                lock.leave(token)
                raise

    def after_fork(self) -> None:
        """Discard the parent's locks in a forked child, which has no thread that could release them."""
        self._guard = threading.Lock()
        self.locks = {}
