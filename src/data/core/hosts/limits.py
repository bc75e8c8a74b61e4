"""Limits, pauses, circuits, unknown symbols and missing days of vendors, shared by all hosts of a store.

The decisions are those of one machine (:mod:`.limiter`, :mod:`.guarded_call`), made on this host's
own tables after the facts that other hosts have found were added to them. In addition, the server counts
the units of all hosts by its own clock, and says how long to wait. Times in facts are relative to the
moment when they were set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple
from hashlib import sha256
from typing import Any, TypeVar, get_args

import msgspec

from ...errors import CacheError
from ..clock import Clock
from ..model.request.capabilities import Limits
from ..model.stored.coverage import VendorDay
from ..net.limits.account_row import AccountRow
from ..net.limits.circuit_breaker import Circuit
from ..net.limits.quota import Pause, windows_of
from ..net.limits.state import Needs, State
from ..net.limits.state_tables import DAY_STANDS_S, Account, StateTables
from ..net.limits.unknown_symbols import UnknownSymbol
from .postgres import PostgresFiles
from .turn import current_lease

T = TypeVar("T")
# A fact: ("pause",), ("circuit", endpoint), ("unknown", address, symbol), or ("days",) about no account.
Fact = tuple[str, ...]
_PAUSE: Fact = ("pause",)
_DAYS: Fact = ("days",)
_NO_ACCOUNT, _NO_LIMITS = Account(""), Limits()
_DAY_S = 86_400.0
_Time = float | None
# For each type of fact: its class, the types of its fields, of which those with a time are relative, and
# how long it is kept, in seconds.
_TYPES: dict[str, tuple[Any, Any, float]] = {
    "pause": (Pause, tuple[_Time, int], 8 * _DAY_S),
    "circuit": (Circuit, tuple[int, int, _Time, _Time, _Time, str, str], 30 * _DAY_S),
    "unknown": (UnknownSymbol, tuple[_Time, _Time, int], 8 * _DAY_S),
}
_Day = tuple[str, str, str, str, int, int, str, int, int, float]
_MOST_DAYS = 2_000


class _Tables(StateTables):
    """This host's tables, which note the changes for the server.

    Attributes:
        ops: Changes of the account's counts, in order.
        values: New values of facts; None if a symbol is known again.
        taken: Tickets of requests that may be sent.
    """

    def __init__(self, tables: StateTables, waits_s: Mapping[float, float]) -> None:
        super().__init__(tables.rows, tables.salt, tables.now_s, tables.lost_s)
        self.waits_s = waits_s
        self.ops: list[list[Any]] = []
        self.values: dict[Fact, Any] = {}
        self.taken: set[str] = set()

    def keep_account(self, name: str, row: AccountRow) -> None:
        """Store an account; see :meth:`.StateTables.keep_account`."""
        before = self.account(name)
        super().keep_account(name, row)
        self.ops += row.changes
        self.taken |= row.flights.keys() - before.flights.keys()
        if row.pause != before.pause:
            self.values[_PAUSE] = _relative(row.pause, self.now_s)
        for endpoint, circuit in row.circuits.items():
            earlier = before.circuit(endpoint)
            # A connection that cannot be made may be the fault of this host's own network.
            is_news = any(c.until_s or c.failures or c.symbols for c in (earlier, circuit))
            if is_news and circuit != earlier and not circuit.is_unconnected:
                self.values["circuit", endpoint] = _relative(circuit, self.now_s)

    def keep_unknown(self, account: str, address: str, symbol: str, word: UnknownSymbol) -> None:
        """Record an unknown symbol; see :meth:`.StateTables.keep_unknown`."""
        super().keep_unknown(account, address, symbol, word)
        self.values["unknown", address, symbol] = _relative(word, self.now_s)

    def forget_unknown(self, account: str, address: str, symbol: str) -> None:
        """Forget that a symbol is unknown; see :meth:`.StateTables.forget_unknown`."""
        super().forget_unknown(account, address, symbol)
        self.values["unknown", address, symbol] = None

    def keep_vendor_days(
        self, fresh: Iterable[VendorDay], is_over: Callable[[VendorDay], bool]
    ) -> tuple[list[VendorDay], list[VendorDay]]:
        """Store and forget days that vendors lack; see :meth:`.StateTables.keep_vendor_days`."""
        rows = dump_days(self)
        made = super().keep_vendor_days(fresh, is_over)
        if (changed := dump_days(self)) != rows:
            self.values[_DAYS] = changed
        return made


class SharedLimits:
    """The owner of an account's limits when many hosts share a store. Thread-safe; usable after a fork.

    While the server cannot be reached, the limits of this host apply.

    Args:
        shared: Server that counts the units of all hosts.
        local: State of this host.
        account: Account; by default none: the owner of the days that vendors lack.
        limits: Limits of the account; without any, no units are counted.
    """

    def __init__(
        self,
        shared: PostgresFiles,
        local: State,
        account: Account = _NO_ACCOUNT,
        limits: Limits = _NO_LIMITS,
    ) -> None:
        self._shared, self._local, self._account = shared, local, account
        self.clock: Clock = local.clock
        self._windows = [(window.length_s, window.capacity) for window in windows_of(limits)]

    @property
    def exists(self) -> bool:
        """Whether anything may have been stored: on this host or, about no account, by another one."""
        return self._account == _NO_ACCOUNT or self._local.exists

    def of(self, account: Account, limits: Limits) -> SharedLimits:
        """Return the owner for another account."""
        return SharedLimits(self._shared, self._local, account, limits)

    def finish(self, step: Callable[[], object]) -> None:
        """Run a step that ends a call; see :meth:`.State.finish`."""
        self._local.finish(step)

    def run(
        self, work: Callable[[StateTables], T], *, writes: bool = True, needs: Needs | None = None
    ) -> T:
        """Run ``work`` on the account's state, and share what it changes; see :meth:`.State.run`.

        Without ``needs``, ``work`` decides by what this host knows, so reports and plans send nothing.
        """
        if needs is None and not writes:
            return self._local.run(work, writes=False)
        waits_s: Mapping[float, float] = {}
        known: dict[str, tuple[Any, float]] | None = None
        names, ticket = self._needed(needs), "" if needs is None else needs.ticket
        if needs is not None:
            with suppress(CacheError):
                units = needs.units if ticket else 0.0
                windows = self._windows if units else ()
                account = self._name()
                waits_s, known = self._shared.take(account, ticket, units, windows, names.values())

        def run(tables: StateTables) -> tuple[T, _Tables]:
            """Run ``work`` after what other hosts have found was added."""
            lost = {} if known is None else self._merge(tables, names, known)
            made = _Tables(tables, waits_s)
            result = work(made)
            made.values = lost | made.values
            return result, made

        result, made = self._local.run(run, writes=writes or bool(known))
        if ticket and known is not None and ticket not in made.taken:
            made.ops.append(["end", ticket])
        self._send(made)
        return result

    def _name(self) -> str:
        """Return the name of the account on the server; it does not reveal any key."""
        if not self._shared.salt:
            self._shared.store_id()
        return self._account.named(self._shared.salt)

    def _needed(self, needs: Needs | None) -> dict[Fact, str]:
        """Return the names of the facts that a call needs."""
        if needs is None:
            return {}
        facts = [_DAYS if self._account == _NO_ACCOUNT else _PAUSE]
        facts += [("circuit", needs.endpoint)] if needs.endpoint else []
        facts += [("unknown", needs.address, needs.symbol)] if needs.symbol else []
        with suppress(CacheError):
            return {fact: self._name_of(fact) for fact in facts}
        return {}

    def _name_of(self, fact: Fact) -> str:
        kind, *rest = fact
        if kind == "unknown":  # a symbol may be any text
            rest = [sha256("\0".join(rest).encode("utf-8", "surrogatepass")).hexdigest()[:24]]
        return kind if kind == "days" else " ".join((kind, self._name(), *rest))

    def _merge(
        self, tables: StateTables, names: Mapping[Fact, str], known: Mapping[str, tuple[Any, float]]
    ) -> dict[Fact, Any]:
        """Add other hosts' facts to this host's tables; return those that only this host has."""
        account, lost = self._account.named(tables.salt), dict[Fact, Any]()
        for fact, name in names.items():
            kind, *rest = fact
            if kind == "days":
                if name in known:
                    load_days(tables, *known[name])
                continue
            is_there = name in known
            value = fact_of(kind, *known[name], tables.now_s) if is_there else None
            if (mine := _MERGES[kind](tables, account, rest, value, is_there)) is not None:
                lost[fact] = _relative(mine, tables.now_s)
        return lost

    def _send(self, made: _Tables) -> None:
        """Send changed facts at once, and changes of counts with the next request of this call."""
        with suppress(CacheError):
            if made.ops and self._windows:
                name = self._name()
                for op in made.ops:
                    self._shared.settle(name, op)
            kept_s = {kind: kept for kind, (*_, kept) in _TYPES.items()} | {"days": 8 * _DAY_S}
            values = {
                self._name_of(fact): (value, kept_s[fact[0]]) for fact, value in made.values.items()
            }
            lease = current_lease.get()
            is_ending = bool(made.ops) and (lease is None or lease.is_freed)
            if values or (is_ending and self._windows):
                self._shared.facts((), values)


def _merge_pause(
    tables: StateTables, account: str, _: list[str], pause: Pause | None, is_there: bool
) -> Pause | None:
    """Keep the longer of two pauses; return this host's if it must be sent. An end at 0 is a reset."""
    row = tables.account(account)
    mine = row.pause
    if pause is not None and (not pause.until_s or pause.until_s > mine.until_s):
        row.pause = pause
        tables.keep_account(account, row)
    elif mine.left_s(tables.now_s) > 0 and (pause is None or mine.until_s > pause.until_s + 1):
        return mine
    return None


