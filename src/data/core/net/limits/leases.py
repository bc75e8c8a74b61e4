"""Leases across threads and processes: one caller fetches a series while the others wait."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypeVar

from ....errors import ProviderTimeoutError
from ...clock import Clock
from ...model.identity.series import SeriesKey
from ...runtime.compute_slots import waiting
from ..calls.deadline import QUIET_S, Deadline, current_deadline
from .state import State
from .state_tables import LeaseRow, StateTables

T = TypeVar("T")
_FIRST_POLL_S = 0.02
_LONGEST_POLL_S = 0.5
_POLL_GROWTH = 1.5
_LONGEST_PATIENCE_S = 270.0
# The leases of blocks running in this process. If an interrupt prevented the end of a block from
# being recorded, the state contains a lease for this process that is missing here; such a lease is
# over.
_running: set[str] = set()


@dataclass(frozen=True)
class Lease:
    """The result of :meth:`Leases.hold`.

    Attributes:
        name: Name of the lease.
        is_held: Whether this call holds the lease; False if the call's time ran out before the
            lease was free.
        has_waited: Whether another call held the lease before, so that missing data may have been
            stored in the meantime.
        holder: Random name that identifies this call in the state.
    """

    name: str
    is_held: bool
    has_waited: bool
    holder: str


class Holder(NamedTuple):
    """The name of the call that holds a lease, and the number of pages that the call has received."""

    name: str | None
    pages: int


def first_free(
    acquire: Callable[[float], T | Holder], clock: Clock, deadline: Deadline, other: str
) -> tuple[T | None, bool]:
    """Call ``acquire`` at growing intervals until it takes a lease, and return its result.

    Each page that the holder receives counts as progress of the waiting call.

    Args:
        acquire: Function that takes the lease if it is free, and otherwise returns its holder. Its
            argument is the number of seconds for which an expired lease is not free yet.
        clock: Clock for the waits.
        deadline: Deadline of the waiting call.
        other: Noun for the holder (such as ``host``), for the error if the call's time runs out.

    Returns:
        The result of ``acquire``, or None if the deadline passed first; and whether the lease had
        another holder before.
    """
    poll, previous = _FIRST_POLL_S, None
    while True:
        # The holder may be waiting for a vendor's limit, for which a job has the time, too.
        patience_s = 0.0 if deadline.is_fixed else deadline.left_s() - QUIET_S
        lease = acquire(max(0.0, min(patience_s, _LONGEST_PATIENCE_S)))
        if not isinstance(lease, Holder):
            return lease, previous is not None
        # A new holder has not made any progress yet during the wait.
        if previous is not None and previous.name == lease.name and previous.pages < lease.pages:
            deadline.progress()
        previous = lease
        if (left_s := deadline.left_s()) <= 0:
            deadline.waited_for = f"another {other} is fetching the series"
            return None, True
        with waiting():
            clock.sleep(min(left_s, poll * (1 + clock.jitter())))
        poll = min(_LONGEST_POLL_S, poll * _POLL_GROWTH)


class Leases:
    """Takes and renews leases in the state that all processes share. Thread-safe and fork-aware.

    Unlike a lock, a lease is advisory. If a caller takes longer than announced, another caller may
    take over its lease; both then continue, and at worst some data is fetched twice. Waiting ends
    with the time limit of the waiting call, for which each page that the holder receives counts as
    progress.

    Args:
        state: State that stores the leases; waits use its clock.
    """

    def __init__(self, state: State) -> None:
        self.state = state

    @contextmanager
    def hold(
        self,
        name: str,
        ttl_s: float = QUIET_S,
        deadline: Deadline | None = None,
        about: SeriesKey | None = None,
    ) -> Iterator[Lease]:
        """Hold ``name`` while the block runs, after waiting for its current holder.

        If the holder's process is known to be gone, its lease is taken over immediately, otherwise
        when it has expired. A job waits until the holder has been silent for as long as the job has
        time left, but at most five minutes. A thread must not hold the same name twice.

        Args:
            name: Name of the data about to be fetched.
            ttl_s: Seconds after which others may take over the lease unless it is renewed with
                :meth:`renew`; by default the time for which a call continues without a page.
            deadline: Deadline of the wait; by default, the current call's deadline. If it passes,
                the block runs without the lease.
            about: Series about to be fetched. A server that grants the lease can report with it
                what the server already stores for the series.
        """
        deadline = deadline or current_deadline(self.state.clock)
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
        """Release the lease, even if an interrupt left it unclear whether the lease had been taken."""
        if os.getpid() == pid:  # a forked child does not hold it
            end = partial(self.state.run, lambda tables: tables.give_back(name, holder))
            self.state.finish(end)

    def renew(self, lease: Lease, ttl_s: float = QUIET_S, pages: int = 0) -> bool:
        """Extend ``lease`` to ``ttl_s`` seconds from now; return False if another call has taken it over.

        Args:
            lease: Lease to extend.
            ttl_s: See :meth:`hold`.
            pages: Number of pages received so far, so that waiting callers notice progress.
        """
        try:
            return self.state.run(partial(self._renew, lease=lease, ttl_s=ttl_s, pages=pages))
        except ProviderTimeoutError:  # the wait ends with the call
            return False

    def _acquire(self, name: str, holder: str, ttl_s: float, deadline: Deadline) -> Lease:
        def take(patience_s: float) -> Holder | Literal[True]:
            """Take the lease if it is free, or return its holder."""
            return self.state.run(partial(self._take_lease, name, holder, ttl_s, patience_s))

        try:
            taken, has_waited = first_free(take, self.state.clock, deadline, "process")
        except ProviderTimeoutError as error:
            deadline.waited_for = str(error.args[0])
            return Lease(name, False, True, holder)
        return Lease(name, taken is not None, has_waited, holder)

    def _take_lease(
        self, name: str, holder: str, ttl_s: float, patience_s: float, tables: StateTables
    ) -> Holder | Literal[True]:
        """Take the lease if it is free and return True, or return its holder."""
        row = tables.lease(name, patience_s)
        if row is not None and not _is_dead(row):
            return Holder(row.holder, row.pages)
        tables.grant(name, LeaseRow(holder, process_space(), os.getpid(), tables.now_s + ttl_s))
        return True

    def _renew(self, tables: StateTables, lease: Lease, ttl_s: float, pages: int) -> bool:
        row = tables.lease(lease.name)
        if lease.holder not in _running or (row is not None and row.holder != lease.holder):
            return False
        row = LeaseRow(lease.holder, process_space(), os.getpid(), tables.now_s + ttl_s, pages)
        tables.grant(lease.name, row)
        return True


def _is_dead(lease: LeaseRow) -> bool:
    """Return whether the lease's holder is known to be gone because its process or block has ended."""
    if lease.machine != process_space():
        return False
    return lease.holder not in _running if lease.pid == os.getpid() else is_gone(lease.pid)


def process_space() -> str:
    """Return a name for this process's PID namespace, which belongs to the host or a container."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def is_gone(pid: int) -> bool:
    """Return whether a process on this machine is known to be dead. A reused process ID looks alive."""
    if sys.platform == "win32":  # os.kill would end the process there
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it exists and belongs to another user
        return False
    return False
