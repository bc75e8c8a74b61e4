"""Limits, pauses, circuits, unknown symbols and missing days of vendors, shared by all hosts of a store.

The decisions are those of one machine (:mod:`.net.limiter`, :mod:`.net.guarded_call`), made on the same
tables, which are filled in memory from what the server returns. What the decisions change is sent as
operations and facts; see :mod:`.riders`. All times are the server's.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from hashlib import sha256
from typing import Any, TypeVar

from ..clock import Clock, SystemClock
from ..errors import CacheError, CorruptEntryError, ProviderTimeoutError
from ..forks import renew_after_fork
from ..model.capabilities import Limits
from ..model.coverage import VendorDay
from ..net.circuit_breaker import Circuit
from ..net.own_network import Contacts
from ..net.quota import Pause, Window, windows_of
from ..net.state import Needs, State
from ..net.state_tables import Account, StateTables, keep_fact, read_fact
from ..net.unknown_symbols import UnknownSymbol, forgotten_s
from . import vendor_records
from .log import Log
from .riders import (
    MOST_VERSION,
    NOW_S,
    TABLES,
    FactChange,
    LedgerBase,
    bounded,
    enter_statement,
    look_statement,
)
from .turn import current_turn
from .vendor_records import MOST_DAYS

T = TypeVar("T")
# A fact about an account: ("pause",), ("circuit", endpoint) or ("unknown", place, symbol). The days that
# vendors lack are one fact about no account, because they follow from the bars, which all hosts share.
Fact = tuple[str, ...]
# The version and value of facts, as last seen; the value is None if there is none.
Known = dict[Fact, tuple[int, Any]]
_PAUSE: Fact = ("pause",)
_DAYS: Fact = ("days",)
_NO_ACCOUNT, _NO_LIMITS = Account(""), Limits()
# The name of the fact about days in the server.
DAYS_NAME = f"days {_NO_ACCOUNT.named(b'')}"
_UNSEEN: tuple[int, Any] = (0, None)
_NOTHING_LOST: float | None = None
_DAY_S = 86_400.0
# A request that is settled later than this may be counted twice: its host may not have seen that it was
# already counted as one whose process died.
_FLIGHT_S = 150.0
# Units from further in the future are from before the server's clock was set back.
_DRIFT_S = 2.0
# Entries of a ledger's log from which on a host replaces them by a newer base.
_FOLD_AT = 16
_TRIES = 5
# Most spendings, most other operations, and most facts, that wait on a host for a server that is away.
_MOST_UNSENT = 200
# How long facts are kept: circuits of endpoints that nobody uses any more are of no use.
_CIRCUIT_S, _PAUSE_S, _DAYS_S = 30 * _DAY_S, 8 * _DAY_S, 8 * _DAY_S
_ENTER = {table: enter_statement(table) for table in TABLES}
_RESET_SQL = {
    table: f"update onetape.{table} set base = '{{}}', log = '[]', folded = 0, lost = {NOW_S} where name = %s"  # noqa: S608 - constants only
    for table in TABLES
}
_LOOK = {table: look_statement(table) for table in TABLES}
_BASE_AND_LOG = f"{bounded('base')}, {bounded('log')}"
_LEDGERS = " union all ".join(
    f"select 'ledger', left(name, 200), {NOW_S}, {_BASE_AND_LOG}, folded from onetape.{table}"  # noqa: S608 - constants only
    for table in TABLES
)
_ALL = f"""
{_LEDGERS}
union all
select split_part(name, ' ', 1), left(substr(name, strpos(name, ' ') + 1), 200), {NOW_S},
  left(value::text, 1000), null, null
