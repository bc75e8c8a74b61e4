"""Leases on the shared server: of all callers on all hosts, one fetches a series, and the others wait."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import psycopg

from ..clock import Clock
from ..errors import CacheError
from ..net.deadline import QUIET_S, Deadline, current_deadline
from ..net.leases import Holder, Lease, Leases, first_free, process_space
from .log import Log

_TTL = "clock_timestamp() + make_interval(secs => %(ttl_s)s)"
# A lease is free if nobody holds it, if its time is over by the server's clock, or if its holder is a
# process of this host: those take turns by the host's own leases, so that holder has ended.
_TAKE = f"""
with taken as (
  insert into onetape.lease as l (name, owner, fence, until, pages)
  values (%(name)s, %(owner)s, 1, {_TTL}, 0)
  on conflict (name) do update
    set owner = excluded.owner, fence = l.fence + 1, until = excluded.until, pages = 0
    where l.owner is null or l.until < clock_timestamp()
      or (%(host)s <> '' and split_part(l.owner, ':', 1) = %(host)s)
  returning fence)
select t.fence, l.owner, coalesce(l.pages, 0)
from (select 1) one left join taken t on true left join onetape.lease l on l.name = %(name)s
"""  # noqa: S608 - constants only
_RENEW = f"""
update onetape.lease set until = {_TTL}, pages = %(pages)s
where name = %(name)s and owner = %(owner)s returning fence"""  # noqa: S608 - constants only
_FREE = "update onetape.lease set owner = null where name = %(name)s and owner = %(owner)s"


class SharedLeases(Leases):
    """Takes and renews leases by the clock of the shared server. Thread-safe; usable after a fork.

    The processes of one host take turns by its own leases first. While the server cannot be reached,
    only those count.

    Args:
        log: Log whose server stores the leases.
        clock: Clock for waits.
        local: Function that returns the host's own leases, or None.
        folder: Folder of the host's own leases; its path distinguishes the hosts.
    """

    def __init__(
        self, log: Log, clock: Clock, local: Callable[[], Leases | None], folder: str = ""
    ) -> None:
        self._log, self._clock, self._local = log, clock, local
        self._host = sha256(f"{process_space()}|{folder}".encode()).hexdigest()[:16]

    @contextmanager
    def hold(
        self, name: str, ttl_s: float = QUIET_S, deadline: Deadline | None = None
    ) -> Iterator[Lease]:
        """Hold ``name`` while the block runs; see :meth:`.Leases.hold`."""
        deadline, local = deadline or current_deadline(self._clock), self._local()
        own = nullcontext() if local is None else local.hold(name, ttl_s, deadline)
        with own as mine:
            holder = os.urandom(8).hex() if mine is None else mine.holder
            lease = mine or Lease(name, True, False, holder)
            if not lease.is_held:
                yield lease
                return
            has_local = mine is not None
            try:
                yield self._acquired(lease, ttl_s, deadline, has_local=has_local)
            finally:
                with suppress(CacheError):
                    self._run(_FREE, self._arguments(lease, ttl_s))

    def renew(self, lease: Lease, ttl_s: float = QUIET_S, pages: int = 0) -> bool:
        """Extend a lease; return False if another host has taken it over. See :meth:`.Leases.renew`."""
        local = self._local()
        is_mine = local is None or local.renew(lease, ttl_s, pages)
        with suppress(CacheError):
            arguments = self._arguments(lease, ttl_s) | {"pages": pages}
            return self._run(_RENEW, arguments) is not None and is_mine
        return is_mine

    def _acquired(
        self, lease: Lease, ttl_s: float, deadline: Deadline, *, has_local: bool
    ) -> Lease:
        """Wait for the shared lease, and return the lease as this call holds it."""
        arguments = self._arguments(lease, ttl_s) | {"host": self._host if has_local else ""}

        def take() -> int | Holder:
            """Take the lease if it is free, and return its fence; otherwise return its holder."""
            fence, owner, pages = self._run(_TAKE, arguments)
            return Holder(owner, pages) if fence is None else int(fence)

        try:
            fence, has_waited = first_free(take, self._clock, deadline, "host")
        except CacheError:
            return lease  # cut off or refused: this host goes on by itself
        is_held = fence is not None
        return replace(lease, is_held=is_held, has_waited=lease.has_waited or has_waited)

    def _arguments(self, lease: Lease, ttl_s: float) -> dict[str, Any]:
        owner = f"{self._host}:{lease.holder}"
        return {"name": lease.name, "owner": owner, "ttl_s": ttl_s}

    def _run(self, statement: str, arguments: dict[str, Any]) -> Any:
        def work(connection: psycopg.Connection[Any], _: bool) -> Any:
            """Run the statement and return its row, if it has any."""
            cursor = connection.execute(statement, arguments)
            return cursor.fetchone() if cursor.description else None

        return self._log.run(work)
