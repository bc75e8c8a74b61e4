"""Pending records of vendors, which a host sends to the shared server together with its next statement.

A ledger is the account of a vendor's units: a base, and the log of the operations behind it. Operations are
appended without a look at the rest, so no host waits for another one, and a host that has read many of them
replaces them by a newer base. Facts (circuits, pauses, unknown symbols) are values with a version, which is
compared.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..forks import renew_after_fork

# The table and the name of a ledger.
Ledger = tuple[str, str]
NOW_S = "extract(epoch from clock_timestamp())::float8"
TABLES = ("bucket", "quota")
# Most operations of a ledger that wait for a server that is away; the oldest are dropped.
_MOST_OPERATIONS = 2_000
# Largest version of a fact, and most bytes of a ledger and of a fact, that a host takes from the server.
MOST_VERSION, _MOST_BYTES, _MOST_FACT = 1 << 62, 4 << 20, 1 << 18
# An operation of the log is `[kind, seconds ago, ...]`; an entry is the server's time with operations.
_LOGGED = f"jsonb_build_array(jsonb_build_array({NOW_S}, {{ops}}::jsonb))"
# After a base up to an entry, only the later entries are kept.
_TAIL = "jsonb_path_query_array({log}, '$[$n to last]', jsonb_build_object('n', {n}))"


def _append_operations(seen: str, n: str, base: str, ops: str) -> str:
    """Return the part of an update that appends operations, and replaces the base if nobody else has."""
    tail, logged = _TAIL.format(log="b.log", n=n), _LOGGED.format(ops=ops)
    return f"""
  set base = case when b.folded = {seen} then {base}::jsonb else b.base end,
    log = case when b.folded = {seen} then {tail} else b.log end || {logged},
    folded = b.folded + case when b.folded = {seen} then {n} else 0 end"""


def _append_to(table: str) -> str:
    """Return the part of a statement that appends operations to several ledgers of a table."""
    return f"""settled_{table} as (
  update onetape.{table} b{_append_operations("r.seen", "r.n", "r.base", "r.ops")}
  from unnest(%({table}_names)s::text[], %({table}_ops)s::text[], %({table}_seen)s::bigint[],
    %({table}_n)s::int[], %({table}_bases)s::text[]) as r(name, ops, seen, n, base)
  where b.name = r.name)"""


# Stores new values of facts, unless another host has changed them since they were seen.
_STORE_FACTS = f"""noted as (
  insert into onetape.fact (name, value, version, expires)
  select r.name, r.value::jsonb, r.version, to_timestamp({NOW_S} + r.ttl)
  from unnest(%(fact_names)s::text[], %(fact_values)s::text[], %(fact_versions)s::bigint[],
    %(fact_ttls)s::float8[]) as r(name, value, version, ttl)
  on conflict (name) do update
    set value = excluded.value, version = excluded.version, expires = excluded.expires
    where fact.version = excluded.version - 1 or fact.version not between 0 and {MOST_VERSION}
  returning name)"""  # noqa: S608 - constants only
_APPEND_TO = {table: _append_to(table) for table in TABLES}
# Deletes facts that expired more than a week ago.
_DELETE_OLD_FACTS = """forgotten as (
  delete from onetape.fact where expires < clock_timestamp() - interval '7 days')"""
# Closes the circuits of vendors that failed for a reason, except those that the statement changes anyway.
_CLOSE_CIRCUITS = """lifted as (
  update onetape.fact set value = jsonb_build_array(0, 0, 0, 0, value -> 4, ''), version = version + 1
  where not name = any(%(but)s::text[]) and value ->> 5 like %(reason)s
    and exists (select from unnest(%(lifted)s::text[]) v where starts_with(name, 'circuit ' || v || ':')))"""


class StatementParts(NamedTuple):
    """Parts of a statement that send the pending operations and facts.

    Attributes:
        parts: Texts to be placed after ``with``.
        arguments: Their arguments.
        put_back: Function to be called if the statement was not sent.
    """

    parts: Sequence[str]
    arguments: dict[str, Any]
    put_back: Callable[[], None]


NO_PARTS = StatementParts((), {}, lambda: None)


class LedgerBase(NamedTuple):
    """A newer base of a ledger: its content, and which entries of the log it replaces.

    Attributes:
        seen: Number of entries that had been replaced before.
        n: Number of further entries in this base.
        base: Content of the base, as JSON.
    """

    seen: int
    n: int
    base: str


NO_BASE = LedgerBase(-1, 0, "{}")


class FactChange(NamedTuple):
    """A new value of a fact, the version that it follows, and the seconds for which it stands."""

    value: Any
    seen: int
    ttl_s: float


class PendingVendorRecords:
    """Operations and facts that are sent with the next statement. Thread-safe; usable after a fork.

    Args:
        monotonic: Source of the time at which operations happened, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock in a forked child, and leave what the parent will send to the parent."""
        self._lock = threading.Lock()
        self._ops: dict[Ledger, list[list[Any]]] = {}
        self._bases: dict[Ledger, LedgerBase] = {}
        self._facts: dict[str, FactChange] = {}

    def __bool__(self) -> bool:
        return bool(self._ops or self._facts)

    def add(
        self,
        ledger: Ledger,
        ops: Sequence[list[Any]] = (),
        facts: Mapping[str, FactChange] | None = None,
    ) -> None:
        """Add operations ``[kind, monotonic seconds, ...]`` of a ledger, and facts."""
        with self._lock:
            if ops:
                self._ops[ledger] = [*self._ops.get(ledger, ()), *ops][-_MOST_OPERATIONS:]
            self._facts |= facts or {}

    def replace_base(self, ledger: Ledger, base: LedgerBase) -> None:
        """Let the next operations of a ledger replace part of its log by a newer base."""
        with self._lock:
            self._bases[ledger] = base

    def take_ledger(
        self, ledger: Ledger, more: Sequence[list[Any]] = ()
    ) -> tuple[str, LedgerBase, Callable[[], None]]:
        """Take a ledger's operations and ``more`` as JSON, and its newer base.

        The text is empty if there are none. The third value puts them back if they were not sent.
        """
        with self._lock:
            ops = self._ops.pop(ledger, [])
            if not (ops or more):
                return "", NO_BASE, lambda: None
            base = self._bases.pop(ledger, NO_BASE)
        return self._as_json([*ops, *more]), base, lambda: self._put_back({ledger: ops}, {})

    def take_all(self, also: Mapping[str, FactChange] | None = None) -> StatementParts:
        """Take all pending operations and facts, and ``also``, as parts of a statement."""
        with self._lock:
            ops, self._ops = self._ops, {}
            bases = {ledger: self._bases.pop(ledger, NO_BASE) for ledger in ops}
            facts, self._facts = self._facts, {}
        parts, arguments = list[str](), dict[str, Any]()
        for table in TABLES:
            # In one order, so that two hosts do not wait for each other.
            ledgers = [ledger for ledger in sorted(ops) if ledger[0] == table]
            if ledgers:
                parts.append(_APPEND_TO[table])
                arguments |= {
                    f"{table}_names": [ledger[1] for ledger in ledgers],
                    f"{table}_ops": [self._as_json(ops[ledger]) for ledger in ledgers],
                    f"{table}_seen": [bases[ledger].seen for ledger in ledgers],
                    f"{table}_n": [bases[ledger].n for ledger in ledgers],
                    f"{table}_bases": [bases[ledger].base for ledger in ledgers],
                }
        if changes := {**facts, **(also or {})}:
            parts += [_STORE_FACTS, _DELETE_OLD_FACTS]
            arguments |= {
                "fact_names": list(changes),
                "fact_values": [json.dumps(fact.value) for fact in changes.values()],
                "fact_versions": [fact.seen + 1 for fact in changes.values()],
                "fact_ttls": [fact.ttl_s for fact in changes.values()],
            }
        return StatementParts(parts, arguments, lambda: self._put_back(ops, facts))

    def _put_back(
        self, ops: Mapping[Ledger, Sequence[list[Any]]], facts: Mapping[str, FactChange]
    ) -> None:
        with self._lock:
            for ledger, waiting in ops.items():
                if waiting:
                    later = self._ops.get(ledger, ())
                    self._ops[ledger] = [*waiting, *later][-_MOST_OPERATIONS:]
            self._facts = {**facts, **self._facts}

    def _as_json(self, ops: Sequence[list[Any]]) -> str:
        now = self.monotonic()
        return json.dumps([[op_type, max(0.0, now - at), *rest] for op_type, at, *rest in ops])


def circuit_closing_part(
    vendors: Sequence[str], but: Sequence[str], reason: str
) -> tuple[Sequence[str], dict[str, Any]]:
    """Return a part of a statement that closes circuits of vendors which failed for a reason.

    Args:
        vendors: Vendors.
        but: Names of facts that the same statement changes.
        reason: Text that the reasons of their failures contain.
    """
    if not vendors:
        return (), {}
    return (_CLOSE_CIRCUITS,), {"lifted": list(vendors), "but": list(but), "reason": f"%{reason}%"}


def bounded(column: str) -> str:
    """Return a column of JSON as text, which is empty if it is too large."""
    return f"case when octet_length({column}::text) <= {_MOST_BYTES} then {column}::text end"


_HAS_QUOTA = "exists (select from onetape.quota q where q.name = %(name)s)"
_LEDGER = f"{NOW_S}, {bounded('m.base')}, {bounded('m.log')}, m.folded, m.lost, {_HAS_QUOTA}"


def enter_statement(table: str) -> str:
    """Return the statement that adds operations to a ledger, and returns all of it with some facts.

    A ledger that is gone although it was there before was lost when the server crashed.
    """
    return f"""