from onetape.fact where split_part(name, ' ', 1) in ('pause', 'circuit') and value <> 'null'
order by 2, 1"""  # noqa: S608 - constants only


class _Tables(StateTables):
    """Tables that record what changes them, for the server."""

    def __init__(self, tables: StateTables, local: State | None, facts: Known) -> None:
        super().__init__(tables.rows, tables.salt, tables.now_s, tables.monotonic_s, tables.lost_s)
        self._local, self._known = local, facts
        self.ops: list[list[Any]] = []
        self.facts: dict[Fact, FactChange] = {}
        self.lifted: list[str] = []
        self.is_urgent = False

    # --- units -----------------------------------------------------------------------------

    def spend(
        self, account: str, windows: Iterable[Window], units: float, *, ago_s: float = 0.0
    ) -> None:
        """Count units; see :meth:`.StateTables.spend`."""
        windows = list(windows)
        super().spend(account, windows, units, ago_s=ago_s)
        lengths = [window.length_s for window in windows]
        self.ops.append(["spend", self.monotonic_s - ago_s, units, lengths])

    def add_in_flight(self, ticket: str, account: str, units: float, until_s: float) -> None:
        """Record a request in flight; see :meth:`.StateTables.add_in_flight`."""
        super().add_in_flight(ticket, account, units, until_s)
        self.ops.append(["take_off", self.monotonic_s, ticket, units])

    def remove_in_flight(self, ticket: str) -> float:
        """Remove a request in flight; see :meth:`.StateTables.remove_in_flight`."""
        self.ops.append(["land", self.monotonic_s, ticket])
        return super().remove_in_flight(ticket)

    def remove_expired_in_flight(self, account: str) -> float:
        """Remove requests whose process died; see :meth:`.StateTables.remove_expired_in_flight`."""
        units = super().remove_expired_in_flight(account)
        if units:
            self.ops.append(["crashed", self.monotonic_s])
        return units

    def forget_spent(self, account: str) -> None:
        """Forget what was spent; see :meth:`.StateTables.forget_spent`."""
        super().forget_spent(account)
        self.ops.append(["forget", self.monotonic_s])
        self._change(_PAUSE, [0, 0], _PAUSE_S)

    # --- facts -----------------------------------------------------------------------------

    def keep_pause(self, account: str, pause: Pause) -> None:
        """Store a pause; see :meth:`.StateTables.keep_pause`."""
        super().keep_pause(account, pause)
        self._change(_PAUSE, astuple(pause), _PAUSE_S)

    def keep_circuit(self, account: str, endpoint: str, circuit: Circuit) -> None:
        """Store a circuit; see :meth:`.StateTables.keep_circuit`."""
        before = self.circuit(account, endpoint)
        super().keep_circuit(account, endpoint, circuit)
        # That an endpoint still answers is noted once an hour, which can wait.
        is_news = any(c.until_s or c.failures or c.symbols for c in (before, circuit))
        self._change(("circuit", endpoint), astuple(circuit), _CIRCUIT_S, is_news)

    def keep_unknown(self, account: str, address: str, symbol: str, word: UnknownSymbol) -> None:
        """Record an unknown symbol; see :meth:`.StateTables.keep_unknown`."""
        super().keep_unknown(account, address, symbol, word)
        ttl_s = word.until_s - forgotten_s(self.now_s)
        self._change(("unknown", address, symbol), astuple(word), ttl_s)

    def forget_unknown(self, account: str, address: str, symbol: str) -> None:
        """Forget that a symbol is unknown; see :meth:`.StateTables.forget_unknown`."""
        super().forget_unknown(account, address, symbol)
        self._change(("unknown", address, symbol), None, _DAY_S)

    def keep_vendor_days(
        self, fresh: Iterable[VendorDay], is_over: Callable[[VendorDay], bool]
    ) -> tuple[list[VendorDay], list[VendorDay]]:
        """Store and forget days that vendors lack; see :meth:`.StateTables.keep_vendor_days`."""
        rows = dump_days(self)
        made = super().keep_vendor_days(fresh, is_over)
        if (changed := dump_days(self)) != rows:
            self._change(_DAYS, changed, _DAYS_S)
        return made

    def _change(self, fact: Fact, value: Any, ttl_s: float, is_urgent: bool = True) -> None:
        self.facts[fact] = FactChange(value, self._known.get(fact, _UNSEEN)[0], ttl_s)
        self.is_urgent |= is_urgent

    # --- this host's network ---------------------------------------------------------------

    def contacts(self) -> Contacts:
        """Return this host's failed connections, by the server's clock."""
        if self._local is None:
            return super().contacts()
        known, now_s = self._local.run(lambda local: (local.contacts(), local.now_s), writes=False)
        ahead = self.now_s - now_s
        failed_s = {vendor: at + ahead for vendor, at in known.failed_s.items()}
        return Contacts(failed_s, known.answered_s and known.answered_s + ahead)

    def keep_unconnected(self, vendor: str) -> None:
        """Record that this host could not connect to a vendor."""
        if self._local is None:
            super().keep_unconnected(vendor)
        else:
            self._local.run(lambda local: local.keep_unconnected(vendor))

    def keep_answer(self, vendor: str, lifted: Iterable[str]) -> list[tuple[str, str]]:
        """Record that a vendor answered this host; close circuits that a failed network had opened."""
        names = list(lifted)
        if self._local is None:
            return super().keep_answer(vendor, names)
        self.lifted += names
        self.is_urgent |= bool(names)
        return self._local.run(lambda local: local.keep_answer(vendor, names))


@dataclass(frozen=True)
class _Unsent:
    """The changes of an account that a host made while the server was away, stored in the host's state.

    Attributes:
        row: Name of the record in the state.
        ops: Operations ``[kind, time, ...]``.
        facts: Values of facts.
        now_s, monotonic_s: Time of the host's state, and the monotonic time at that moment.
    """

    row: str = ""
    ops: Sequence[list[Any]] = ()
    facts: Mapping[Fact, Any] = field(default_factory=dict)
    now_s: float = 0.0
    monotonic_s: float = 0.0

    @classmethod
    def of(cls, local: StateTables, name: str) -> _Unsent:
        """Return the record of an account in a host's state."""
        row = f"unsent {name}"
        ops, facts = json.loads(read_fact(local.rows, row) or "[[], []]")
        known = {tuple(fact): value for fact, value in facts if fact[0] in _TIMES}
        return cls(row, ops, known, local.now_s, local.monotonic_s)

    @property
    def is_any(self) -> bool:
        """Whether there is anything to send."""
        return bool(self.ops or self.facts)

    def operations(self, monotonic_s: float) -> list[list[Any]]:
        """Return the operations with their monotonic times."""
        ahead_s = self.monotonic_s - self.now_s
        return [[kind, min(monotonic_s, at_s + ahead_s), *rest] for kind, at_s, *rest in self.ops]

    def add(self, ops: Iterable[list[Any]], facts: Mapping[Fact, Any]) -> _Unsent:
        """Return the record with further operations, whose times are monotonic, and facts."""
        ahead_s, waiting = self.now_s - self.monotonic_s, list(self.ops)
        for kind, at_s, *rest in ops:
            if kind == "forget":
                waiting = []
            begun = [op for op in waiting if kind == "land" and op[::2] == ["take_off", rest[0]]]
            if begun:
                waiting.remove(begun[0])
            else:
                waiting.append([kind, at_s + ahead_s, *rest])
        return replace(self, ops=waiting, facts={**self.facts, **facts})

    def keep(self, local: StateTables) -> None:
        """Store the record, or remove the stored one if this is empty."""
        if not self.is_any:
            local.rows.execute("delete from facts where name = ?", (self.row,))
            return
        # Unknown symbols are many, and come first, so that pauses and circuits stay.
        facts = sorted(self.facts.items(), key=lambda item: item[0][0] != "unknown")
        content = json.dumps([_merged(self.ops), facts[-_MOST_UNSENT:]])
        keep_fact(local.rows, self.row, content)

    def take(self, local: StateTables) -> _Unsent:
        """Remove the operations from the stored record, so that no other process sends them too."""
        replace(self, ops=()).keep(local)
        return self

    def put_back(self, local: StateTables) -> None:
        """Add operations that could not be sent to the stored record again."""
        now = self._stored(local)
        replace(now, ops=[*self.ops, *now.ops]).keep(local)

    def forget(self, local: StateTables) -> None:
        """Remove facts that were sent from the stored record, unless another process has changed them."""
        now = self._stored(local)
        facts = {fact: value for fact, value in now.facts.items() if self.facts.get(fact) != value}
        replace(now, facts=facts).keep(local)

    def _stored(self, local: StateTables) -> _Unsent:
        return _Unsent.of(local, self.row.partition(" ")[2])


