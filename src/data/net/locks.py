"""Allows one fetch per key at a time among the threads of a process, within the time of the call."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from ..clock import Clock
from ..forks import renew_after_fork
from .deadline import Deadline, MustWait, current_deadline

# Once in so many seconds a thread that waits looks whether the holder has taken a page.
POLL_S = 0.5


class SeriesLock:
    """Which call of this process fetches a series."""

    def __init__(self) -> None:
        self.freed = threading.Condition()
        self.token: object | None = None
        self.thread = 0
        self.deadline: Deadline | None = None

    def take(self, token: object, deadline: Deadline) -> None:
        """Take the lock, or return without it when the call's time is over.

        A page that the holder takes is progress of the call that waits for it.
        """
        with self.freed:
            while self.token is not None:
                holder, pages = self.deadline, self._pages
                if deadline.is_over:
                    deadline.waited_for = "another thread is fetching the series"
                    return
                self.freed.wait(min(POLL_S, deadline.left_s()))
                if self.deadline is holder is not deadline and self._pages > pages:
                    deadline.progress()
            self.token, self.thread, self.deadline = token, threading.get_ident(), deadline

    def leave(self, token: object) -> None:
        """Free the lock, where ``token`` has it."""
        with self.freed:
            if self.token is token:
                self.token, self.thread, self.deadline = None, 0, None
                self.freed.notify()

    @property
    def _pages(self) -> int:
        return self.deadline.pages if self.deadline is not None else 0


class SeriesLocks:
    """One call at a time for each series, among the threads of a process. Thread- and fork-safe.

    Attributes:
        locks: the lock of each series that was asked for; none goes, for a call may wait for it.
    """

    def __init__(self) -> None:
        # Guards the table: two threads must not make two locks for one series.
        self._guard = threading.Lock()
        self.locks: dict[Hashable, SeriesLock] = {}
        renew_after_fork(self)

    @contextmanager
    def hold(self, key: Hashable, clock: Clock) -> Iterator[None]:
        """Hold the lock of ``key`` while the block runs, after waiting as long as the call may.

        When its time is over the block runs without the lock: nothing is asked any more then, and
        what is stored can be read. The thread that holds it already goes on at once.

        Raises:
            MustWait: the call may not wait. What needs the lock is what asks vendors.
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
            lock.take(token, deadline)
            yield
        finally:
            try:
                lock.leave(token)
            except KeyboardInterrupt:
                lock.leave(token)
                raise

    def after_fork(self) -> None:
        """Forget the parent's locks: threads that the child does not have may hold them."""
        self._guard = threading.Lock()
        self.locks = {}
