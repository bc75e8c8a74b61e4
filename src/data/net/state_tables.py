"""Tables of the shared state: units, pauses, circuits, leases, unknown symbols, vendors' missing days.

This module only reads and writes; decisions are made elsewhere. Times are seconds of the
*remembered time*, the steady clock that ``net.steady`` maintains across processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from operator import attrgetter
from typing import Any, Protocol

from ..errors import CorruptEntryError
from ..model.capabilities import Limits
from ..model.coverage import VendorDay
from ..model.span import Span
from .circuit_breaker import Circuit
from .own_network import NO_CONNECTION, Contacts
from .quota import Pause, SpentUnits, Window, windows_of
from .steady import Anchor, ClockReading
from .unknown_symbols import UnknownSymbol, forgotten_s

VERSION = 1
TABLES = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE spent (who TEXT, length_s REAL, first_s REAL, last_s REAL, units REAL,"
    " PRIMARY KEY (who, length_s, first_s)) WITHOUT ROWID",
    "CREATE TABLE flights (ticket TEXT PRIMARY KEY, who TEXT, units REAL, until_s REAL)"
    " WITHOUT ROWID",
    "CREATE TABLE pauses (who TEXT PRIMARY KEY, until_s REAL, strikes INT) WITHOUT ROWID",
    "CREATE TABLE circuits (who TEXT, door TEXT, failures INT, times INT, until_s REAL,"
    " trial_until_s REAL, answered_s REAL, reason TEXT, symbols TEXT,"
    " PRIMARY KEY (who, door)) WITHOUT ROWID",
    "CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT, machine TEXT, pid INT,"
    " until_s REAL) WITHOUT ROWID",
    "CREATE TABLE unknown (who TEXT, place TEXT, symbol TEXT, said_s REAL,"
    " until_s REAL, times INT, PRIMARY KEY (who, place, symbol)) WITHOUT ROWID",
    "CREATE TABLE progress (name TEXT PRIMARY KEY, holder TEXT, pages INT) WITHOUT ROWID",
    "CREATE TABLE lacking_days (vendor TEXT, calendar TEXT, timeframe TEXT, day TEXT,"
    " start_ms INT, end_ms INT, condition TEXT, symbols INT, lacking INT, until_s REAL,"
    " PRIMARY KEY (vendor, calendar, timeframe, day)) WITHOUT ROWID",
    "CREATE TABLE unconnected (vendor TEXT PRIMARY KEY, failed_s REAL) WITHOUT ROWID",
)
# Time for which a vendor's missing day is remembered after it was last found missing.
DAY_STANDS_S = 7 * 86_400.0
# An expired lease is kept for calls that still wait for its holder.
_LEASE_KEPT_S = 86_400.0
# Maximum number of symbols remembered as unknown, over all vendors; beyond it, those that expire
# first are forgotten.
MOST_UNKNOWN = 10_000


# No remembered time is after the year 5138, and no count is this large.
_LARGEST, _LARGEST_MS = 1e11, 1e14
_NUMBER_COLUMNS = {
    "spent": ("length_s", "first_s", "last_s", "units"),
    "flights": ("units", "until_s"),
    "pauses": ("until_s", "strikes"),
    "circuits": ("failures", "times", "until_s", "trial_until_s", "answered_s"),
    "leases": ("pid", "until_s"),
    "unknown": ("said_s", "until_s", "times"),
    "progress": ("pages",),
    "unconnected": ("failed_s",),
    "lacking_days": ("start_ms", "end_ms", "symbols", "lacking", "until_s"),
}


_NO_KEY = "-"
_end = attrgetter("until_s")
_NONE = Contacts()
_DIGEST_BYTES = 12
# In the order of the value's fields.
_CIRCUIT_COLUMNS = "failures, times, until_s, trial_until_s, answered_s, reason, symbols"


class SqlRows(Protocol):
    """The methods of a database connection that the tables need."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any:
        """Run one statement and return its rows."""

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """Run one statement with each of several rows."""


def check_numbers(rows: SqlRows) -> None:
    """Reject tables that contain a number which this library cannot have written.

    Raises:
        CorruptEntryError: A table contains such a number.
    """
    wrong = {"facts": f"typeof(value) <> 'text' AND abs(value) > {_LARGEST}"} | {
        table: " OR ".join(f"abs({name}) > {_bound(name)}" for name in names)
        for table, names in _NUMBER_COLUMNS.items()
    }
    for table, condition in wrong.items():
        query = f"SELECT 1 FROM {table} WHERE {condition} LIMIT 1"  # noqa: S608 - constant names
        if rows.execute(query).fetchone():
            raise CorruptEntryError(f"the state file contains too large a number in {table}")