with marked as (
  insert into onetape.fact (name, value, version) values (%(marker)s, 'null', 0)
  on conflict (name) do nothing),
moved as (
  insert into onetape.{table} as b (name, base, log, folded, lost)
  values (%(name)s, '{{}}', {_LOGGED.format(ops="%(ops)s")}, 0,
    (select {NOW_S} from onetape.fact where name = %(marker)s))
  on conflict (name) do update{_append_operations("%(seen)s", "%(n)s::int", "%(base)s", "%(ops)s")}
  returning base, log, folded, lost)
select {_LEDGER}, {FACTS} from moved m"""  # noqa: S608 - constants only


# The version of a fact, and its value unless it has expired.
FACT = f"""json_build_array(f.version,
    case when (f.expires is null or f.expires > to_timestamp({NOW_S}))
      and octet_length(f.value::text) <= {_MOST_FACT} then f.value::text end)"""
FACTS = f"""(
  select json_object_agg(f.name, {FACT}) from onetape.fact f where f.name = any(%(facts)s))"""  # noqa: S608 - constants only


def look_statement(table: str) -> str:
    """Return the statement that returns a ledger with some facts."""
    return f"""
select {_LEDGER}, {FACTS}
from (select) one left join onetape.{table} m on m.name = %(name)s"""  # noqa: S608 - constants only
