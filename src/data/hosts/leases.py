"""Leases on the shared server: of all callers on all hosts, one fetches a series, and the others wait."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import psycopg

from ..cache.layout import encode_lane
from ..clock import Clock
from ..errors import CacheError, ProviderTimeoutError
from ..model.coverage import VendorDay
from ..model.series import SeriesKey
from ..net.deadline import QUIET_S, Deadline, current_deadline
from ..net.leases import Holder, Lease, Leases, first_free, process_space
from ..net.state import boot
from ..net.state_tables import StateTables
from . import vendor_records
from .entry import SeriesName
from .limits import DAYS_NAME, load_days
from .log import Log
from .riders import FACT, NOW_S, StatementParts
from .turn import HeldLease, Pair, current_turn

_LARGEST = (1 << 63) - 1
_TTL = "clock_timestamp() + make_interval(secs => %(ttl_s)s)"
_EXPIRED = "clock_timestamp() - make_interval(secs => %(patience_s)s)"
# The server's process for this connection and its start, unless a pooler is in between: then the process
# says nothing about the holder.
_PROCESS = """
(select pid from me), (select started from me)"""
_ME = """
me as (
  select pid, backend_start as started from pg_stat_activity
  where pid = pg_backend_pid() and pid = %(pid)s)"""
# A lease is free if nobody holds it, if its time is over by the server's clock or so long that no host can
# have taken it, if its holder's connection has ended (such as that of a killed process), or if its holder
# is a process of this host: those take turns by the host's own leases, so that holder has ended.
# The latest entries are those of the start of the statement. If the lease changed since then, which may mean
# that its holder has just added one, it is not taken: the next attempt sees both.
_TAKE = f"""
with {_ME},
made as (
  insert into onetape.lease (name, owner, fence, until, pages, pid, started)
  values (%(name)s, %(owner)s, 1, {_TTL}, 0, {_PROCESS})
  on conflict (name) do nothing returning fence),
taken as (
  update onetape.lease l
  set owner = %(owner)s, fence = greatest(l.fence, 0) %% {_LARGEST} + 1, until = {_TTL}, pages = 0,
    (pid, started) = (select (select pid from me), (select started from me))
  from onetape.lease s
  where l.name = %(name)s and s.name = l.name
    and (l.fence, l.until) = (s.fence, s.until) and l.owner is not distinct from s.owner
    and (s.owner is null or s.until < {_EXPIRED} or s.until > clock_timestamp() + interval '10 minutes'
      or (%(host)s <> '' and split_part(s.owner, ':', 1) = %(host)s)
      or (s.pid is not null and not exists (
        select from pg_stat_activity a
        where a.pid = s.pid and coalesce(a.backend_start, s.started) = s.started)))
  returning l.fence),
got as (select fence from made union all select fence from taken)
select (select fence from got), l.owner, coalesce(l.pages, 0), (
  select json_agg(json_build_array(s.symbol, s.timeframe, s.lane, s.seq, encode(s.head, 'hex')))
  from unnest(%(symbols)s::text[], %(timeframes)s::text[]) as w(symbol, timeframe)
  join onetape.series s on s.symbol = w.symbol and s.timeframe = w.timeframe
  where exists (select from got)), (
  select json_build_array({NOW_S}, {FACT}) from onetape.fact f
  where f.name = '{DAYS_NAME}' and f.version <> %(days)s::bigint and exists (select from got))