def _bound(column: str) -> float:
    return _LARGEST_MS if column.endswith("_ms") else _LARGEST


@dataclass(frozen=True)
class Account:
    """A customer's account with a vendor, identified by its keys or, without keys, by this machine's address.

    Attributes:
        vendor: Canonical name of the vendor.
        secrets: Keys of the account; empty if the vendor is queried without a key.
    """

    vendor: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def named(self, salt: bytes) -> str:
        """Return the name under which this account is stored; the name does not reveal any key."""
        if not self.secrets:
            return f"{self.vendor}:{_NO_KEY}"
        text = "\0".join(sorted(self.secrets)).encode("utf-8", "surrogatepass")
        return f"{self.vendor}:{hashlib.blake2b(text, key=salt, digest_size=_DIGEST_BYTES).hexdigest()}"


@dataclass(frozen=True)
class LeaseRow:
    """The holder of a lease, and the time when the lease ends."""

    holder: str
    machine: str
    pid: int
    until_s: float


class StateTables:
    """The tables within one transaction; they cannot be used after it.

    Args:
        rows: Connection to the database.
        salt: Secret with which the accounts' names are hashed.
        now_s: Remembered time of this transaction.
        monotonic_s: Monotonic time at the same moment, in seconds.
        lost_s: Time before which the record of spent units is lost; None if it is complete.
    """

    def __init__(
        self, rows: SqlRows, salt: bytes, now_s: float, monotonic_s: float, lost_s: float | None
    ) -> None:
        self.rows = rows
        self.salt = salt
        self.now_s = now_s
        self.monotonic_s = monotonic_s
        self.lost_s = lost_s
        # Seconds to wait by the length of each window, if a server counts for several hosts.
        self.waits_s: Mapping[float, float] = {}

    # --- spent units -----------------------------------------------------------------------

    def windows(self, account: str, limits: Limits) -> list[Window]:
        """Return a window per limit, with the units that ``account`` has spent in it."""
        return self.filled(account, windows_of(limits))

    def filled(self, account: str, windows: list[Window]) -> list[Window]:
        """Fill windows with the units that ``account`` has spent in them, and return them."""
        for window in windows:
            rows = self.rows.execute(
                "SELECT first_s, last_s, units FROM spent WHERE who = ? AND length_s = ?"
                " AND last_s > ? ORDER BY first_s",
                (account, window.length_s, self.now_s - window.length_s),
            )
            window.load(SpentUnits(*row) for row in rows)
        return windows

    def spend(
        self, account: str, windows: Iterable[Window], units: float, *, ago_s: float = 0.0
    ) -> None:
        """Count units spent ``ago_s`` seconds ago in all windows; delete expired entries."""
        for window in windows:
            window.spend(units, self.now_s - ago_s)
            newest = window.newest
            assert newest is not None  # it has just been spent
            self.rows.execute(
                "INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?)",
                (account, window.length_s, newest.first_s, newest.last_s, newest.units),
            )
        self.rows.execute(
            "DELETE FROM spent WHERE who = ? AND last_s + length_s <= ?", (account, self.now_s)
        )

    # Of units in some windows that only the vendor has counted.
    reach = spend

    def forget_spent(self, account: str) -> None:
        """Delete the account's spent units, its requests in flight and its pause."""
        for table in ("spent", "flights", "pauses"):
            self.rows.execute(f"DELETE FROM {table} WHERE who = ?", (account,))  # noqa: S608 - constant names

    def add(self, other: StateTables) -> None:
        """Add the units, pauses and open circuits in other tables, whose times are on another clock."""
        ahead_s = self.now_s - other.now_s
        spent = "SELECT who, length_s, last_s, units FROM spent ORDER BY last_s"
        for account, length, last, units in other.rows.execute(spent):
            windows = self.filled(account, [Window(length, units)])
            self.spend(account, windows, units, ago_s=other.now_s - last)
        for ticket, account, units, until in other.rows.execute("SELECT * FROM flights"):
            self.add_in_flight(ticket, account, units, until + ahead_s)
        self.add_pauses(other)

    def add_pauses(self, other: StateTables) -> None:
        """Add the pauses and open circuits in other tables, whose times are on another clock."""
        ahead_s = self.now_s - other.now_s
        for account, pause in other.pauses():
            moved = replace(pause, until_s=pause.until_s + ahead_s)
            self.keep_pause(account, max(self.pause(account), moved, key=_end))
        for account, door, circuit in other.open_circuits():
            until_s = circuit.until_s + ahead_s
            shut = replace(circuit, until_s=until_s, trial_until_s=0.0, answered_s=0.0)
            self.keep_circuit(account, door, max(self.circuit(account, door), shut, key=_end))

    # --- requests in flight ----------------------------------------------------------------

    def add_in_flight(self, ticket: str, account: str, units: float, until_s: float) -> None:
        """Record a request in flight, which costs ``units`` and will have ended by ``until_s``."""
        self.rows.execute(
            "INSERT OR REPLACE INTO flights VALUES (?, ?, ?, ?)", (ticket, account, units, until_s)
        )

    def remove_in_flight(self, ticket: str) -> float:
        """Remove a finished request from the requests in flight; return its units, or 0 if it is unknown."""
        row = self.rows.execute("SELECT units FROM flights WHERE ticket = ?", (ticket,)).fetchone()
        self.rows.execute("DELETE FROM flights WHERE ticket = ?", (ticket,))
        return float(row[0]) if row else 0.0

    def units_in_flight(self, account: str) -> float:
        """Return the units of all of the account's requests in flight."""
        return self._sum_units(account, "until_s > ?")

    def remove_expired_in_flight(self, account: str) -> float:
        """Remove the account's in-flight requests past their deadline, and return their cost."""
        units = self._sum_units(account, "until_s <= ?")
        if units:
            self.rows.execute(
                "DELETE FROM flights WHERE who = ? AND until_s <= ?", (account, self.now_s)
            )
        return units

    def _sum_units(self, account: str, when: str) -> float:
        sql = f"SELECT total(units) FROM flights WHERE who = ? AND {when}"  # noqa: S608 - constant words
        return float(self.rows.execute(sql, (account, self.now_s)).fetchone()[0])

    # --- pauses ----------------------------------------------------------------------------

    def pause(self, account: str) -> Pause:
        """Return the account's current or last pause."""
        sql = "SELECT until_s, strikes FROM pauses WHERE who = ?"
        row = self.rows.execute(sql, (account,)).fetchone()
        return Pause(*row) if row else Pause()

    def pauses(self) -> list[tuple[str, Pause]]:
        """Return the pauses in progress, each with the name of the account that is paused."""
        sql = "SELECT who, until_s, strikes FROM pauses WHERE until_s > ? ORDER BY who"
        return [(account, Pause(*rest)) for account, *rest in self.rows.execute(sql, (self.now_s,))]

    def keep_pause(self, account: str, pause: Pause) -> None:
        """Store a pause."""
        values = (account, *astuple(pause))
        self.rows.execute("INSERT OR REPLACE INTO pauses VALUES (?, ?, ?)", values)

    # --- circuits --------------------------------------------------------------------------

    def circuit(self, account: str, endpoint: str) -> Circuit:
        """Return the circuit of an endpoint; it is closed if none is stored."""
        sql = f"SELECT {_CIRCUIT_COLUMNS} FROM circuits WHERE who = ? AND door = ?"  # noqa: S608 - constant names
        row = self.rows.execute(sql, (account, endpoint)).fetchone()
        return Circuit(*row) if row else Circuit()

    def open_circuits(self) -> list[tuple[str, str, Circuit]]:
        """Return the open and half-open circuits, each with its account and endpoint."""
        sql = f"SELECT who, door, {_CIRCUIT_COLUMNS} FROM circuits WHERE until_s > 0 ORDER BY who, door"  # noqa: S608 - constant names
        return [
            (account, endpoint, Circuit(*rest))
            for account, endpoint, *rest in self.rows.execute(sql)
        ]

    def keep_circuit(self, account: str, endpoint: str, circuit: Circuit) -> None:
        """Store the circuit of an endpoint."""
        values = (account, endpoint, *astuple(circuit))
        self.rows.execute(
            "INSERT OR REPLACE INTO circuits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values
        )

    # --- vendors that could not be connected to ---------------------------------------------

    def contacts(self) -> Contacts:
        """Return the vendors to which connections failed, and the time of the first response after that."""
        failed = dict(self.rows.execute("SELECT vendor, failed_s FROM unconnected"))
        return Contacts(failed, float(read_fact(self.rows, "answered_s") or 0)) if failed else _NONE

    def keep_unconnected(self, vendor: str) -> None:
        """Record that no connection to a vendor could be made."""
        self.rows.execute("INSERT OR REPLACE INTO unconnected VALUES (?, ?)", (vendor, self.now_s))

    def keep_answer(self, vendor: str, lifted: Iterable[str]) -> list[tuple[str, str]]:
        """Record that a vendor responded, and close circuits that a failed network had opened.

        Args:
            vendor: Vendor that answered.
            lifted: Vendors whose failed connections no longer count, so that circuits opened by
                them are closed.

        Returns:
            The vendor and endpoint of each circuit that was closed.
        """
        self.rows.execute("DELETE FROM unconnected WHERE vendor = ?", (vendor,))
        keep_fact(self.rows, "answered_s", self.now_s)
        opened = []
        for name in lifted:
            of_theirs = (f"{name}:", f"{name};", f"%{NO_CONNECTION}%")
            doors = self.rows.execute(
                "SELECT door FROM circuits WHERE who >= ? AND who < ? AND reason LIKE ? AND until_s > 0",
                of_theirs,
            )
            opened += [(name, door) for (door,) in doors.fetchall()]
            self.rows.execute(
                "UPDATE circuits SET failures = 0, times = 0, until_s = 0, trial_until_s = 0,"
                " reason = '' WHERE who >= ? AND who < ? AND reason LIKE ?",
                of_theirs,
            )
        return opened

    # --- leases ----------------------------------------------------------------------------

    def lease(self, name: str, patience_s: float = 0.0) -> LeaseRow | None:
        """Return the lease on ``name``; None if there is none, or if it ended over ``patience_s`` ago."""
        row = self.rows.execute(
            "SELECT holder, machine, pid, until_s FROM leases WHERE name = ? AND until_s > ?",
            (name, self.now_s - patience_s),
        ).fetchone()
        return LeaseRow(*row) if row else None

    def grant(self, name: str, lease: LeaseRow) -> None:
        """Store the lease on ``name``, and remove leases that ended long ago."""
        self.rows.execute("DELETE FROM leases WHERE until_s <= ?", (self.now_s - _LEASE_KEPT_S,))
        values = (name, *astuple(lease))
        self.rows.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)", values)
        self.rows.execute(
            "DELETE FROM progress WHERE name = ? AND holder <> ?", (name, lease.holder)
        )

    def give_back(self, name: str, holder: str) -> None:
        """End the lease on ``name`` if ``holder`` still holds it."""
        for table in ("leases", "progress"):
            self.rows.execute(
                f"DELETE FROM {table} WHERE name = ? AND holder = ?",  # noqa: S608 - constant names
                (name, holder),
            )

    def keep_pages(self, name: str, holder: str, pages: int) -> None:
        """Store the number of pages that the holder of the lease on ``name`` has received."""
        values = (name, holder, pages)
        self.rows.execute("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", values)

    def pages(self, name: str, holder: str) -> int:
        """Return the number of pages that the holder of the lease on ``name`` has received."""
        row = self.rows.execute(
            "SELECT pages FROM progress WHERE name = ? AND holder = ?", (name, holder)
        ).fetchone()
        return int(row[0]) if row else 0

    # --- unknown symbols -------------------------------------------------------------------

    def unknown(self, account: str, address: str, symbol: str) -> UnknownSymbol | None:
        """Return the record that a vendor does not know a symbol; None if there is no such record."""
        row = self.rows.execute(
            "SELECT said_s, until_s, times FROM unknown WHERE who = ? AND place = ? AND symbol = ?",
            (account, address, symbol),
        ).fetchone()
        return UnknownSymbol(*row) if row else None

    def keep_unknown(self, account: str, address: str, symbol: str, word: UnknownSymbol) -> None:
        """Record that a vendor does not know a symbol, and delete such records that expired long ago."""
        self.rows.execute("DELETE FROM unknown WHERE until_s < ?", (forgotten_s(self.now_s),))
        values = (account, address, symbol, *astuple(word))
        self.rows.execute("INSERT OR REPLACE INTO unknown VALUES (?, ?, ?, ?, ?, ?)", values)
        self.rows.execute(
            "DELETE FROM unknown WHERE (who, place, symbol) IN (SELECT who, place, symbol"
            " FROM unknown ORDER BY until_s DESC LIMIT -1 OFFSET ?)",
            (MOST_UNKNOWN,),
        )

    def forget_unknown(self, account: str, address: str, symbol: str) -> None:
        """Delete the record that a vendor does not know a symbol."""
        self.rows.execute(
            "DELETE FROM unknown WHERE who = ? AND place = ? AND symbol = ?",
            (account, address, symbol),
        )

    def count_unknown(self) -> list[tuple[str, int]]:
        """Return, for each account, the number of symbols for which its vendor is currently not queried."""
        sql = "SELECT who, count(*) FROM unknown WHERE until_s > ? GROUP BY who ORDER BY who"
        return [(account, int(count)) for account, count in self.rows.execute(sql, (self.now_s,))]

    # --- days missing at vendors -----------------------------------------------------------

    def vendor_days(self) -> list[VendorDay]:
        """Return the sessions for which a vendor lacks bars for most of its symbols, by vendor and day."""
        rows = self.rows.execute(
            "SELECT vendor, calendar, timeframe, day, start_ms, end_ms, condition, symbols, lacking"
            " FROM lacking_days WHERE until_s > ? ORDER BY vendor, day, timeframe",
            (self.now_s,),
        )
        return [
            VendorDay(vendor, calendar, timeframe, day, Span(start, end), *rest)
            for vendor, calendar, timeframe, day, start, end, *rest in rows
        ]

    def keep_vendor_days(
        self, fresh: Iterable[VendorDay], is_over: Callable[[VendorDay], bool]
    ) -> tuple[list[VendorDay], list[VendorDay]]:
        """Store newly found vendor days; return all that were valid before, and all that are now.

        Vendor days that have expired, or for which ``is_over`` returns True, are deleted. The counts
        of a day that was found again are kept if they are from more than twice as many symbols.
        """
        self.rows.execute("DELETE FROM lacking_days WHERE until_s <= ?", (self.now_s,))
        before = {day.key: day for day in self.vendor_days()}
        for day in filter(is_over, before.values()):
            self.rows.execute(
                "DELETE FROM lacking_days WHERE (vendor, calendar, timeframe, day) = (?, ?, ?, ?)",
                day.key,
            )
        for new in fresh:
            earlier = before.get(new.key, new)
            day = new if 2 * new.symbols >= earlier.symbols else earlier
            values = (*day.key, *day.span, day.condition, day.symbols, day.lacking)
            self.rows.execute(
                "INSERT OR REPLACE INTO lacking_days VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, self.now_s + DAY_STANDS_S),
            )
        return list(before.values()), self.vendor_days()