def _merge_circuit(
    tables: StateTables, account: str, rest: list[str], circuit: Circuit | None, is_there: bool
) -> Circuit | None:
    """Use the shared circuit, unless this host's own network may be at fault."""
    row = tables.account(account)
    mine = row.circuit(rest[0])
    if mine.is_unconnected:
        return None
    # Another process of this host may have begun a trial that the server did not have yet.
    is_trial = mine.trial_until_s > tables.now_s
    if circuit is not None and not (
        is_trial
        and not circuit.is_closed
        and circuit.trial_until_s < mine.trial_until_s - 1
        and circuit.until_s < mine.until_s + 1
    ):
        row.circuits[rest[0]] = circuit
        tables.keep_account(account, row)
    return None if is_there or mine.is_closed else mine


def _merge_unknown(
    tables: StateTables, account: str, rest: list[str], word: UnknownSymbol | None, is_there: bool
) -> UnknownSymbol | None:
    """Use the shared record; None where there is one means that the symbol is known again."""
    mine = tables.unknown(account, rest[0], rest[1])
    if word is not None:
        tables.keep_unknown(account, rest[0], rest[1], word)
    elif is_there and mine is not None:
        tables.forget_unknown(account, rest[0], rest[1])
    return mine if not is_there and mine is not None and mine.holds(tables.now_s) else None