class SharedLimits:
    """The owner of an account's limits when many hosts share a store. Thread-safe; usable after a fork.

    While the server cannot be reached, the limits of this host apply, which are a copy of those last
    seen.

    Args:
        log: Log whose server keeps them.
        local: State of this host.
        account: Account; by default none: the owner of the days that vendors lack.
        limits: Limits of the account; without any, no units are counted.
        others: Owners of all accounts, by account and limits.
    """

    def __init__(
        self,
        log: Log,
        local: State,
        account: Account = _NO_ACCOUNT,
        limits: Limits = _NO_LIMITS,
        others: dict[tuple[Account, Limits], SharedLimits] | None = None,
    ) -> None:
        self._log, self._local, self._account = log, local, account
        self._others = {} if others is None else others
        self.clock: Clock = local.clock
        log.pending.monotonic = local.clock.monotonic
        lengths = [window.length_s for window in windows_of(limits)]
        self._is_counted = bool(lengths)
        self._table = "quota" if max(lengths, default=0) >= _DAY_S else "bucket"
        # Serialises the calls of this process to the account, with what they know of it.
        self._lock = threading.Lock()
        renew_after_fork(self)
        self._memory = State(None, local.clock)
        self._known: Known = {}
        # As of the server's last answer: its time beside this host's monotonic time, the name of the
        # account in it, the time before which units were lost, and the facts that came with it.
        self._now: tuple[float, float] | None = None
        self._name, self._lost_s, self._fresh = "", _NOTHING_LOST, set[Fact]()
        # Whether the last call was decided by this host's state, and facts which the server did not get.
        self._is_alone, self._rejected = False, dict[Fact, Any]()

    @property
    def exists(self) -> bool:
        """Whether anything may have been stored: on this host or, about no account, by another one."""
        return self._account == _NO_ACCOUNT or self._local.exists

    def of(self, account: Account, limits: Limits) -> SharedLimits:
        """Return the owner for another account."""
        key = account, limits
        if key not in self._others:
            made = SharedLimits(self._log, self._local, account, limits, self._others)
            self._others.setdefault(key, made)
        return self._others[key]

    def finish(self, step: Callable[[], object]) -> None:
        """Run a step that ends a call; see :meth:`.State.finish`."""
        self._local.finish(step)

    def after_fork(self) -> None:
        """Start with a new lock, and without what the parent knew, in a forked child."""
        self._lock, self._now = threading.Lock(), None

    def run(
        self, work: Callable[[StateTables], T], *, writes: bool = True, needs: Needs | None = None
    ) -> T:
        """Run ``work`` on the account's state, and share what it changes; see :meth:`.State.run`.

        Without ``needs``, ``work`` is about what the server returned last. What only looks is then
        answered by the copy on this host, so reports and plans send nothing.
        """
        if needs is None and not writes:
            return self._local.run(work, writes=False)
        if needs is None and self._is_alone:
            return self._run_locally(work, writes)
        try:
            with self._lock:
                return self._run_shared(work, needs)
        except CacheError:
            return self._run_locally(work, writes)

    # --- with the server -------------------------------------------------------------------

    def _run_shared(self, work: Callable[[StateTables], T], needs: Needs | None) -> T:
        if needs is not None or self._now is None:
            self._load(needs or Needs())
        ticket = "" if needs is None else needs.ticket
        for _ in range(_TRIES):
            result, made = self._memory.run(lambda tables: self._run_work(tables, work, ticket))
            if self._send_changes(made):
                break
            self._load(Needs(), made.facts)
        if needs is not None or made.ops or made.facts:
            with suppress(ProviderTimeoutError):  # the call's time is over
                self._local.run(self._copy)
        return result

    def _run_work(
        self, tables: StateTables, work: Callable[[StateTables], T], ticket: str
    ) -> tuple[T, _Tables]:
        """Run ``work`` on the tables in memory, as they are at the server's present time.

        The units of ``ticket`` are among the operations in the server already; if ``work`` does not
        take them, they are given back.
        """
        assert self._now is not None
        tables.now_s = self._now[0] + (tables.monotonic_s - self._now[1])
        tables.salt, tables.lost_s = self._log.salt, self._lost_s
        if ticket:
            tables.remove_in_flight(ticket)
        made = _Tables(tables, self._local, self._known)
        result = work(made)
        taken = [op for op in made.ops if op[0] == "take_off" and op[2] == ticket]
        if taken:
            made.ops.remove(taken[0])
        elif ticket:
            made.ops.append(["land", tables.monotonic_s, ticket])
            made.is_urgent = True
        return result, made

    def _send_changes(self, made: _Tables) -> bool:
        """Send what changed, or leave it to the next statement; return False if a fact has changed."""
        ledger, log, turn = (self._table, self._name), self._log, current_turn.get()
        facts = {_in_server(self._name, fact): change for fact, change in made.facts.items()}
        log.pending.add(ledger, made.ops)
        if made.is_urgent:
            try:
                noted = log.send_pending(facts, made.lifted)
            except CacheError:  # the operations wait, and the facts on this host
                noted = list(facts)
                self._rejected |= {fact: change.value for fact, change in made.facts.items()}
            if set(noted) != set(facts):
                return False
        elif made.ops or facts:
            log.pending.add(ledger, facts=facts)
            if turn is None or turn.is_freed:  # otherwise the entry with the bars carries it
                with suppress(CacheError):
                    log.send_pending()
        for fact, change in made.facts.items():
            self._known[fact] = change.seen + 1, change.value
        self._fresh.update(made.facts)
        return True

    def _load(self, needs: Needs, more: Iterable[Fact] = (), unsent: _Unsent | None = None) -> None:
        """Ask the server for the account, and take the units of a request if there is a ticket."""
        if not self._log.salt:
            self._log.store_id()
        name = self._name = self._account.named(self._log.salt)
        unsent = unsent or self._take_unsent()
        asked = [_DAYS if self._account == _NO_ACCOUNT else _PAUSE, *more, *unsent.facts]
        if needs.endpoint:
            asked.append(("circuit", needs.endpoint))
        if needs.symbol:
            asked.append(("unknown", needs.address, needs.symbol))
        keys = {fact: _in_server(name, fact) for fact in asked}
        ledger, reserved = (self._table, name), unsent.operations(self.clock.monotonic())
        if needs.ticket and self._is_counted:
            reserved.append(["take_off", self.clock.monotonic(), needs.ticket, needs.units])
        ops, newer_base, put_back = self._log.pending.take_ledger(ledger, reserved)
        statement = _ENTER if ops else _LOOK
        arguments = {
            "name": name,
            "facts": list(keys.values()),
            "marker": f"ledger {name}",
            "ops": ops,
            **newer_base._asdict(),
        }
        try:
            [row] = self._log.rows(statement[self._table], arguments)
            now, base, log, folded, lost_s, has_quota, facts = row
        except BaseException:
            put_back()
            self._put_back(unsent)
            raise
        if has_quota and self._table == "bucket":
            # By the rules of another host, the account has a daily limit.
            self._table = "quota"
            self._load(needs, more, unsent)
            return
        self._now, self._lost_s, self._is_alone = (now, self.clock.monotonic()), lost_s, False
        for fact, key in keys.items():
            version, value = (facts or {}).get(key) or _UNSEEN
            is_one = 0 <= version <= MOST_VERSION
            self._known[fact] = version if is_one else 0, vendor_records.fact(fact[0], value, now)
        self._fresh = set(keys)
        if unsent.facts:
            self._send_unsent(unsent, now)
        try:
            records = vendor_records.ledger(base, log, folded)
        except CorruptEntryError as error:
            # As after a crash of the server: half of each limit counts as used.
            logging.getLogger(__name__).warning("%s; it begins anew", error)
            self._log.rows(_RESET_SQL[self._table], (name,))
            raise
        self._memory.run(lambda tables: self._fill(tables, now, *records, folded or 0))

    def _take_unsent(self) -> _Unsent:
        """Return the record that processes of this host made while the server was away."""

        def read(local: StateTables) -> _Unsent:
            """Return the stored record."""
            return _Unsent.of(local, self._account.named(local.salt))

        if self._local.exists:
            with suppress(ProviderTimeoutError):  # the call's time is over
                found = self._local.run(read, writes=False)
                return (
                    self._local.run(lambda local: read(local).take(local)) if found.ops else found
                )
        return _Unsent()

    def _put_back(self, unsent: _Unsent) -> None:
        if unsent.ops:
            self._local.finish(lambda: self._local.run(unsent.put_back))

    def _send_unsent(self, unsent: _Unsent, now: float) -> None:
        """Send facts that are newer than those on the server, and forget those that it has now."""
        newer = dict[Fact, FactChange]()
        for fact, value in unsent.facts.items():
            moved, (version, known) = _moved(fact, value, now - unsent.now_s), self._known[fact]
            if _end(fact, moved) > max(now, _end(fact, known)):
                newer[fact] = FactChange(moved, version, _end(fact, moved) - now + _DAYS_S)
                self._known[fact] = version + 1, moved
        sent = {_in_server(self._name, fact): change for fact, change in newer.items()}
        noted = self._log.send_pending(sent) if sent else []
        # Otherwise, other hosts have changed a fact meanwhile, and the next call decides again.
        if len(noted) == len(sent):
            self._local.finish(lambda: self._local.run(unsent.forget))

    def _fill(
        self, tables: StateTables, now: float, base: dict[str, Any], log: list[Any], folded: int
    ) -> None:
        """Fill the tables in memory, and prepare a newer base if the log is long or has wrong times."""
        name = self._name
        is_set_back = replay(tables, name, base, log, now)
        if len(log) >= _FOLD_AT or is_set_back:
            content = json.dumps(dump_ledger(tables, name))
            self._log.pending.replace_base(
                (self._table, name), LedgerBase(folded, len(log), content)
            )
        load_facts(tables, name, self._known, self._fresh)

    def _copy(self, host_tables: StateTables) -> None:
        """Copy the account to this host's state, by this host's clock."""
        assert self._now is not None
        shared = self._memory.run(lambda tables: dump_ledger(tables, self._name), writes=False)
        now = self._now[0] + (host_tables.monotonic_s - self._now[1])
        name, ahead_s = self._account.named(host_tables.salt), host_tables.now_s - now
        load_ledger(host_tables, name, shared, ahead_s)
        load_facts(host_tables, name, self._known, self._fresh, ahead_s)
        if self._rejected:
            facts = {fact: _moved(fact, value, ahead_s) for fact, value in self._rejected.items()}
            _Unsent.of(host_tables, name).add((), facts).keep(host_tables)
            self._rejected = {}

    # --- without it ------------------------------------------------------------------------

    def _run_locally(self, work: Callable[[StateTables], T], writes: bool) -> T:
        """Run ``work`` on this host's state; units spent meanwhile are sent when the server is back."""

        def recorded(local: StateTables) -> T:
            """Run ``work``, and store its changes for the server."""
            tables = _Tables(local, None, {})
            result = work(tables)
            facts = {fact: change.value for fact, change in tables.facts.items() if fact != _DAYS}
            if tables.ops or facts:
                name = self._account.named(local.salt)
                _Unsent.of(local, name).add(tables.ops, facts).keep(local)
            return result

        self._is_alone = True
        return self._local.run(recorded, writes=writes)


