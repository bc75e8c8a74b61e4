"""Allows one fetch per series at a time: a second caller waits, then makes a new plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

from ..clock import Clock
from ..model.identity.series import SeriesKey
from ..net.calls.deadline import Deadline, current_deadline

if TYPE_CHECKING:
    from ..net.limits.leases import Lease, Leases

FindLeases = Callable[[], "Leases | None"]
# Interval at which waiting callers check for new pages; their time limit is much longer.
_REPORTED_EVERY_S = 1.0


class Turns:
    """Lets processes that share a cache fetch a series one at a time. Thread-safe.

    The leases are advisory: after one has expired or been taken over, the worst outcome is that
    something is requested twice.

    Args:
        scope: Name of the store.
        clock: Clock that measures the waits.
        leases: Function that returns the leases through which the processes coordinate; if it
            returns None, nobody waits.
    """

    def __init__(self, scope: str, clock: Clock, leases: FindLeases | None) -> None:
        self._scope = scope
        self._clock = clock
        self._leases = leases or (lambda: None)

    @contextmanager
    def hold(self, key: SeriesKey) -> Iterator[bool]:
        """Wait for this caller's turn, but no longer than its time limit allows.

        Yields whether another call had the turn first, so that its bars may be stored now.
        Pages that arrive while the block runs are reported to the waiting callers.
        """
        leases = self._leases()
        if leases is None:
            yield False
            return
        name = sha256(f"{self._scope}|{key.symbol}|{key.folder}".encode()).hexdigest()[:32]
        deadline = current_deadline(self._clock)
        with (
            leases.hold(f"bars {name}", deadline=deadline, about=key) as lease,
            deadline.telling(_Reporter(leases, lease, deadline, self._clock)),
        ):
            yield lease.has_waited


class _Reporter:
    """Periodically reports to other processes how many pages the lease holder has received."""

    def __init__(self, leases: Leases, lease: Lease, deadline: Deadline, clock: Clock) -> None:
        self._leases, self._lease = leases, lease
        self._deadline, self._clock = deadline, clock
        self._reported_s = clock.monotonic()

    def __call__(self) -> None:
        now = self._clock.monotonic()
        if self._lease.is_held and now - self._reported_s >= _REPORTED_EVERY_S:
            self._reported_s = now
            self._leases.renew(self._lease, pages=self._deadline.pages)