from (select) one left join onetape.lease l on l.name = %(name)s
"""  # noqa: S608 - constants only
_RENEW = f"""
with {_ME}
update onetape.lease set until = {_TTL}, pages = %(pages)s,
  (pid, started) = (select (select pid from me), (select started from me))
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
        folder: Folder of the host's own leases; its path distinguishes the hosts on one machine.
    """

    def __init__(
        self, log: Log, clock: Clock, local: Callable[[], Leases | None], folder: str = ""
    ) -> None:
        self._log, self._clock, self._local = log, clock, local
        # Version of the days that vendors lack, as last copied to this host's state.
        self._days = -1
        # Machines from one image have the same name, so that their starts tell them apart.
        place = f"{boot()}|{process_space()}|{folder}"
        self._host = sha256(place.encode()).hexdigest()[:16]

    @contextmanager
    def hold(
        self,
        name: str,
        ttl_s: float = QUIET_S,
        deadline: Deadline | None = None,
        about: SeriesKey | None = None,
    ) -> Iterator[Lease]:
        """Hold ``name`` while the block runs; see :meth:`.Leases.hold`.

        Entries that the block adds to the log are rejected if another host has taken the lease over.
        The last of them may free it; otherwise it is freed when the block ends, also by an error.
        """
        deadline, local = deadline or current_deadline(self._clock), self._local()
        local_lease = nullcontext() if local is None else local.hold(name, ttl_s, deadline)
        with local_lease as mine:
            holder = os.urandom(8).hex() if mine is None else mine.holder
            lease = mine or Lease(name, True, False, holder)
            is_own = about is not None and (about.of_folder or about.is_sample)
            if not lease.is_held or is_own:  # an own series stays on its host
                yield lease
                return
            arguments = self._arguments(lease, ttl_s)
            host = "" if mine is None else self._host
            turn = None
            try:
                has_waited, turn = self._acquired(arguments | {"host": host}, deadline, about)
                is_held = turn is None or turn.fence > 0
                lease = replace(lease, is_held=is_held, has_waited=lease.has_waited or has_waited)
                if turn is not None and turn.vendor_days is not None:
                    lease = replace(lease, vendor_days=turn.vendor_days)
                with _working_under(turn if is_held else None):
                    yield lease
            finally:
                with suppress(CacheError):
                    self._free(arguments, turn)

    def renew(self, lease: Lease, ttl_s: float = QUIET_S, pages: int = 0) -> bool:
        """Extend a lease; return False if another host has taken it over. See :meth:`.Leases.renew`."""
        local = self._local()
        is_mine = local is None or local.renew(lease, ttl_s, pages)
        with suppress(CacheError):
            arguments = self._arguments(lease, ttl_s) | {"pages": pages}
            return self._run(_RENEW, arguments) is not None and is_mine
        return is_mine

    def _free(self, arguments: dict[str, Any], turn: HeldLease | None) -> None:
        """Free a lease, unless its last entry has done so; send the records that are still pending."""
        if turn is not None and turn.is_freed:
            if self._log.pending:
                self._log.send_pending()
            return

        def free(pending: StatementParts) -> None:
            """Free the lease, and send the pending records in the same statement."""
            prefix = f"with {', '.join(pending.parts)} " if pending.parts else ""
            self._run(prefix + _FREE, arguments | pending.arguments)

        self._log.send_with_pending(free)

    def _acquired(
        self, arguments: dict[str, Any], deadline: Deadline, series: SeriesKey | None
    ) -> tuple[bool, HeldLease | None]:
        """Wait for the shared lease; return whether another call had it, and what this call holds.

        The fence is 0 if the time ran out. The turn is None if the server cannot be reached: this
        host goes on by itself.
        """
        pairs = _pairs(series)
        arguments = arguments | dict(
            zip(("symbols", "timeframes"), map(list, zip(*pairs, strict=True)), strict=True)
        )

        def acquire(patience_s: float) -> HeldLease | Holder:
            """Take the lease if it is free; otherwise return its holder."""
            how = {"days": self._days, "patience_s": patience_s}
            fence, owner, pages, heads, days = self._run(_TAKE, arguments | how)
            if fence is None:
                # From now on, another process of this host may have its turn.
                arguments["host"] = ""
                return Holder(owner, pages)
            known = {SeriesName(*row[:3]): (row[3], bytes.fromhex(row[4])) for row in heads or ()}
            name, mine = arguments["name"], arguments["owner"]
            return HeldLease(name, mine, int(fence), pairs, known, self._learn_days(days))

        try:
            turn, has_waited = first_free(acquire, self._clock, deadline, "host")
        except CacheError:
            return False, None
        return has_waited, turn or HeldLease(arguments["name"], arguments["owner"], 0)

    def _learn_days(self, reply: Any) -> Sequence[VendorDay] | None:
        """Copy days that vendors lack to this host's state, and return them; None if they are as before."""
        if reply is None or (local := self._local()) is None:
            return None
        now_s, (version, value) = reply
        rows = vendor_records.fact("days", value, now_s)

        def copy(tables: StateTables) -> Sequence[VendorDay]:
            """Replace the days by those of all hosts, by this host's clock."""
            load_days(tables, rows, tables.now_s - now_s)
            return tables.vendor_days()

        with suppress(ProviderTimeoutError):  # the call's time is over
            days = local.state.run(copy)
            self._days = version
            return days
        return None

    def _arguments(self, lease: Lease, ttl_s: float) -> dict[str, Any]:
        owner = f"{self._host}:{lease.holder}"
        return {"name": lease.name, "owner": owner, "ttl_s": ttl_s}

    def _run(self, statement: str, arguments: dict[str, Any]) -> Any:
        def work(connection: psycopg.Connection[Any], _: bool) -> Any:
            """Run the statement and return its row, if it has any."""
            process = {"pid": connection.info.backend_pid}
            cursor = connection.execute(statement, arguments | process)
            return cursor.fetchone() if cursor.description else None

        return self._log.run(work)


def _pairs(series: SeriesKey | None) -> list[Pair]:
    """Return the symbol and timeframe of a series, and its symbol's book, as the log names them."""
    if series is None:
        return [("", "")]
    timeframe = encode_lane(SeriesKey(series.symbol, series.timeframe))
    return [(series.symbol, timeframe), (series.symbol, "")]


@contextmanager
def _working_under(turn: HeldLease | None) -> Iterator[None]:
    outer = current_turn.get()
    current_turn.set(turn)
    try:
        yield
    finally:
        current_turn.set(outer)