@dataclass(frozen=True)
class SharedLimit:
    """What all hosts know of a vendor's account, for reports.

    Attributes:
        vendor: Vendor, or one of its hosts that is counted separately.
        used: Maps the length of each window to the units spent in it, such as ``{"60s": 3}``.
        endpoint: Endpoint that is paused; empty if the whole vendor is, or none.
        seconds: Seconds until it may be queried again; 0 if it is not paused.
        reason: Why it is paused.
    """

    vendor: str
    used: Mapping[str, float]
    endpoint: str = ""
    seconds: float = 0.0
    reason: str = ""


def shared_limits(log: Log) -> list[SharedLimit]:
    """Return the units that all hosts have spent, and the pauses, by vendor; one statement is sent."""
    limits: list[SharedLimit] = []
    for record_type, name, now, value, more, folded in log.rows(_ALL):
        vendor = name.rpartition(":")[0]
        if record_type == "ledger":
            with suppress(CorruptEntryError):  # it begins anew with the next request
                if any(used := _used_units(name, now, *vendor_records.ledger(value, more, folded))):
                    limits.append(SharedLimit(vendor, used))
            continue
        if (known := vendor_records.fact(record_type, value, now)) is None:
            continue
        account, _, endpoint = name.partition(" ")
        vendor = account.rpartition(":")[0]
        if record_type == "pause":
            left_s, reason = Pause(*known).left_s(now), "it asked us to pause"
        else:
            circuit = Circuit(*known)
            left_s, reason = circuit.shut_for(now), circuit.reason
        if left_s > 0:
            limits.append(SharedLimit(vendor, {}, endpoint, left_s, reason))
    return limits