# --- facts about the state itself ---------------------------------------------------------------


def read_anchor(rows: SqlRows) -> Anchor | None:
    """Return the stored anchor from which the remembered time is counted, or None if no anchor is stored.

    Raises:
        CorruptEntryError: A part of the anchor is missing or is not a number, so the file is
            damaged.
    """
    facts = dict(rows.execute("SELECT name, value FROM facts WHERE name LIKE 'anchor_%'"))
    if not facts:
        return None
    try:
        reading = ClockReading(
            float(facts["anchor_wall_s"]),
            float(facts["anchor_mono_s"]),
            facts["anchor_owner"],
            facts["anchor_boot"],
        )
        return Anchor(reading, float(facts["anchor_steady_s"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise CorruptEntryError("the state file is damaged: its clock has no start time") from exc


def keep_anchor(rows: SqlRows, anchor: Anchor) -> None:
    """Store the anchor from which the remembered time is counted."""
    reading = anchor.reading
    keep_fact(rows, "anchor_wall_s", reading.wall_s)
    keep_fact(rows, "anchor_mono_s", reading.monotonic_s)
    keep_fact(rows, "anchor_owner", reading.owner)
    keep_fact(rows, "anchor_boot", reading.boot)
    keep_fact(rows, "anchor_steady_s", anchor.steady_s)


def read_fact(rows: SqlRows, name: str) -> Any:
    """Return the single value that is stored under a name, or None."""
    row = rows.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def keep_fact(rows: SqlRows, name: str, value: float | str) -> None:
    """Store a single value under a name."""
    rows.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
