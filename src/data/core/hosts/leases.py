"""Leases on the shared server: of all callers on all hosts, one fetches a series, and the others wait."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace

from ...errors import CacheError, LockTimeoutError, ProviderTimeoutError
from ..clock import Clock, SystemClock
from ..model.identity.series import SeriesKey
from ..net.calls.deadline import QUIET_S, Deadline, current_deadline
from ..net.limits.leases import Holder, Lease, Leases, first_free
from .decisions import book_of, name_of
from .limits import load_days
from .postgres import PostgresFiles
from .protocol import Granted
from .turn import HeldLease, current_lease, working_under

# A change outside a fetch takes little time.
_BRIEF_S = 30.0
_CLOCK = SystemClock()


def pairs_of(key: SeriesKey) -> list[str]:
    """Return the names of a series' symbol and timeframe, and of its symbol's splits and dividends."""
    return [name_of(SeriesKey(key.symbol, key.timeframe)), book_of(key.symbol)]


@contextmanager
def held(shared: PostgresFiles, name: str, wait_s: float) -> Iterator[HeldLease]:
    """Hold the lease of a series for one change; a lease that the call holds already is used.

    Raises:
        LockTimeoutError: Another caller held it for longer than ``wait_s``.
        LogUnreachableError: The server cannot be reached.
    """
    current = current_lease.get()
    if current is not None and current.name == name and not current.is_freed:
        yield current
        return
    owner, pairs = os.urandom(8).hex(), [name.partition("@")[0]]

    def acquire(patience_s: float) -> Granted | Holder:
        """Take the lease if it is free, or return its holder."""
        granted = shared.lease(name, owner, _BRIEF_S, about=pairs)
        return Holder(granted.owner, granted.pages) if granted.owner != owner else granted

    granted, _ = first_free(acquire, _CLOCK, Deadline(_CLOCK, wait_s), "host")
    if granted is None:
        raise LockTimeoutError(
            f"another host has been changing {name} for more than {wait_s:g} s", hint="ask again"
        )
    heads = {series: (head, 0) for series, head in (granted.heads or {}).items()}
    lease = HeldLease(name, owner, pairs, heads, is_opened=True, is_brief=True)
    try:
        with working_under(lease):
            yield lease
    finally:
        if not lease.is_freed:
            with suppress(CacheError):
                shared.lease(name, owner, 0)


class SharedLeases(Leases):
    """Takes and renews leases by the clock of the shared server. Thread-safe; usable after a fork.

    The processes of one host take turns by its own leases first. While the server cannot be reached,
    only those count.

    Args:
        shared: Server that stores the leases.
        clock: Clock for waits.
        local: Function that returns the host's own leases, or None.
    """

    def __init__(
        self, shared: PostgresFiles, clock: Clock, local: Callable[[], Leases | None]
    ) -> None:
        self._shared, self._clock, self._local = shared, clock, local
        self._held: dict[str, HeldLease] = {}

    @contextmanager
    def hold(
        self,
        name: str,
        ttl_s: float = QUIET_S,
        deadline: Deadline | None = None,
        about: SeriesKey | None = None,
    ) -> Iterator[Lease]:
        """Hold ``name`` while the block runs; see :meth:`.Leases.hold`.

        Files that the block changes are rejected if another host has taken the lease over. The last
        change may free it; otherwise it is freed when the block ends, also by an error.
        """
        deadline, local = deadline or current_deadline(self._clock), self._local()
        local_lease = nullcontext() if local is None else local.hold(name, ttl_s, deadline)
        with local_lease as mine:
            lease = mine or Lease(name, True, False, os.urandom(8).hex())
            # A series of a folder of files, or of samples, stays on its host.
            if not lease.is_held or about is None or about.of_folder or about.is_sample:
                yield lease
                return
            owner = f"{self._shared.host}:{lease.holder}"
            held = HeldLease(name_of(about), owner, pairs_of(about), is_freed=True)
            try:
                with suppress(CacheError):  # the server is away: this host goes on by itself
                    lease = self._acquired(lease, held, ttl_s, deadline, is_first=mine is not None)
                with working_under(held):
                    yield lease
            finally:
                self._held.pop(lease.holder, None)
                if not held.is_freed:
                    with suppress(CacheError):
                        self._shared.lease(held.name, held.owner, 0)

    def renew(self, lease: Lease, ttl_s: float = QUIET_S, pages: int = 0) -> bool:
        """Extend a lease; return False if another host has taken it over. See :meth:`.Leases.renew`."""
        local, held = self._local(), self._held.get(lease.holder)
        is_mine = local is None or local.renew(lease, ttl_s, pages)
        if held is not None and not held.is_freed:
            with suppress(CacheError):
                granted = self._shared.lease(
                    held.name, held.owner, ttl_s, pages=pages, is_new=False
                )
                return granted.owner == held.owner and is_mine
        return is_mine

    def _acquired(
        self, lease: Lease, held: HeldLease, ttl_s: float, deadline: Deadline, *, is_first: bool
    ) -> Lease:
        """Wait for the shared lease; return the result for the caller."""
        first = [is_first]

        def acquire(patience_s: float) -> Granted | Holder:
            """Take the lease if it is free, or return its holder."""
            granted = self._shared.lease(
                held.name,
                held.owner,
                ttl_s,
                patience_s=patience_s,
                about=held.pairs,
                is_first=bool(first and first.pop()),
            )
            return Holder(granted.owner, granted.pages) if granted.heads is None else granted

        granted, has_waited = first_free(acquire, self._clock, deadline, "host")
        lease = replace(lease, has_waited=lease.has_waited or has_waited)
        if granted is None:
            return replace(lease, is_held=False)
        held.heads = {name: (head, 0) for name, head in (granted.heads or {}).items()}
        held.is_freed, self._held[lease.holder] = False, held
        if granted.days is not None and (local := self._local()) is not None:
            with suppress(ProviderTimeoutError):  # the call's time is over
                value, age_s = granted.days
                local.state.run(lambda tables: load_days(tables, value, age_s))
        return lease