def _used_units(name: str, now: float, base: dict[str, Any], log: list[Any]) -> dict[str, float]:
    """Return the units of an account by the length of the window, requests in flight included."""

    def count(tables: StateTables) -> dict[str, float]:
        """Repeat the ledger's operations."""
        replay(tables, name, base, log, now)
        lengths = [row[0] for row in tables.rows.execute("select distinct length_s from spent")]
        in_flight = tables.units_in_flight(name)
        windows = tables.filled(name, [Window(length, 0) for length in sorted(lengths)])
        return {f"{w.length_s:g}s": used for w in windows if (used := w.used(now) + in_flight)}

    return State(None, SystemClock()).run(count)


def _merged(ops: Iterable[list[Any]]) -> list[list[Any]]:
    """Return a bounded number of operations: the oldest units count as spent a little later."""
    others, spent = list[list[Any]](), list[list[Any]]()
    for op in ops:
        (spent if op[0] == "spend" else others).append(list(op))
    merged = spent[-_MOST_UNSENT:]
    for _, at_s, units, lengths in reversed(spent[:-_MOST_UNSENT]):
        into = next((op for op in merged if op[3] == lengths), None)
        if into is None:
            merged.insert(0, ["spend", at_s, units, lengths])
        else:
            into[2] += units
    return [*others[-_MOST_UNSENT:], *merged]