_MERGES: dict[str, Callable[[StateTables, str, list[str], Any, bool], Any]] = {
    "pause": _merge_pause,
    "circuit": _merge_circuit,
    "unknown": _merge_unknown,
}


def _relative(value: Any, now_s: float) -> list[Any]:
    """Return the fields of a fact, with times relative to ``now_s``; a time of 0 is None."""
    _, types, *_ = _TYPES[_KINDS[type(value)]]
    return [
        (each - now_s if each and math.isfinite(each) else None) if of == _Time else each
        for each, of in zip(astuple(value), get_args(types), strict=True)
    ]


_KINDS = {made: kind for kind, (made, *_) in _TYPES.items()}


def fact_of(kind: str, value: Any, age_s: float, now_s: float) -> Any:
    """Return a fact with this host's times; None if there is none."""
    made, types, _ = _TYPES[kind]
    try:
        fields = msgspec.convert(value, types)
    except msgspec.ValidationError:
        return None
    values = list[Any]()
    for each, of in zip(fields, get_args(types), strict=True):
        if of == _Time:
            each = 0.0 if each is None else each + now_s - age_s
        values.append(each)
    return made(*values)


def dump_days(tables: StateTables) -> list[list[Any]]:
    """Return the latest days that vendors lack, each with the seconds for which it stands."""
    rows = tables.rows.execute(
        "select * from lacking_days order by day desc limit ?", (_MOST_DAYS,)
    )
    return [[*row, until_s - tables.now_s] for *row, until_s in rows]


def load_days(tables: StateTables, value: Any, age_s: float) -> None:
    """Replace the days that vendors lack by those of all hosts."""
    with suppress(msgspec.ValidationError):
        days = msgspec.convert(value, list[_Day])
        rows = [(*day, tables.now_s + min(left_s, DAY_STANDS_S) - age_s) for *day, left_s in days]
        tables.rows.execute("delete from lacking_days")
        statement = "insert or replace into lacking_days values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        tables.rows.executemany(statement, rows)
