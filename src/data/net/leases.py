"""Leases across threads and processes: one caller fetches while the others wait, then look again."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from ..errors import ProviderTimeoutError
from ..model.coverage import VendorDay
from .deadline import QUIET_S, Deadline, current_deadline
from .state import State
from .state_tables import LeaseRow, StateTables

_FIRST_POLL_S = 0.02
_LONGEST_POLL_S = 0.5
_GROWTH = 1.5
# The leases of blocks that run in this process. An interrupt may come before the state is told that
# a block is over: what stands there in the name of this process and not here is over.
_running: set[str] = set()


@dataclass(frozen=True)
class Lease:
    """How :meth:`Leases.hold` came out.

    Attributes:
        name: what it is about.
        is_held: whether it is ours; False when the call's time was over before the holder's was.
        has_waited: whether another call had it first: what was missing may be there now.
        holder: our name in the state.
        vendor_days: the sessions that vendors lack for most of their symbols, as of then.
    """

    name: str
    is_held: bool
    has_waited: bool
    holder: str
    vendor_days: Sequence[VendorDay] = ()


class Leases:
    """Leases in the state of all processes. Thread-safe and fork-aware.

    A lease is advice, not a lock: a caller that was overtaken because it took longer than it said
    goes on all the same, and at worst something is fetched twice. One that waits does so within the
    time of its call, and a page that the holder takes is progress of that call.

    Args:
        state: where they are stored; waiting is done on its clock.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    @contextmanager
    def hold(
        self, name: str, ttl_s: float = QUIET_S, deadline: Deadline | None = None
    ) -> Iterator[Lease]:
        """Hold ``name`` while the block runs, after waiting for its holder.

        A holder whose process is gone is overtaken at once where that can be seen, else when its
        time is over. The same thread must not hold one name twice.

        Args:
            name: of what is about to be fetched.
            ttl_s: seconds after which others may overtake us, unless we :meth:`renew`; by default
                what a call goes on without a page.
            deadline: of the wait, the call's by default; when it is over the block runs without
                the lease.
        """
        deadline = deadline or current_deadline(self._state.clock)
        holder, pid = os.urandom(8).hex(), os.getpid()
        try:
            _running.add(holder)
            yield self._acquire(name, holder, ttl_s, deadline)
        finally:
            try:
                _running.discard(holder)
                self._give_back(name, holder, pid)
            except KeyboardInterrupt:
                self._give_back(name, holder, pid)
                raise

    def _give_back(self, name: str, holder: str, pid: int) -> None:
        """End the lease, whether it was taken or only about to be."""
        if os.getpid() == pid:  # a forked child has not got it
            end = partial(self._state.run, lambda tables: tables.give_back(name, holder))
            self._state.finish(end)

    def renew(self, lease: Lease, ttl_s: float = QUIET_S, pages: int = 0) -> bool:
        """Prolong ``lease`` to ``ttl_s`` seconds from now; False when another call has overtaken us.

        Args:
            lease: ours.
            ttl_s: see :meth:`hold`.
            pages: how many pages we have taken: callers that wait see whether there are more.
        """
        try:
            return self._state.run(partial(self._renew, lease=lease, ttl_s=ttl_s, pages=pages))
        except ProviderTimeoutError:  # it ends with the call
            return False

    def _acquire(self, name: str, holder: str, ttl_s: float, deadline: Deadline) -> Lease:
        clock, poll = self._state.clock, _FIRST_POLL_S
        take = partial(self._take, name=name, holder=holder, ttl_s=ttl_s)
        seen: tuple[str, int] | None = None
        while True:
            try:
                other = self._state.run(take)
            except ProviderTimeoutError as error:
                deadline.waited_for = str(error.args[0])
                return Lease(name, False, True, holder)
            if isinstance(other, list):
                return Lease(name, True, seen is not None, holder, other)
            # A new holder has made no progress yet that we have waited for.
            if seen is not None and seen[0] == other[0] and seen[1] < other[1]:
                deadline.progress()
            seen = other
            if (left := deadline.left_s()) <= 0:
                deadline.waited_for = "another process is fetching the series"
                return Lease(name, False, True, holder)
            clock.sleep(min(left, poll * (1 + clock.jitter())))
            poll = min(_LONGEST_POLL_S, poll * _GROWTH)

    def _take(
        self, tables: StateTables, name: str, holder: str, ttl_s: float
    ) -> tuple[str, int] | list[VendorDay]:
        """Take the lease and return what vendors lack, or return its holder and the pages of that one."""
        row = tables.lease(name)
        if row is not None and not _is_dead(row):
            return row.holder, tables.pages(name, row.holder)
        tables.grant(name, LeaseRow(holder, process_space(), os.getpid(), tables.now_s + ttl_s))
        return tables.vendor_days()

    def _renew(self, tables: StateTables, lease: Lease, ttl_s: float, pages: int) -> bool:
        row = tables.lease(lease.name)
        if row is not None and row.holder != lease.holder:
            return False
        tables.grant(
            lease.name, LeaseRow(lease.holder, process_space(), os.getpid(), tables.now_s + ttl_s)
        )
        tables.keep_pages(lease.name, lease.holder, pages)
        return True


def _is_dead(lease: LeaseRow) -> bool:
    """Tell whether the holder is known to be gone: its process, or its block in this one."""
    if lease.machine != process_space():
        return False
    return lease.holder not in _running if lease.pid == os.getpid() else is_gone(lease.pid)


def process_space() -> str:
    """Name the place in which process numbers mean the same: the host, or a container in it."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def is_gone(pid: int) -> bool:
    """Tell whether a process here is known to be dead; a number in use again looks alive."""
    if sys.platform == "win32":  # there, asking would kill it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and another user's
        return False
    return False