def _in_server(account: str, fact: Fact) -> str:
    """Return the name of a fact in the server."""
    fact_type, *rest = fact
    if fact_type == "unknown":  # a symbol may be any text
        rest = [sha256("\0".join(rest).encode("utf-8", "surrogatepass")).hexdigest()[:24]]
    return " ".join((fact_type, account, *rest))


# --- tables and what is sent ---------------------------------------------------------------------


def replay(
    tables: StateTables, name: str, base: dict[str, Any], log: Iterable[Any], now: float
) -> bool:
    """Fill the tables with a ledger: its base, and the operations after it.

    Units from the future count as spent now, because the server's clock was set back since.

    Returns:
        Whether there were any.
    """
    load_ledger(tables, name, base)
    for at_s, ops in log:
        for op in ops:
            tables.now_s = at_s - op[1]
            repeat(tables, name, op)
    tables.now_s = now
    latest = "select max(last_s) from spent where who = ?"
    ahead_s = (tables.rows.execute(latest, (name,)).fetchone()[0] or 0.0) - now
    if ahead_s <= _DRIFT_S:
        return False
    tables.rows.execute(
        "update or replace spent set first_s = first_s - ?, last_s = last_s - ?"
        " where who = ? and last_s > ?",
        (ahead_s, ahead_s, name, now),
    )
    tables.rows.execute(
        "update flights set until_s = min(until_s, ?) where who = ?", (now + _FLIGHT_S, name)
    )
    return True


def repeat(tables: StateTables, name: str, op: Sequence[Any]) -> None:
    """Repeat an operation of a ledger's log on tables whose time is that of the operation."""
    op_type, _, *rest = op
    if op_type == "spend":
        units, lengths = rest
        windows = tables.filled(name, [Window(length, 0) for length in lengths])
        tables.spend(name, windows, units)
    elif op_type == "take_off":
        ticket, units = rest
        tables.remove_in_flight(
            ticket
        )  # a statement whose answer was lost may have been sent twice
        tables.add_in_flight(ticket, name, units, tables.now_s + _FLIGHT_S)
    elif op_type == "land":
        tables.remove_in_flight(rest[0])
    elif op_type == "crashed":
        tables.remove_expired_in_flight(name)
    elif op_type == "forget":
        tables.forget_spent(name)


def dump_ledger(tables: StateTables, name: str) -> dict[str, Any]:
    """Return an account's spent units and requests in flight as plain values."""
    spent = "select length_s, first_s, last_s, units from spent where who = ? order by 1, 2"
    flights = "select ticket, units, until_s from flights where who = ? order by 1"
    return {
        "spent": [list(row) for row in tables.rows.execute(spent, (name,))],
        "flights": [list(row) for row in tables.rows.execute(flights, (name,))],
    }


def load_ledger(
    tables: StateTables, name: str, content: dict[str, Any], ahead_s: float = 0.0
) -> None:
    """Replace an account's spent units and requests in flight; times are moved by ``ahead_s``."""
    for table in ("spent", "flights"):
        tables.rows.execute(f"delete from {table} where who = ?", (name,))  # noqa: S608 - constant names
    spent = [
        (name, length, first + ahead_s, last + ahead_s, units)
        for length, first, last, units in content.get("spent", ())
    ]
    flights = [
        (ticket, name, units, until + ahead_s)
        for ticket, units, until in content.get("flights", ())
    ]
    tables.rows.executemany("insert or replace into spent values (?, ?, ?, ?, ?)", spent)
    tables.rows.executemany("insert or replace into flights values (?, ?, ?, ?)", flights)


def dump_days(tables: StateTables) -> list[list[Any]]:
    """Return the latest days that vendors lack, with the time until which each stands, as plain values."""
    rows = tables.rows.execute("select * from lacking_days order by day desc limit ?", (MOST_DAYS,))
    return list(map(list, rows))


def load_days(
    tables: StateTables, rows: Iterable[Sequence[Any]] | None, ahead_s: float = 0.0
) -> None:
    """Replace the days that vendors lack; times are moved by ``ahead_s``."""
    tables.rows.execute("delete from lacking_days")
    moved = [(*row, until + ahead_s) for *row, until in rows or ()]
    params = ", ".join("?" * 10)
    tables.rows.executemany(f"insert or replace into lacking_days values ({params})", moved)  # noqa: S608 - constants only


def load_facts(
    tables: StateTables,
    name: str,
    known: Mapping[Fact, tuple[int, Any]],
    facts: Collection[Fact],
    ahead_s: float = 0.0,
) -> None:
    """Replace an account's pause, circuits and unknown symbols; times are moved by ``ahead_s``."""
    for fact in facts:
        fact_type, *rest = fact
        value = known[fact][1]
        if fact_type == "days":
            load_days(tables, value, ahead_s)
        elif fact_type == "pause":
            tables.keep_pause(name, Pause(*_moved(fact, value or (0, 0), ahead_s)))
        elif fact_type == "circuit":
            circuit = Circuit(*_moved(fact, value, ahead_s)) if value else Circuit()
            tables.keep_circuit(name, rest[0], circuit)
        elif value is None:
            tables.forget_unknown(name, rest[0], rest[1])
        else:
            tables.keep_unknown(
                name, rest[0], rest[1], UnknownSymbol(*_moved(fact, value, ahead_s))
            )


# Positions of the times in the value of each fact, and position of the time at which it ends.
_TIMES = {"pause": (0,), "circuit": (2, 3, 4), "unknown": (0, 1)}
_ENDS = {"pause": 0, "circuit": 2, "unknown": 1}


def _moved(fact: Fact, value: Sequence[Any] | None, ahead_s: float) -> Any:
    """Return the value of a fact with its times moved by ``ahead_s``; a time of 0 is none."""
    if value is None:  # the vendor knows a symbol again
        return None
    times = _TIMES[fact[0]]
    return [each + ahead_s if at in times and each else each for at, each in enumerate(value)]


def _end(fact: Fact, value: Sequence[Any] | None) -> float:
    """Return the end of a pause, or of the time for which a vendor is not queried; 0 if there is none."""
    return float(value[_ENDS[fact[0]]]) if value else 0.0
